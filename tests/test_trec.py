from __future__ import annotations

from pathlib import Path

import ir_measures
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.errors import UsageError
from eval.trec import read_qrels, read_run, write_qrels, write_run

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@example(run={"\ufeffcoat": ["\ufeff"], "\ufeff": ["a"]})
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=5, unique=True), max_size=4))
def test_runs_and_right_answers_come_back_as_they_were_whatever_the_ids(
    tmp_path: Path, run: dict[str, list[str]]
) -> None:
    write_run(tmp_path / "run", run)
    assert read_run(tmp_path / "run") == run
    qrels = {query: dict.fromkeys(items, 1.0) for query, items in run.items()}
    write_qrels(tmp_path / "qrels", qrels)
    assert read_qrels(tmp_path / "qrels") == qrels


def test_relevances_become_whole_numbers_and_right_answers_stay_right(tmp_path: Path) -> None:
    write_qrels(tmp_path / "qrels", {"coat": {"a": 0.3, "b": 1.6, "c": 0.0}})
    assert read_qrels(tmp_path / "qrels") == {"coat": {"a": 1, "b": 2, "c": 0}}


def test_ir_measures_reads_our_files_and_sees_our_order(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"a red dress": ["zz 1.jpg", "aa.jpg", "mm.jpg"]})
    write_qrels(tmp_path / "qrels", {"a red dress": {"mm.jpg": 1, "zz 1.jpg": 0}})
    qrels = ir_measures.read_trec_qrels(str(tmp_path / "qrels"))
    run = ir_measures.read_trec_run(str(tmp_path / "run"))
    assert ir_measures.calc_aggregate([ir_measures.RR], qrels, run)[ir_measures.RR] == pytest.approx(1 / 3)


def test_a_run_made_elsewhere_is_ordered_by_score_and_then_by_rank(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("q Q0 b 2 0.5 x\nq\tQ0\tc\t1\t0.5\tx\r\n\nq Q0 a 3 0.9 x\n")
    assert read_run(tmp_path / "run") == {"q": ["a", "c", "b"]}


@pytest.mark.parametrize(("line", "message"), [("q 0 item", "line 2: 3 columns"), ("q 0 item high", "line 2: 'high'")])
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "qrels").write_text(f"q 0 item 1\n{line}\n")
    with pytest.raises(UsageError, match=message):
        read_qrels(tmp_path / "qrels")


def test_a_byte_order_mark_is_no_part_of_the_first_query_and_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("red 0 item 1\n", encoding="utf-8-sig")
    assert read_qrels(tmp_path / "qrels") == {"red": {"item": 1}}
    (tmp_path / "qrels").write_bytes(b"caf\xe9 0 item 1\n")
    with pytest.raises(UsageError, match="UTF-8"):
        read_qrels(tmp_path / "qrels")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        read_run(tmp_path / "nowhere")
