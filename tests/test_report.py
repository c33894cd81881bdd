from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.records import Item
from eval.examination import DEFINITIONS, Curve, Examination, Figure, Group, TruthExamination
from eval.harness import Gallery, examine
from eval.plots import group_bars, rank_histogram, recall_curve
from eval.report import write_report
from eval.truth import examine_ground_truth

NASTY = '<script>alert("1")</script> & | `x`'
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads the page strictly: every tag is closed by its own end tag."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def found() -> Examination:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((200, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [
        Item(
            f"photo {n}.jpg",
            "",
            {"product_id": f"{n // 3}", "view": ("front", NASTY)[n % 2]},
            (f"{NASTY} {n}",),
        )
        for n in range(200)
    ]
    queries = vectors + 0.3 * rng.standard_normal(vectors.shape).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)

    def search(asked: np.ndarray, limit: int) -> list[list[str]]:
        order = np.argsort(-(asked @ vectors.T), axis=1)
        return [[items[column].id for column in row[:limit]] for row in order]

    def embed(texts: list[str]) -> np.ndarray:
        return queries[[int(text.rsplit(" ", 1)[1]) for text in texts]]

    gallery = Gallery([item.id for item in items[:190]], vectors[:190])
    return examine(items, gallery, embed, search, catalogue=items, count_tokens=len, token_limit=40, resamples=200)


@pytest.fixture(scope="module")
def truth() -> TruthExamination:
    return examine_ground_truth({"red": {"a": 1.0, "gone": 1.0}}, lambda texts, limit: [["b", "a"]], "abc")


def jpeg(item_id: str) -> bytes | None:
    if item_id.endswith("7.jpg"):
        return None
    data = io.BytesIO()
    Image.new("RGB", (24, 32), (len(item_id) * 9, 90, 120)).save(data, "JPEG")
    return data.getvalue()


@pytest.fixture(scope="module")
def folder(found: Examination, truth: TruthExamination, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, found, truth, title=NASTY, about={"checkpoint": NASTY}, thumbnail=jpeg)
    return folder


def test_the_page_is_well_formed_and_nothing_of_the_users_becomes_markup(folder: Path) -> None:
    page = Page()
    page.feed((folder / "report.html").read_text(encoding="utf-8"))
    page.close()
    assert not page.open
    assert "script" not in {tag for tag, _ in page.tags}
    assert [tag for tag, _ in page.tags if tag in ("main", "h1")] == ["main", "h1"]
    assert NASTY in page.text


def test_the_page_asks_nothing_of_anyone(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "form", "a"}
        assert (attributes.get("src") or "data:").startswith("data:image/jpeg;base64,"[: len("data:")])
    assert not re.search(r"url\(|@import", text)
    assert "default-src 'none'" in text


def test_the_plots_are_well_formed_and_lie_within_their_frame(folder: Path) -> None:
    plots = re.findall(r"<svg.*?</svg>", (folder / "report.html").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(plots) == 3  # the curve, the histogram, and the bars of one field
    for plot in plots:
        root = ET.fromstring(plot)
        _, _, width, height = (float(number) for number in root.attrib["viewBox"].split())
        for element in root.iter():
            xs = [float(element.attrib[name]) for name in ("x", "x1", "x2") if name in element.attrib]
            ys = [float(element.attrib[name]) for name in ("y", "y1", "y2") if name in element.attrib]
            points = [point.split(",") for point in element.attrib.get("points", "").split()]
            assert all(0 <= x <= width for x in [*xs, *(float(x) for x, _ in points)])
            assert all(0 <= y <= height for y in [*ys, *(float(y) for _, y in points)])
            assert float(element.attrib.get("height", 0)) >= 0
            if element.tag == "text":
                assert float(element.attrib["y"]) + 4 <= height  # descenders


def test_every_figure_stands_in_the_page_with_gallery_chance_interval_and_definition(
    folder: Path, found: Examination
) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    for section in (*found.sections, *found.small_galleries):
        for figure in section.figures[:-1]:
            assert f"{figure.low:.4f} – {figure.high:.4f}" in text
            rows = [line for line in markdown.splitlines() if f"{figure.low:.4f} to {figure.high:.4f}" in line]
            assert any(f"{figure.gallery}" in row and figure.definition in row for row in rows)
    for definition in DEFINITIONS.values():
        assert definition in markdown


def test_the_right_photograph_is_marked_and_pictures_are_inside_the_page(folder: Path, found: Examination) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    shown = [case for case in (*found.best, *found.worst) if case.query.item_id in case.hits]
    assert len(found.best) == len(found.worst) == 12
    assert text.partition("of the ground truth</h2>")[0].count('<li class="right">') == len(shown) > 0
    assert text.count('src="data:image/jpeg;base64,') > 50
    assert 'class="blank"' in text
    assert "not in the gallery" in text


def test_the_json_is_strict_and_holds_every_number(folder: Path, found: Examination) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    report = json.loads((folder / "report.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert report["about"] == {"checkpoint": NASTY}
    assert report["examination"]["gallery"] == 190
    first = report["examination"]["sections"][0]["figures"][0]
    assert first["value"] == found.sections[0].figures[0].value
    assert set(first) == {"name", "value", "low", "high", "chance", "ceiling", "queries", "gallery", "definition"}
    assert report["ground_truth"]["relevant_missing"] == 1


def test_the_page_shows_queries_of_the_ground_truth_with_what_was_wanted(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    best = page.partition("The best queries of the ground truth")[2].partition("<h2>")[0]
    assert '<p>red <span class="rank">rank 2</span></p>' in best
    assert "asked for: a</li>" in best
    assert best.count('<li class="right">') == 1
    assert best.count("<img") == 3


def test_the_markdown_tables_have_as_many_cells_in_every_row(folder: Path) -> None:
    rows = [line for line in (folder / "report.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {10}


def test_the_small_galleries_say_that_they_are_not_comparable(folder: Path) -> None:
    assert "NOT comparable" in (folder / "report.md").read_text(encoding="utf-8")
    assert "Galleries of 32 only" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_report_of_one_half_alone_can_be_written(
    tmp_path: Path, found: Examination, truth: TruthExamination
) -> None:
    for one, other in ((found, None), (None, truth)):
        for path in write_report(tmp_path / "new" / "folder", one, other):
            assert path.stat().st_size > 500
    page = (tmp_path / "new" / "folder" / "report.html").read_text(encoding="utf-8")
    assert "1 of these are not in the gallery" in page


def test_infinite_ranks_are_null_in_json_and_words_in_the_page(tmp_path: Path, found: Examination) -> None:
    never = Figure("median rank", float("inf"), 3.0, float("inf"), 95.0, None, 200, 190, "rank")
    broken = replace(found, sections=(replace(found.sections[0], figures=(never,)),))
    write_report(tmp_path, broken)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["examination"]["sections"][0]["figures"][0]["value"] is None
    assert "never" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_path_that_is_no_unicode_does_not_cost_the_report(tmp_path: Path, found: Examination) -> None:
    write_report(tmp_path, found, about={"ground truth": "caf\udce9.json"})
    assert json.loads((tmp_path / "report.json").read_text())["about"]["ground truth"] == "caf\udce9.json"
    assert "- ground truth: caf\\udce9.json" in (tmp_path / "report.md").read_text()


def test_plots_of_almost_nothing_are_still_drawn() -> None:
    ET.fromstring(recall_curve(Curve((1,), (0.0,), (0.0,), (0.0,), (1.0,))))
    ET.fromstring(rank_histogram([1], 1))
    ET.fromstring(rank_histogram([None, None], 3))
    none = Figure("hit@10", 0.0, 0.0, 0.0, 0.1, None, 20, 100, "hit")
    ET.fromstring(group_bars([Group("view", "<&>", none)]))
