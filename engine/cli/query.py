"""`engine query`: words, photographs or stored items in, the right garments out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
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
    open_served,
    open_with_encoder,
    reranker_of,
    settings_of,
)

if TYPE_CHECKING:
    from engine.records import Hit
    from engine.search import Page, Query
    from engine.settings import Settings
    from engine.store.remote import RemoteStore


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
    image_weight: Annotated[float, typer.Option(help="Weight of all --image together.")] = 1.0,
    like_weight: Annotated[float, typer.Option(help="Weight of all --like together.")] = 1.0,
    not_weight: Annotated[float, typer.Option(help="Weight of all --not together, and of all --unlike.")] = 0.5,
    limit: Annotated[int, typer.Option("-k", "--limit", min=1, max=10_000, help="How many hits.")] = 10,
    offset: Annotated[int, typer.Option(min=0, max=1_000_000, help="Leave out the first so many.")] = 0,
    min_score: Annotated[float | None, typer.Option(help="Only hits with at least this cosine.")] = None,
    group_by: Annotated[str | None, typer.Option(help="One hit for each value of a field: product_id.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare the full vectors of all photographs.")] = False,
    rerank: Annotated[
        str | None,
        typer.Option(
            help="Look at the first hits word by word: maxsim, cross or none. [default: what the checkpoint does best]"
        ),
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
    from engine.checkpoint import find_checkpoint
    from engine.cli import output
    from engine.passport import check_fingerprint
    from engine.search import Page, Query

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
    settings = settings_of(store, collection, model, device)
    server = open_served(settings)
    if server and model:  # who names none means whichever the server has
        check_fingerprint(server.spec().passport, find_checkpoint(settings.model))
    found = _ask_server(server, queries, page) if server else _search_here(settings, queries, page)
    answers = [
        output.Answer(one.text, hits, offset + 1, compared=not one.is_empty)
        for one, hits in zip(queries, found, strict=True)
    ]
    if group_by and not any(found):
        print(f"no photograph that was looked for has a {group_by}: leave out --group-by", file=sys.stderr)
    if html:  # before the screen, whose reader may go away
        from engine.cli.sheet import write_sheet

        write_sheet(html, answers)
        print(f"contact sheet: {html}", file=sys.stderr)
    output.write(answers, form, several=text == "-", pictures=pictures)


def _search_here(settings: Settings, queries: Sequence[Query], page: Page) -> list[list[Hit]]:
    """Open collection and checkpoint in this process, and search; warn of texts that are longer than it reads."""
    from concurrent.futures import ThreadPoolExecutor

    from engine.passport import check_golden_images, check_golden_texts
    from engine.search import search

    compares = any(not one.is_empty for one in queries)
    opened = open_with_encoder(settings, texts=compares)
    with opened.store:
        passport, encoder = opened.store.spec().passport, opened.encoder
        if compares:  # computing needs no lock of Python's, which Edge holds while it opens the store
            with ThreadPoolExecutor(1) as beside:
                checked = beside.submit(check_golden_texts, passport, encoder)
                opened.store.retrieve([])  # which opens an embedded store, and asks a server nothing
                checked.result()
        if any(one.images for one in queries):
            check_golden_images(passport, encoder)
        for words in dict.fromkeys(words for one in queries for words in (one.text, *one.unwanted)):
            if len(words.encode()) + 2 > encoder.checkpoint.context:  # a token is >= 1 byte
                _tell_if_cut(words, encoder.count_tokens(words), encoder.checkpoint.context)
        return [search(opened.store, encoder, one, page) for one in queries]


def _ask_server(server: RemoteStore, queries: Sequence[Query], page: Page) -> list[list[Hit]]:
    from engine.remote import search_remotely

    answers = []
    with server:
        for one in queries:
            hits, told = search_remotely(server, one, page)
            _tell_if_cut(one.text, told.get("tokens", 0), told.get("context", 0))
            answers.append(hits)
    return answers


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


def _tell_if_cut(words: str, tokens: int, context: int) -> None:
    if tokens > context:
        print(
            f"{words[:30]!r}... has {tokens} tokens, the model reads {context}: the rest is left out", file=sys.stderr
        )
