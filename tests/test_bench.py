"""The benchmarks run, on next to nothing: whether their figures are good is not asked here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "FASHION_PRODUCTS_DIR"}
    command = [sys.executable, str(BENCH / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def rows(script: str, work: Path, count: int) -> dict[str, dict[str, object]]:
    done = run(script, "--json", "--work", work, "--photographs", count, "--runs", 1)
    assert done.returncode == 0, done.stderr
    return {row["what"]: row for row in json.loads(done.stdout)}


def test_the_ingest_benchmark_gives_rate_repetition_and_memory(work: Path) -> None:
    found = rows("ingest_rate.py", work, 40)
    rate = found["ingest end to end"]["values"]
    assert isinstance(rate, dict) and all(rate[name] > 0 for name in ("rate", "decode_ms", "encode_ms"))
    assert "40 photographs" in str(found["ingest end to end"]["how"])
    assert {"ingest again, nothing changed", "peak memory of ingest"} <= set(found)


def test_the_query_benchmark_asks_both_ways_and_finds_the_same(work: Path) -> None:
    found = rows("query_time.py", work, 40)
    values = found["the same query the obvious way"]["values"]
    assert isinstance(values, dict) and values["same_hits"] >= 9 and values["ratio"] > 0
    assert "`engine --help`" in found


def test_the_search_benchmark_compares_with_exact_search_before_and_after_optimize(work: Path) -> None:
    found = rows("search_time.py", work, 40)
    assert found["agreement with exact search, as ingested"]["passed"] is True
    assert sum("after optimize" in what for what in found) == 3


def test_the_benchmark_of_the_large_tower_runs_both_ways(work: Path) -> None:
    (row,) = rows("vit_rate.py", work, 16).values()
    values = row["values"]
    assert isinstance(values, dict) and values["seconds"] > 0 and values["obvious_seconds"] > 0


def test_all_benchmarks_in_one_table_with_the_facts_of_the_machine(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.md"
    done = run("run.py", "--only", "search_time", "--out", out, "--work", work, "--photographs", 40)
    assert done.returncode in (0, 1), done.stderr
    written = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert {"commit", "processor", "memory", "native bfloat16", "Python", "libraries"} <= set(written["about"])
    assert "drawn look-book, 40 photographs" in out.read_text(encoding="utf-8")
    assert len(written["rows"]) == 6


def test_a_benchmark_that_breaks_is_a_failed_row_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "store").write_text("no store")
    arguments = ("--only", "search_time", "--work", tmp_path / "work", "--photographs", 2, "--out", tmp_path / "b.md")
    done = run("run.py", *arguments)
    assert done.returncode == 1
    assert "could not be measured" in (tmp_path / "b.md").read_text(encoding="utf-8")


def test_shoppers_words_are_counted_by_whether_synonyms_teach_them_and_unseen_ones_not_told(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(12):
        Image.new("RGB", (60, 80), (20 * number, 90, 90)).save(tmp_path / "images" / f"{number}.jpg")
    lines = "\n".join(f"{number}.jpg,title {number},Sweaters,Red" for number in range(12))
    (tmp_path / "table.csv").write_text(f"image,title,article_type,colour\n{lines}\n", encoding="utf-8")
    done = run("shoppers_words.py", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1.0  jumper: Sweaters" in done.stdout
    kinds = ("taught", "partly taught", "not taught", "in all")
    assert all(f"queries {kind}: " in done.stdout for kind in kinds)
    assert all(f"unseen_{what}.txt: " in done.stdout for what in ("words", "colours"))
    told = len(re.findall(r"^\d\.\d  ", done.stdout, re.M))
    assert f"\nwords.txt: {told} queries in all: " in done.stdout


def test_generated_requests_find_no_answer_that_the_api_does_not_describe() -> None:
    done = run("fuzz.py", 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("requests, all checks, 0 failures\n")
