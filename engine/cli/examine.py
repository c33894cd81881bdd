"""`engine eval`: held-out captions through the real search, and what came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.ingest import run_ingest
from engine.cli.options import (
    CaptionColumnOption,
    CollectionOption,
    DeviceOption,
    IdColumnOption,
    ImageColumnOption,
    ModelOption,
    ProductColumnOption,
    SourceOption,
    StoreOption,
    TitleColumnOption,
    open_named_store,
    open_sources,
    open_with_encoder,
    place_of,
    reranker_of,
    settings_of,
)
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.records import FieldKind, Item, Rejected, Vector
    from engine.rerank import Reranker
    from engine.settings import Settings
    from engine.store.protocol import Store
    from eval.harness import Gallery
    from eval.split import Part
    from ingest.sources.source import Source


def eval_command(
    path: Annotated[Path | None, typer.Argument(help="Photographs with captions, as for ingest.")] = None,
    store: StoreOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    source: SourceOption = "auto",
    image_column: ImageColumnOption = None,
    id_column: IdColumnOption = None,
    title_column: TitleColumnOption = None,
    caption_column: CaptionColumnOption = None,
    product_column: ProductColumnOption = None,
    part: Annotated[str, typer.Option(help="Part of the split: test, validation or train; all: no split.")] = "test",
    seed: Annotated[
        int | None, typer.Option(help="Seed of the split; as the checkpoint was trained, else 42.")
    ] = None,
    train_share: Annotated[
        float | None,
        typer.Option(help="Share of the products that training may see; as the checkpoint was trained, else 0.8."),
    ] = None,
    by_photograph: Annotated[
        bool, typer.Option("--by-photograph", help="Split photographs, not products: leaks; only to compare.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Examine only the first so many items of the part.")] = None,
    ground_truth: Annotated[
        Path | None, typer.Option("--ground-truth", help="Instead: {query: {item id: relevance}}, over --collection.")
    ] = None,
    rerank: Annotated[
        str, typer.Option(help="With --ground-truth: none, or maxsim or cross, which is then compared with none.")
    ] = "none",
    out: Annotated[Path, typer.Option(help="Folder for the report and the TREC files.")] = Path("report"),
) -> None:
    """Measure Recall@K: ingest the held-out items of PATH, ask every caption, and report with intervals.

    They go into a collection of their own, whose name ends in -eval; whatever else is in that one is deleted.
    With --ground-truth, ask its queries of a collection that is already there, and change nothing.
    """
    settings = settings_of(store, collection, model, device)
    try:
        out.mkdir(parents=True, exist_ok=True)  # now, and not when the work is done
    except OSError as error:
        raise UsageError(f"--out {out} cannot be made ({error.strerror}): give another folder") from None
    if ground_truth:
        if path:
            raise UsageError(f"{path} and --ground-truth exclude each other: the latter asks of the collection")
        _examine_truth(ground_truth, settings, reranker_of(rerank) or "none", out)
        return
    if reranker_of(rerank) not in (None, "none"):
        raise UsageError("--rerank is measured with --ground-truth FILE: the other examination is of the towers alone")
    if path is None:
        raise UsageError("say what to examine: a PATH with captions, or --ground-truth FILE")
    from eval.split import split

    columns = (id_column, image_column, title_column, caption_column, product_column)
    (opened,) = open_sources([path], source, columns)
    from engine.records import Item

    everything = [item for item in opened.items() if isinstance(item, Item)]
    chosen: Sequence[Item] = everything
    described = part
    if part != "all":
        share, seed, caution = _split_of(settings, train_share, seed)
        chosen = list(split(everything, _part(part), seed, share, by_photograph=by_photograph))
        way = "by photograph (leaks)" if by_photograph else "by product"
        described = f"{part} of a split {way}, {share:g} to {1 - share:g}, with seed {seed}{caution}"
    chosen = chosen[:limit]
    if not any(item.captions for item in chosen):
        raise UsageError(f"{path}: no captions in the {part} part: nothing to ask (see --caption-column)")
    import dataclasses

    # never the collection itself, nor a server's: what is not examined is deleted
    settings = dataclasses.replace(settings, url=None, collection=f"{settings.collection.removesuffix('-eval')}-eval")
    _examine_captions(_Subset(opened, chosen), everything, settings, described, out)


def _split_of(settings: Settings, train_share: float | None, seed: int | None) -> tuple[float, int, str]:
    """Return share and seed of the split, as asked, else as the checkpoint was trained; and words if these differ."""
    from engine.checkpoint import find_checkpoint
    from eval.split import split_of

    checkpoint = find_checkpoint(settings.model)
    trained, usual = checkpoint.trained_split, split_of(checkpoint)
    share = usual[0] if train_share is None else train_share
    seed = usual[1] if seed is None else seed
    caution = ""
    if trained and (share < trained[0] or seed != trained[1]):
        caution = f"; CAREFUL: the checkpoint was trained by {trained[0]:g} and seed {trained[1]}"
        print(f"{caution[2:]}: if on these photographs, it has seen some that are asked for", file=sys.stderr)
    return share, seed, caution


def _examine_captions(subset: _Subset, everything: Sequence[Item], settings: Settings, part: str, out: Path) -> None:
    from engine.passport import check_golden_texts
    from engine.store.protocol import SearchSpec
    from eval.harness import examine
    from eval.trec import write_qrels, write_run

    with open_named_store(settings) as named:
        _keep_only(subset.chosen, named)
        summary = run_ingest(subset, named, settings, prune=True)
    print(f"gallery: {summary.found} items, {summary.quarantined} quarantined", file=sys.stderr)
    opened = open_with_encoder(settings)
    with opened.store as store:
        check_golden_texts(store.spec().passport, opened.encoder)
        gallery, uris = _gallery(store)

        def search_index(vectors: Vector, limit: int) -> list[list[str]]:
            return [
                [hit.item_id for hit in hits]
                for hits in store.search_batch([SearchSpec(vector, limit=limit) for vector in vectors])
            ]

        examination = examine(
            subset.chosen,
            gallery,
            _in_batches(opened.encoder.encode_texts),
            search_index,
            count_tokens=opened.encoder.count_tokens,
            token_limit=opened.encoder.checkpoint.context,
        )
        about = {
            "checkpoint": f"{opened.encoder.checkpoint.name} ({opened.encoder.checkpoint.fingerprint[:12]})",
            "data": subset.description,
            "part": f"{part} ({len(subset.chosen)} of {len(everything)} items)",
            "store": settings.store,
            "command": "engine " + " ".join(sys.argv[1:]),
        }
    write_run(out / "run.trec", examination.run)
    write_qrels(out / "qrels.trec", {query.id: {query.item_id: 1.0} for query in examination.asked})
    _report(out, examination, None, about, uris)


def _examine_truth(file: Path, settings: Settings, reranker: Reranker, out: Path) -> None:
    from engine.passport import check_golden_texts
    from engine.store.protocol import SearchSpec
    from eval.trec import write_qrels, write_run
    from eval.truth import compare_runs, examine_ground_truth, load_ground_truth

    truth = load_ground_truth(file)
    opened = open_with_encoder(settings)
    with opened.store as store:
        check_golden_texts(store.spec().passport, opened.encoder)

        def search(texts: Sequence[str], limit: int) -> list[list[str]]:
            vectors = _in_batches(opened.encoder.encode_texts)(list(texts))
            specs = [SearchSpec(vector, limit=limit, exact=True) for vector in vectors]
            return [[hit.item_id for hit in hits] for hits in store.search_batch(specs)]

        def look_closer(texts: Sequence[str], limit: int) -> list[list[str]]:
            from engine.search import Page, Query
            from engine.search import search as answer

            page = Page(limit=limit, exact=True, rerank=reranker)
            return [[hit.item_id for hit in answer(store, opened.encoder, Query(text), page)] for text in texts]

        gallery, uris = _gallery(store)
        examination = examine_ground_truth(truth, search, set(gallery.ids))
        compared = {}
        if reranker != "none":
            towers, examination = examination, examine_ground_truth(truth, look_closer, set(gallery.ids))
            differences = compare_runs(truth, examination.run, towers.run, len(gallery.ids))
            compared = {
                f"{name}, {reranker} against none": f"{one.mean:+.4f}, 95 % {one.low:+.4f} to {one.high:+.4f}, "
                f"p = {one.p_value:.4f} (paired bootstrap)"
                for name, one in differences.items()
            }
        about = {
            "checkpoint": f"{opened.encoder.checkpoint.name} ({opened.encoder.checkpoint.fingerprint[:12]})",
            "ground truth": str(file),
            "collection": place_of(settings),
            "command": "engine " + " ".join(sys.argv[1:]),
            **compared,
        }
    write_run(out / "run.trec", examination.run)
    write_qrels(out / "qrels.trec", truth)
    _report(out, None, examination, about, uris)


def _report(out: Path, examination: Any, truth: Any, about: dict[str, str], uris: dict[str, str]) -> None:  # noqa: ANN401
    from eval.report import write_report
    from ingest.photograph import thumbnail

    paths = write_report(
        out, examination, truth, about=about, thumbnail=lambda item_id: thumbnail(uris.get(item_id, ""), 160)
    )
    print(paths[1].read_text(encoding="utf-8"))
    print(f"report: {os.fspath(paths[2])}", file=sys.stderr)


def _keep_only(chosen: Sequence[Item], store: Store) -> None:
    """Delete what an examination of other photographs left: the gallery is the chosen items alone."""
    from engine.store.protocol import all_records

    if not store.exists():
        return
    wanted = {(item.id, item.uri) for item in chosen}
    payloads = {record.id: record.payload or {} for record in all_records(store, payload=["item_id", "uri"])}
    store.delete([id for id, held in payloads.items() if (held.get("item_id"), held.get("uri")) not in wanted])


def _gallery(store: Store) -> tuple[Gallery, dict[str, str]]:
    """Return what the collection holds: item ids with vectors, and where each photograph lies."""
    import numpy as np

    from engine.store.protocol import all_records
    from eval.harness import Gallery

    ids, rows, uris = [], [], {}
    for record in all_records(store, vectors=True, payload=["item_id", "uri"]):
        payload = record.payload or {}
        ids.append(str(payload["item_id"]))
        uris[ids[-1]] = str(payload["uri"])
        rows.append(record.vector)
    return Gallery(ids, np.array(rows, dtype=np.float32)), uris


def _in_batches(encode: Any, size: int = 256) -> Any:  # noqa: ANN401
    """Embed texts of like length together: padding to the longest costs as much as text."""
    import numpy as np

    def embed(texts: list[str]) -> Vector:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        rows = [encode([texts[i] for i in order[start : start + size]]) for start in range(0, len(texts), size)]
        back = np.argsort(order)
        sorted_rows: Vector = np.concatenate(rows)[back]
        return sorted_rows

    return embed


def _part(name: str) -> Part:
    from eval.split import PARTS

    for part in PARTS:
        if part == name:
            return part
    raise UsageError(f"--part {name!r}: choose {', '.join(PARTS)} or all")


class _Subset:
    """The chosen items of a source, as a source."""

    def __init__(self, whole: Source, chosen: Sequence[Item]) -> None:
        self.kind, self.root, self.description = whole.kind, whole.root, whole.description
        self.chosen = chosen
        self._whole = whole

    def fields(self) -> dict[str, FieldKind]:
        return {}  # nobody filters the gallery, and what other sources had there must not matter

    def items(self) -> Iterator[Item | Rejected]:
        return iter(self.chosen)

    def read(self, item: Item) -> bytes:
        return self._whole.read(item)
