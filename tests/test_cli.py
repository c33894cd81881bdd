"""The program itself, as a subprocess: what it prints where, and its exit codes."""

from __future__ import annotations

import csv
import gc
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny_clip import make_tiny_clip
from workshop import killed, paint

from engine.checkpoint import BUNDLED, Checkpoint
from engine.cli import learn, progress
from engine.cli.main import main
from engine.errors import UsageError
from engine.records import point_id
from engine.store.edge import EdgeStore
from eval.trec import read_qrels, read_run
from ingest.lookbook.draw import draw_lookbook
from ingest.summary import Summary

CLEAN = {key: value for key, value in os.environ.items() if not key.startswith(("QDRANT_", "ENGINE_"))}


def engine(*arguments: object, folder: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.cli.main", *map(str, arguments)]
    env = {**CLEAN, "PYTHONPATH": str(Path(__file__).parent.parent), "XDG_STATE_HOME": str(folder), **environment}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, input=stdin, env=env)


def hits(result: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert result.returncode == 0, result.stderr
    found: list[dict[str, object]] = json.loads(result.stdout)["hits"]
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with an ingested look-book of 40 drawings."""
    folder = tmp_path_factory.mktemp("home")
    draw_lookbook(folder / "look-book", count=40, seed=7)
    result = engine("ingest", "look-book", folder=folder)
    assert result.returncode == 0, result.stderr
    assert "40 found = 40 indexed + 0 unchanged + 0 duplicate + 0 quarantined + 0 excluded" in result.stdout
    return folder


def test_a_query_prints_scores_between_minus_one_and_one_best_first(home: Path) -> None:
    found = hits(engine("query", "red dress", "--json", "-k", 5, folder=home))
    scores = [float(str(hit["score"])) for hit in found]
    assert len(found) == 5
    assert scores == sorted(scores, reverse=True)
    assert all(-1 <= score <= 1 for score in scores)


def test_the_same_hits_come_as_table_jsonl_csv_and_paths(home: Path) -> None:
    ids = [hit["id"] for hit in hits(engine("query", "denim", "--json", "-k", 3, folder=home))]
    lines = engine("query", "denim", "--jsonl", "-k", 3, folder=home).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids
    rows = list(csv.DictReader(io.StringIO(engine("query", "denim", "--csv", "-k", 3, folder=home).stdout)))
    assert [row["id"] for row in rows] == ids
    paths = engine("query", "denim", "--paths", "-k", 3, folder=home).stdout.splitlines()
    assert [Path(path).stem for path in paths] == ids
    assert all(Path(path).is_file() for path in paths)
    table = engine("query", "denim", "-k", 3, folder=home)
    assert str(ids[0])[:30] in table.stdout
    assert "\x1b" not in table.stdout, "no colours when not on a terminal"


def test_a_where_filter_holds_for_every_hit(home: Path) -> None:
    found = hits(engine("query", "shirt", "--where", "gender=women", "--json", folder=home))
    assert found
    assert {hit["payload"]["gender"] for hit in found} == {"women"}  # type: ignore[index]
    raw = '{"must": [{"key": "gender", "match": {"value": "women"}}]}'
    assert hits(engine("query", "shirt", "--filter", raw, "--json", folder=home)) == found


def test_an_unknown_field_is_one_line_that_lists_the_fields(home: Path) -> None:
    result = engine("query", "shirt", "--where", "color=red", folder=home)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "color" in result.stderr
    assert "upper_fabric" in result.stderr


def test_a_photograph_finds_itself_and_more_like_it_finds_others(home: Path) -> None:
    photograph = sorted((home / "look-book" / "images").iterdir())[5]
    first = hits(engine("query", "--image", photograph, "--json", folder=home))[0]
    assert first["id"] == photograph.stem
    like = hits(engine("query", "--like", photograph.stem, "--json", folder=home))
    assert photograph.stem not in {hit["id"] for hit in like}


def test_queries_come_from_stdin_one_a_line(home: Path) -> None:
    result = engine("query", "-", "--jsonl", "-k", 2, folder=home, stdin="red dress\n\nblue jeans\n")
    assert [json.loads(line)["query"] for line in result.stdout.splitlines()] == ["red dress"] * 2 + ["blue jeans"] * 2


def test_grouping_shows_each_product_once(home: Path) -> None:
    found = hits(engine("query", "shirt", "--group-by", "product_id", "--json", folder=home))
    products = [hit["payload"]["product_id"] for hit in found]  # type: ignore[index]
    assert len(products) == len(set(products))


def test_the_contact_sheet_is_one_file_without_requests(home: Path) -> None:
    result = engine("query", "<b>red & blue</b>", "--html", "out/sheet.html", "-k", 4, folder=home)
    assert result.returncode == 0
    page = (home / "out" / "sheet.html").read_text()
    pictures = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            assert tag not in {"script", "link", "iframe"}
            if tag == "img":
                pictures.append(dict(attributes))

    Reader().feed(page)
    assert len(pictures) == 4
    assert all(str(picture["src"]).startswith("data:image/jpeg;base64,") and picture["alt"] for picture in pictures)
    assert "<b>red" not in page
    assert page.count("<main>") == page.count("<h1>") == 1
    ids = [hit["id"] for hit in hits(engine("query", "<b>red & blue</b>", "-k", 4, "--json", folder=home))]
    assert all(f"<span>{str(id)[-16:]}</span>" in page for id in ids)  # what tells one id from another is in sight
    assert "http" not in page.replace("http-equiv", "")


def test_the_version_is_told_and_no_command_is_described_in_part(home: Path) -> None:
    assert re.fullmatch(r"engine \d+\.\d+\.\d+\n", engine("--version", folder=home).stdout)
    shown = engine("--help", folder=home, COLUMNS="80")
    assert "..." not in shown.stdout.partition("Commands:")[2]


def test_a_later_page_counts_on_and_a_filter_alone_shows_no_scores(home: Path) -> None:
    all_ranks = [hit["rank"] for hit in hits(engine("query", "denim", "--json", "-k", 6, folder=home))]
    later = hits(engine("query", "denim", "--json", "-k", 3, "--offset", 3, folder=home))
    assert [hit["rank"] for hit in later] == all_ranks[3:] == [4, 5, 6]
    header, first, *_ = engine("query", "denim", "--offset", 3, folder=home).stdout.splitlines()
    assert "score" in header
    assert first.split()[0] == "4"
    browsed = engine("query", "--where", "gender=women", "--html", "browsed.html", folder=home)
    assert "score" not in browsed.stdout.splitlines()[0]
    assert 'class="score"' not in (home / "browsed.html").read_text(encoding="utf-8")


def test_photographs_that_nobody_described_are_shown_by_the_names_of_their_files(tmp_path: Path) -> None:
    for seed in range(3):
        paint(tmp_path / "bare" / f"shot {seed}.png", seed)
    assert engine("ingest", "bare", folder=tmp_path).returncode == 0
    assert "shot 1.png" in engine("query", "a dress", folder=tmp_path).stdout
    facets = engine("facets", folder=tmp_path)
    assert (facets.returncode, facets.stdout) == (0, "")
    assert "no field to count" in facets.stderr


def test_facets_count_every_photograph(home: Path) -> None:
    result = engine("facets", "gender", "hat", "--json", folder=home)
    counts = json.loads(result.stdout)
    assert sum(entry["count"] for entry in counts["gender"]) == 40
    assert {entry["value"] for entry in counts["hat"]} <= {True, False}


def test_status_show_and_config_say_what_is_there(home: Path) -> None:
    status = json.loads(engine("status", "--json", folder=home).stdout)
    assert status["points"] == 40
    assert status["checkpoint"] == "fashion-small"
    item = hits(engine("query", "hat", "--json", folder=home))[0]["id"]
    shown = json.loads(engine("show", item, "--json", folder=home).stdout)
    assert shown["payload"]["item_id"] == item
    config = engine("config", folder=home, QDRANT_API_KEY="very-secret", ENGINE_DEVICE="cpu").stdout
    assert "very-secret" not in config
    assert 'device = "cpu"  # ENGINE_DEVICE' in config


def test_export_writes_every_item(home: Path) -> None:
    assert engine("export", "items.jsonl", "--vectors", folder=home).returncode == 0
    rows = [json.loads(line) for line in (home / "items.jsonl").read_text().splitlines()]
    assert len(rows) == 40
    assert all(len(row["vector"]) == 256 for row in rows)
    assert engine("export", "items.parquet", folder=home).returncode == 0
    table = pq.read_table(home / "items.parquet")  # type: ignore[no-untyped-call]
    fields = {name for row in rows for name in row} - {"vector"}
    assert set(table.column_names) == fields, "those too that the first item lacks"
    assert any(name not in rows[0] for name in fields)
    kept = [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]
    assert kept == [{name: value for name, value in row.items() if name != "vector"} for row in rows]
    assert engine("export", "items.xml", folder=home).returncode == 2


def test_an_export_that_fails_leaves_the_file_as_it_was(home: Path) -> None:
    (home / "kept.jsonl").write_text("before\n")
    assert engine("export", "kept.jsonl", "--where", "nosuch=1", folder=home).returncode == 2
    assert (home / "kept.jsonl").read_text() == "before\n"
    assert not list(home.glob(".*-kept.jsonl"))


def test_an_export_copes_with_lists_beside_texts_and_fields_of_its_own_names(tmp_path: Path) -> None:
    for number, tags in enumerate(("a", ["b", "c"])):
        Image.new("RGB", (40, 50), (200, 90 * number, 30)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.json").write_text(json.dumps({"tags": tags, "point_id": "mine"}))
    assert engine("ingest", ".", "--store", "s", folder=tmp_path).returncode == 0
    assert engine("export", "items.parquet", "--store", "s", folder=tmp_path).returncode == 0
    rows = {row["item_id"]: row for row in pq.read_table(tmp_path / "items.parquet").to_pylist()}  # type: ignore[no-untyped-call]
    assert rows["0"]["tags"] == ["a"]
    assert rows["0"]["point_id"] == point_id("0")
    assert rows["0"]["payload_point_id"] == "mine"


def test_deleting_takes_items_out_and_ingest_puts_them_back(home: Path) -> None:
    assert engine("delete", "--where", "gender=men", "--yes", "--collection", "fashion", folder=home).returncode == 0
    assert hits(engine("query", "shirt", "--where", "gender=men", "--json", folder=home)) == []
    result = engine("ingest", "look-book", folder=home)
    assert result.returncode == 0
    assert json.loads(engine("status", "--json", folder=home).stdout)["points"] == 40


def test_an_examination_reports_recall_with_gallery_chance_and_interval(home: Path) -> None:
    result = engine("eval", "look-book", "--part", "all", "--out", "report", folder=home)
    assert result.returncode == 0, result.stderr
    report = json.loads((home / "report" / "report.json").read_text())
    assert "recall" in json.dumps(report).lower()
    for name in ("report.md", "report.html", "run.trec", "qrels.trec"):
        assert (home / "report" / name).stat().st_size > 100
    assert "chance" in result.stdout
    again = json.loads(engine("status", "--collection", "fashion-eval", "--json", folder=home).stdout)
    assert again["points"] == 40


def test_ground_truth_queries_are_asked_of_the_collection(home: Path) -> None:
    item = hits(engine("query", "hat", "--json", folder=home))[0]["id"]
    (home / "truth.json").write_text(json.dumps({"hat": {item: 1}, "red dress": {"not-there": 1}}))
    result = engine("eval", "--ground-truth", "truth.json", "--out", "truth", folder=home)
    assert result.returncode == 0, result.stderr
    assert "recall@10" in result.stdout.lower()
    assert read_qrels(home / "truth" / "qrels.trec") == {"hat": {item: 1}, "red dress": {"not-there": 1}}
    run = read_run(home / "truth" / "run.trec")
    assert run.keys() == {"hat", "red dress"}
    assert item in run["hat"]


def test_a_checkpoint_is_trained_from_a_table_whose_columns_are_named(home: Path) -> None:
    pictures = sorted((home / "look-book" / "images").iterdir())
    rows = [f"{path.name},a garment number {number}" for number, path in enumerate(pictures)]
    (home / "table").mkdir()
    (home / "table" / "wares.csv").write_text("\n".join(["picture,words", *rows]) + "\n")
    (home / "table" / "images").symlink_to(pictures[0].parent)
    (home / "tiny.toml").write_text(
        "[model]\nimage_height = 32\nimage_width = 32\nvision_stem = 8\nvision_widths = [8, 16, 64]\n"
        "vision_depths = [1, 1, 1]\ntext_width = 16\ntext_layers = 1\ntext_heads = 2\nvocabulary = 700\n"
        "dimension = 12\n[data]\nsplit_seed = 3\n[optimizer]\nbatch_size = 8\nepochs = 1\n"
    )
    named = ("--source", "table", "--image-column", "picture", "--caption-column", "words")
    result = engine("train", "tiny.toml", "--data", "table", "--base", "scratch", *named, "--out", "run", folder=home)
    assert result.returncode == 0, result.stderr
    assert "source: product table (wares.csv): 40 rows" in result.stderr
    assert (home / result.stdout.strip() / "model.safetensors").exists()


def test_an_examination_never_touches_the_collection_it_is_named_after(home: Path) -> None:
    result = engine("eval", "look-book", "--collection", "fashion", "--out", "named", folder=home)
    assert result.returncode == 0, result.stderr
    assert json.loads(engine("status", "--json", folder=home).stdout)["points"] == 40


def test_examinations_of_two_sources_do_not_mind_each_others_fields(tmp_path: Path) -> None:
    for name, price in (("one", "10.5"), ("two", "on request")):
        for n in range(2):
            paint(tmp_path / name / f"{n}.png", n + 5 * len(price))
        rows = [f"{n},{name}/{n}.png,a dress {n},{price}\n" for n in range(2)]
        (tmp_path / f"{name}.csv").write_text("id,image,title,price\n" + "".join(rows))
        result = engine("eval", f"{name}.csv", "--part", "all", folder=tmp_path)
        assert result.returncode == 0, result.stderr
        assert "2 queries" in result.stdout


def test_the_gallery_is_the_examined_photographs_alone(home: Path) -> None:
    draw_lookbook(home / "another-book", count=12, seed=11)
    for source, count in (("look-book", 40), ("another-book", 12), ("look-book", 40)):
        options = ("--part", "all", "--collection", "twice", "--out", "twice")
        assert engine("eval", source, *options, folder=home).returncode == 0
        status = json.loads(engine("status", "--collection", "twice-eval", "--json", folder=home).stdout)
        assert status["points"] == count
        assert f"over a gallery of {count} photographs" in (home / "twice" / "report.md").read_text()


def test_a_swapped_image_tower_is_refused_for_a_query_by_photograph(home: Path) -> None:
    import onnx
    from onnx import numpy_helper

    swapped = Path(shutil.copytree(BUNDLED / "fashion-small", home / "swapped"))
    model = onnx.load(swapped / "image.onnx")
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.ndim == 2:
            weight.CopyFrom(numpy_helper.from_array(values[::-1].copy(), weight.name))
    onnx.save(model, swapped / "image.onnx")
    photograph = next((home / "look-book" / "images").iterdir())
    result = engine("query", "--image", photograph, "--model", "swapped", folder=home)
    assert (result.returncode, result.stdout) == (5, "")
    assert "image tower gives other embeddings" in result.stderr


def engine_into(stdout: Any, *arguments: str, folder: Path) -> tuple[int, str]:
    """Return the exit code and stderr of a run that writes to ``stdout``."""
    command = [sys.executable, "-m", "engine.cli.main", *arguments]
    env = {**CLEAN, "PYTHONPATH": str(Path(__file__).parent.parent), "XDG_STATE_HOME": str(folder)}
    result = subprocess.run(command, cwd=folder, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env)
    return result.returncode, result.stderr


SHORT_AND_LONG = pytest.mark.parametrize(
    "command", [("query", "dress", "--json", "-k", "1"), ("export", "-", "--vectors")], ids=["short", "long"]
)


@SHORT_AND_LONG
def test_a_reader_that_leaves_early_is_no_failure(home: Path, command: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert engine_into(writer, *command, folder=home) == (0, "")
    os.close(writer)


def test_a_closed_stdout_is_no_failure(home: Path) -> None:
    for command in ("query dress", "query -", "status", "facets --json"):
        shell = f"{sys.executable} -m engine.cli.main {command} 0>&- 1>&-"
        env = {**CLEAN, "PYTHONPATH": str(Path(__file__).parent.parent), "XDG_STATE_HOME": str(home)}
        result = subprocess.run(shell, shell=True, cwd=home, capture_output=True, text=True, env=env)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@SHORT_AND_LONG
def test_a_full_disk_is_one_line(home: Path, command: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        assert engine_into(full, *command, folder=home) == (1, "engine: No space left on device\n")


def test_a_batch_of_queries_is_a_list_however_short(home: Path) -> None:
    for lines, count in (("", 0), ("red dress\n", 1), ("red dress\njeans\n", 2)):
        result = engine("query", "-", "--json", "-k", 1, folder=home, stdin=lines)
        assert len(json.loads(result.stdout)) == count
        assert isinstance(json.loads(result.stdout), list)


def test_words_beyond_the_context_are_told_and_broken_bytes_are_survived(home: Path) -> None:
    result = engine("query", "red " * 600, "--json", "-k", 1, folder=home)
    assert len(hits(result)) == 1
    assert "the rest is left out" in result.stderr
    result = engine("query", os.fsdecode(b"red \xff dress"), "--json", "-k", 1, folder=home)
    assert len(hits(result)) == 1
    assert result.stderr == ""


def test_a_value_that_does_not_go_with_what_its_field_had_before_is_named_with_its_file(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(3):
        paint(photos / f"{n}.jpg", n)
        (photos / f"{n}.json").write_text(json.dumps({"price": 10 + n}))
    assert engine("ingest", "photos", folder=tmp_path).returncode == 0
    (photos / "1.json").write_text('{"price": "dear"}')
    refused = engine("ingest", "photos", folder=tmp_path)
    assert refused.returncode == 6
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("engine: ")]
    assert "'price' is integer and cannot become keyword" in line
    assert line.endswith(f"the first at odds is price = 'dear', of {photos / '1.jpg'}")


def test_ctrl_c_ends_with_a_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["engine", "sample", "drawn"])
    monkeypatch.setattr("ingest.lookbook.draw.draw_lookbook", killed)
    with pytest.raises(SystemExit) as ended:
        main()
    gc.unfreeze()
    assert (ended.value.code, capsys.readouterr().err) == (130, "engine: stopped\n")


def test_an_ingest_shows_on_a_terminal_how_far_it_is(home: Path) -> None:
    seen, terminal = os.openpty()
    command = [sys.executable, "-m", "engine.cli.main", "ingest", "look-book", "--store", "another"]
    root = str(Path(__file__).parent.parent)
    env = {**CLEAN, "PYTHONPATH": root, "XDG_STATE_HOME": str(home), "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, cwd=home, env=env, stdout=subprocess.PIPE, stderr=terminal) as process:
        os.close(terminal)
        shown = b"".join(iter(lambda: _read(seen), b"")).decode()
        assert process.stdout and b"40 indexed" in process.stdout.read()
    os.close(seen)
    assert process.returncode == 0
    assert "embedding" in shown and "40/40" in shown
    assert "making searches fast" in shown, "the last step, which may take minutes, has a name"


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other side is closed
        return b""


def test_an_ingest_says_without_a_terminal_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0)
    with progress.progress_of_ingest() as tell:
        tell(Summary(indexed=20, unchanged=10), 40)
        tell(Summary(indexed=30, unchanged=10), 40)
    first, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"30 of 40 entries, \d+ a second", first)
    assert re.fullmatch(r"40 of 40 entries, \d+ a second; making searches fast", last)


def test_characters_that_the_terminal_has_not_are_survived(tmp_path: Path) -> None:
    paint(tmp_path / "shop" / "1.png", 1)
    (tmp_path / "shop.csv").write_text("id,image,title\n1,shop/1.png,連衣裙\n", encoding="utf-8")
    assert engine("ingest", "shop.csv", folder=tmp_path).returncode == 0
    for command in (("show", "1"), ("query", "dress"), ("export", "-")):
        result = engine(*command, folder=tmp_path, PYTHONIOENCODING="ascii")
        assert (result.returncode, "Traceback" in result.stderr) == (0, False), result.stderr
        assert "\\u9023" in result.stdout


def test_of_very_many_fields_the_rare_ones_are_kept_without_an_index(tmp_path: Path) -> None:
    for n in range(3):
        paint(tmp_path / "many" / f"{n}.png", n)
        rare = {f"object_{n}_{k}": k for k in range(60)}
        (tmp_path / "many" / f"{n}.json").write_text(json.dumps({"colour": "red", "objects": rare}))
    told = engine("ingest", "many", folder=tmp_path)
    assert told.returncode == 0, told.stderr
    with EdgeStore(tmp_path / "fashion-store", "fashion") as store:
        fields = store.spec().fields
        (shown,) = store.retrieve([point_id("2")])
    assert "colour" in fields
    assert sum(name.startswith("objects_") for name in fields) == 99
    assert sum(name.startswith("objects_") for name in shown.payload) == 60
    again = engine("ingest", "many", folder=tmp_path)
    assert "3 unchanged" in again.stdout
    for run in (told, again):
        assert "181 fields: one can filter by 100 of them" in run.stderr


def test_deleting_an_item_that_is_not_there_is_told(home: Path) -> None:
    result = engine("delete", "nobody", "--yes", folder=home)
    assert (result.returncode, result.stdout) == (0, "deleted 0\n")
    assert "nobody" in result.stderr


def test_another_checkpoint_is_refused_for_queries_and_for_ingest(home: Path) -> None:
    make_tiny_clip(home / "tiny-clip")
    for command in (("query", "dress"), ("ingest", "look-book")):
        result = engine(*command, "--model", "tiny-clip", folder=home)
        assert result.returncode == 5
        assert "made by checkpoint 'fashion-small'" in result.stderr
        assert "Traceback" not in result.stderr


def test_any_clip_folder_fills_and_answers_a_collection_of_its_own(home: Path) -> None:
    make_tiny_clip(home / "own-clip")
    options = ("--model", "own-clip", "--collection", "tiny", "--device", "cpu")
    assert engine("ingest", "look-book", *options, folder=home).returncode == 0
    assert len(hits(engine("query", "dress", "--json", *options, folder=home))) == 10


def test_what_a_training_would_lack_in_the_end_is_told_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(UsageError, match=r"onnxscript is missing: pip install '.\[train\]'"):
        learn.train_command("random-init", [tmp_path], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_learning_takes_device_and_model_from_the_settings_where_no_option_says_otherwise(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiny_clip(tmp_path / "pupil")
    (tmp_path / "engine.toml").write_text('device = "mps"\nmodel = "pupil"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[Any, str]] = []
    lessons = ("train.words.teach_words", "train.captions.teach_captions")
    for verb in ("train.trainer.train", *lessons, "train.distil.distil"):
        monkeypatch.setattr(verb, lambda first, *_, device, **__: asked.append((first, device)))
    monkeypatch.setattr("train.cores.keep_memory", lambda: None)
    data = [home / "look-book"]
    learn.train_command("random-init", data)
    learn.teach_command(data)
    learn.teach_command(data, captions=True)
    learn.distil_command(["pupil"], data)
    monkeypatch.setenv("ENGINE_DEVICE", "cuda")
    learn.train_command("random-init", data)
    learn.teach_command(data, base="fashion-small", device="cpu")
    assert [device for _, device in asked] == ["mps", "mps", "mps", "mps", "cuda", "cpu"]
    assert [asked[taught][0].name for taught in (1, 2, 5)] == ["pupil", "pupil", "fashion-small"]


def test_captions_and_attributes_are_taught_one_after_the_other(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="teach --attributes first, its checkpoint is the --base"):
        learn.teach_command([home / "look-book"], out=tmp_path / "run", captions=True, stress=["colour=2"])
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_is_called_what_its_run_is(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "red" / "checkpoint").name == "red"
    assert Checkpoint(BUNDLED / "fashion-small").name == "fashion-small"


def test_a_checkpoint_is_copied_and_the_copy_ingests_and_answers(home: Path) -> None:
    base = make_tiny_clip(home / "somebodys")
    draw_lookbook(home / "more", count=100, seed=3)
    done = engine("quantize", base, "--data", "more", "--out", "fast", folder=home)
    assert done.returncode == 0, done.stderr
    assert re.search(r"hit@10 of \d\d captions: 0\.\d{4} in float32.*; it computes in (float32|int8)\n", done.stderr)
    assert re.search(r"mean cosine to the original [01]\.\d{4}; \d+ photographs/s, the original \d", done.stderr)
    assert done.stdout.strip() == str(Path("fast") / "checkpoint")
    named = ("--model", done.stdout.strip(), "--store", "fast-store")
    assert engine("ingest", "look-book", *named, folder=home).returncode == 0
    answered = engine("query", "red dress", *named, "--limit", 1, folder=home)
    assert answered.returncode == 0, answered.stderr


def test_a_checkpoint_is_taught_words_and_the_last_line_says_where_it_lies(home: Path) -> None:
    base, words = make_tiny_clip(home / "pupil"), home / "words.txt"
    words.write_text("frock => dress\n", encoding="utf-8")
    asked = ("teach", words, "--data", "look-book", "--base", base, "--stress", "gender=2", "--epochs", 1)
    done = engine(*asked, folder=home)
    assert done.returncode == 0, done.stderr
    assert "synonyms: 1 phrases" in done.stderr
    assert "epoch 1 of 1: mean cosine" in done.stderr
    assert done.stdout.strip() == str(Path("taught") / "checkpoint")
    assert (home / done.stdout.strip() / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ingest", "nowhere"), 3, "nowhere"),
        (("ingest", "empty"), 3, "empty"),
        (("ingest", "texts"), 3, "no photographs"),
        (("ingest", "table.csv"), 3, "--image-column"),
        (("ingest", "look-book", "--source", "magic"), 2, "deepfashion"),
        (("query", "dress", "--store", "elsewhere"), 6, "elsewhere"),
        (("query", "dress", "--collection", "nothing"), 6, "nothing"),
        (("query", "dress", "--store", "http://127.0.0.1:9"), 6, "127.0.0.1:9"),
        (("query", "dress", "--model", "empty"), 4, "config.json"),
        (("query", "dress", "--where", "price"), 2, "price"),
        (("query", "dress", "--filter", "{nonsense"), 2, "JSON"),
        (("query", "--image", "nowhere.jpg"), 2, "nowhere.jpg"),
        (("query", "--image", "table.csv"), 2, "no photograph"),
        (("query", "--like", "nobody"), 2, "nobody"),
        (("query", "dress", "--json", "--csv"), 2, "exclude each other"),
        (("show", "nobody"), 2, "nobody"),
        (("delete",), 2, "what to delete"),
        (("eval",), 2, "PATH"),
        (("eval", "look-book", "--ground-truth", "table.csv"), 2, "exclude each other"),
        (("eval", "look-book", "--part", "best"), 2, "best"),
        (("query", "dress", "--min-score", "2"), 2, "between -1 and 1"),
        (("query", "dress", "--min-score", "nan"), 2, "between -1 and 1"),
        (("query", "dress", "--model", "~nobody/clip"), 4, "no checkpoint folder ~nobody/clip"),
        (("query", "dress", "--text-weight", "inf"), 2, "weight"),
        (("query", "--where", "hat=true", "--group-by", "product_id"), 2, "grouping"),
        (("query", "dress", "--html", "empty"), 2, "contact sheet"),
        (("export", "empty/no/items.jsonl"), 2, "No such file"),
        (("status", "--store", "localhost:6333"), 2, "http://localhost:6333"),
        (("status", "--store", "http:/localhost:6333"), 2, "http://HOST:PORT"),
        (("status", "--store", "table.csv"), 2, "table.csv is no folder"),
        (("status", "--store", ""), 2, "without a name"),
        (("ingest", "look-book", "--title-column", "name"), 2, "no table"),
        (("export", "empty/no/items.parquet"), 2, "No such file"),
        (("eval", "look-book", "--out", "table.csv"), 2, "table.csv"),
        (("train", "small-from-scratch", "--data", "look-book", "--out", "table.csv"), 1, "table.csv"),
        (("train", "empty", "--data", "look-book"), 2, "no recipe"),
        (("train", "no-recipe", "--data", "look-book"), 2, "small-from-scratch"),
        (("teach", "nowhere.txt", "--data", "look-book"), 2, "nowhere.txt"),
        (("teach", "texts/a.txt", "--data", "look-book"), 2, "line 1, 'no image'"),
        (("teach", "--data", "nowhere"), 3, "nowhere"),
        (("teach", "--data", "look-book", "--stress", "colour"), 2, "--stress 'colour' is not FIELD=TIMES"),
        (("teach", "--data", "look-book", "--stress", "colour=-1"), 2, "'colour=-1'"),
        (("teach", "--data", "look-book", "--base", "empty"), 4, "config.json"),
        (("sample", "texts"), 2, "texts"),
    ],
)
def test_bad_input_is_one_clear_line_and_an_exit_code(
    home: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    (home / "empty").mkdir(exist_ok=True)
    (home / "texts").mkdir(exist_ok=True)
    (home / "texts" / "a.txt").write_text("no image")
    (home / "table.csv").write_text("name,colour\nshirt,red\n")
    result = engine(*arguments, folder=home, ENGINE_TIMEOUT_S="1")
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    told = [line for line in result.stderr.splitlines() if line.startswith("engine: ")]
    assert len(told) == 1
    assert words in told[0]
