"""How hits are printed: a table for people, JSON, CSV or paths for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engine.errors import UsageError
from engine.records import Hit, Value

Form = Literal["table", "json", "jsonl", "csv", "paths"]
PLUMBING = {
    *("item_id", "product_id", "variant", "uri", "source", "sha256", "width", "height"),
    *("perceptual_hash", "duplicate_of", "near_duplicate_of", "captions", "title"),
}
"""Payload fields that say nothing of the garment, or stand in columns of their own."""


@dataclass(frozen=True)
class Answer:
    """A query and its hits, best first.

    ``first``: the rank of the first of them. ``compared``: whether their scores say anything; a filter alone has none.
    """

    query: str
    hits: Sequence[Hit]
    first: int = 1
    compared: bool = True

    @property
    def ranked(self) -> Iterator[tuple[int, Hit]]:
        """The hits, each with its rank."""
        return enumerate(self.hits, start=self.first)


def choose(*, as_json: bool, as_jsonl: bool, as_csv: bool, as_paths: bool) -> Form:
    """Return the one form that was asked for; raises UsageError when it was several."""
    flags: dict[Form, bool] = {"json": as_json, "jsonl": as_jsonl, "csv": as_csv, "paths": as_paths}
    chosen = [form for form, wanted in flags.items() if wanted]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other: choose one")
    return chosen[0] if chosen else "table"


def write(answers: Sequence[Answer], form: Form, *, several: bool = False, pictures: bool | None = None) -> None:
    """Print answers on stdout in the form that was asked for; ``several``: as a list, however many they are."""
    if form == "json":
        documents = [{"query": answer.query, "hits": _objects(answer)} for answer in answers]
        print(json.dumps(documents if several else documents[0], ensure_ascii=False, indent=2))
    elif form == "jsonl":
        for answer in answers:
            for entry in _objects(answer):
                print(json.dumps({"query": answer.query, **entry}, ensure_ascii=False))
    elif form == "csv":
        _write_csv(answers)
    elif form == "paths":
        for answer in answers:
            for hit in answer.hits:
                print(hit.payload.get("uri", ""))
    else:
        _write_tables(answers, pictures)


def title_of(hit: Hit) -> str:
    """Return the words that describe a hit best: its title, else its first caption, else the name of its file."""
    captions = hit.payload.get("captions")
    first = captions[0] if isinstance(captions, list) and captions else ""
    return str(hit.payload.get("title") or first or str(hit.payload.get("uri", "")).rpartition("/")[2])


def attributes_of(hit: Hit) -> dict[str, Value]:
    """Return the payload fields that describe the garment."""
    return {key: value for key, value in hit.payload.items() if key not in PLUMBING and value is not False}


def describe(key: str, value: Value) -> str:
    """Return an attribute in few words: the value alone where it speaks for itself."""
    if value is True:
        return key.replace("_", " ")
    if isinstance(value, list):
        return " ".join(value)
    return value if isinstance(value, str) else f"{key} {value}"


def _objects(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"rank": rank, "id": hit.item_id, "score": round(hit.score, 6)}
        | ({} if hit.rerank_score is None else {"rerank_score": round(hit.rerank_score, 6)})
        | {"point_id": hit.id, "payload": hit.payload}
        for rank, hit in answer.ranked
    ]


def _write_csv(answers: Sequence[Answer]) -> None:
    ours = ["query", "rank", "id", "score"]
    columns = list(dict.fromkeys(key for answer in answers for hit in answer.hits for key in hit.payload))
    columns = [key for key in columns if key != "item_id"]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*ours, *(f"payload_{key}" if key in ours else key for key in columns)])
    for answer in answers:
        for rank, hit in answer.ranked:
            cells = [hit.payload.get(key, "") for key in columns]
            cells = [" | ".join(cell) if isinstance(cell, list) else cell for cell in cells]
            writer.writerow([answer.query, rank, hit.item_id, f"{hit.score:.6f}", *cells])


def _write_tables(answers: Sequence[Answer], pictures: bool | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=120, no_color=True)
    if pictures is None:
        pictures = console.is_terminal and console.color_system == "truecolor" and not console.no_color
    for answer in answers:
        if len(answers) > 1:
            console.print(Text(answer.query, style="bold"))
        if not answer.hits:
            console.print("nothing found")
            continue
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("#", justify="right")
        if answer.compared:
            table.add_column("score", justify="right")
        if pictures:
            table.add_column("")
        table.add_column("id", overflow="fold", max_width=40)
        table.add_column("photograph", overflow="fold")
        for rank, hit in answer.ranked:
            words = ", ".join(dict.fromkeys(describe(key, value) for key, value in attributes_of(hit).items()))
            about = Text(title_of(hit))
            about.append(f"\n{words}" if about else words, style="dim")
            score = [f"{hit.score:.3f}"] if answer.compared else []
            picture = [_picture(hit)] if pictures else []
            table.add_row(str(rank), *score, *picture, Text(hit.item_id), about)
        console.print(table)


def _picture(hit: Hit) -> Any:  # noqa: ANN401
    """Draw a hit with half blocks: two pixels a character, in true colour."""
    from rich.text import Text

    from ingest.photograph import small_pixels

    pixels = small_pixels(str(hit.payload.get("uri", "")), width=12, height=16)
    drawn = Text()
    if pixels is None:
        return drawn
    for row in range(0, 16, 2):
        for upper, lower in zip(pixels[row], pixels[row + 1], strict=True):
            drawn.append("▀", style=f"rgb({upper[0]},{upper[1]},{upper[2]}) on rgb({lower[0]},{lower[1]},{lower[2]})")
        if row < 14:
            drawn.append("\n")
    return drawn
