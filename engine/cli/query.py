"""`engine query`: words, photographs or stored items in, the right garments out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import (
    CollectionOption,
    DeviceOption,
    FilterOption,
    ModelOption,
    StoreOption,
    WhereOption,
    filter_of,
    open_with_encoder,
    reranker_of,
    settings_of,
)

if TYPE_CHECKING:
    from engine.encoder import Encoder


def query_command(
    text: Annotated[str, typer.Argument(help="What to look for; - reads one query a line from stdin.")] = "",
    store: StoreOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    where: WhereOption = None,
    filter: FilterOption = None,
    unwanted: Annotated[list[str] | None, typer.Option("--not", help="What it should not look like.")] = None,
    image: Annotated[list[Path] | None, typer.Option("--image", help="Look for what this photograph shows.")] = None,
    like: Annotated[list[str] | None, typer.Option("--like", help="More like this item (its id).")] = None,
    unlike: Annotated[list[str] | None, typer.Option("--unlike", help="Less like this item (its id).")] = None,
    text_weight: Annotated[float, typer.Option(help="Weight of the words.")] = 1.0,
    image_weight: Annotated[float, typer.Option(help="Weight of each --image.")] = 1.0,
    like_weight: Annotated[float, typer.Option(help="Weight of each --like.")] = 1.0,
    not_weight: Annotated[float, typer.Option(help="Weight of each --not and --unlike.")] = 0.5,
    limit: Annotated[int, typer.Option("-k", "--limit", min=1, max=10_000, help="How many hits.")] = 10,
    offset: Annotated[int, typer.Option(min=0, max=1_000_000, help="Leave out the first so many.")] = 0,
    min_score: Annotated[float | None, typer.Option(help="Only hits with at least this cosine.")] = None,
    group_by: Annotated[str | None, typer.Option(help="One hit for each value of a field: product_id.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every photograph, without the graph.")] = False,
    rerank: Annotated[
        str | None, typer.Option(help="Look at the first hits word by word: maxsim, or none. [default: where it can]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print hits as one JSON document.")] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_paths: Annotated[bool, typer.Option("--paths", help="Print only where the photographs are.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained contact sheet.")] = None,
    pictures: Annotated[
        bool | None,
        typer.Option("--pictures/--no-pictures", help="Draw the hits in the terminal, where it has colours."),
    ] = None,
) -> None:
    """Find photographs by words, by a photograph, by stored items, or by any weighted mixture of them.

    Without any of these, --where alone lists what passes the filter. A score is a cosine.
    """
    from engine.cli import output
    from engine.passport import check_golden_images, check_golden_texts
    from engine.search import Page, Query, search

    form = output.choose(as_json=as_json, as_jsonl=as_jsonl, as_csv=as_csv, as_paths=as_paths)
    images = []
    for path in image or []:
        from ingest.photograph import open_photograph

        images.append(open_photograph(path))
    query = Query(
        *("", [_readable(one) for one in unwanted or []], images, like or [], unlike or []),
        *(text_weight, image_weight, like_weight, not_weight),
    )
    page = Page(filter_of(where, filter), limit, offset, min_score, exact, group_by, reranker_of(rerank))
    queries = [replace(query, text=one) for one in _texts(text)]
    opened = open_with_encoder(settings_of(store, collection, model, device))
    with opened.store:
        if any(not one.is_empty for one in queries):
            check_golden_texts(opened.store.spec().passport, opened.encoder)
        if images:
            check_golden_images(opened.store.spec().passport, opened.encoder)
        for words in [*(one.text for one in queries), *query.unwanted]:
            _tell_if_cut(words, opened.encoder)
        answers = [output.Answer(one.text, search(opened.store, opened.encoder, one, page)) for one in queries]
    output.write(answers, form, several=text == "-", pictures=pictures)
    if html:
        from engine.cli.sheet import write_sheet

        write_sheet(html, answers)
        print(f"contact sheet: {html}", file=sys.stderr)


def _texts(argument: str) -> Iterator[str]:
    if argument != "-":
        yield _readable(argument)
        return
    for line in sys.stdin.buffer:
        if line.strip():
            yield line.decode(errors="replace").strip()


def _readable(words: str) -> str:
    """Return words from the command line with bytes that are not UTF-8 replaced by question marks."""
    return words.encode(errors="replace").decode()


def _tell_if_cut(words: str, encoder: Encoder) -> None:
    context = encoder.checkpoint.context
    if len(words.encode()) + 2 > context and (tokens := encoder.count_tokens(words)) > context:  # a token is >= 1 byte
        print(
            f"{words[:30]!r}... has {tokens} tokens, the model reads {context}: the rest is left out", file=sys.stderr
        )
