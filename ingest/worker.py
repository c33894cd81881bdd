"""INGEST: image file --decode--> pixels --embed--> embedding --point--> point --upsert--> store.

The main thread walks the source and decides, in order, what each file needs; reader threads fetch and hash bytes
ahead of it; embedding threads decode and embed whole batches, each on a core of its own; the main thread commits the
batches in order, first to the store, then to the ledger. Both queues are bounded in photographs and bytes, so memory
does not grow with the collection.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from engine.encoder import Encoder
from engine.errors import SourceError
from engine.match import matches
from engine.records import FilterJSON, Item, Rejected, is_text, point_id
from engine.store.protocol import Store
from ingest.commit import Batch, Run, classify, commit, is_there
from ingest.ledger import Entry, Ledger
from ingest.plan import known_entries, loosened, settle
from ingest.sources.source import Source
from ingest.summary import Problem, Summary

if TYPE_CHECKING:
    from ingest.embed import Embedded, Fetched

BATCH_PHOTOGRAPHS = 64
BATCH_BYTES = 32_000_000
READ_AHEAD = 4
"""Batches that may be read, and as many that may be embedded, ahead of the one that is committed."""


def ingest(
    source: Source,
    store: Store,
    ledger: Ledger,
    encoder: Callable[[], Encoder],
    *,
    workers: int,
    where: FilterJSON | None = None,
    prune: bool = False,
    stop: threading.Event | None = None,
    on_problem: Callable[[Problem], None] = lambda problem: None,
    on_progress: Callable[[Summary, int], None] = lambda summary, total: None,
) -> Summary:
    """Bring the collection up to date with ``source``; return what became of every entry.

    ``encoder`` gives the encoder; it is called once at most, if there is something to embed, and what it gives is let
    go of before the store is optimized, which needs the room. ``workers`` threads embed, each computing on one core.
    Items that do not pass the filter ``where`` are excluded. ``prune`` deletes points whose file is no longer in the
    source. When ``stop`` is set, the batches at hand are committed and the run ends early: running again goes on.
    ``on_progress`` is given the summary so far and the number of entries in all.

    Raises:
        SourceError: the source has no photograph at all.
        StoreError: the store refused; what it had acknowledged stays, and running again goes on.
    """
    stop = stop or threading.Event()
    root = os.path.abspath(source.root)  # noqa: PTH100 - two folders may both be called "photos"
    known = known_entries(ledger, store, root)
    load = cache(encoder)
    fields = dict(store.spec().fields)
    run = Run(source, root, store, ledger, known, where, on_problem, fields, lambda one: _embed_now(one, load()))
    total = _dry_run(run, stop)
    if total is not None:
        _pipeline(run, load, workers, stop, lambda: on_progress(run.summary(), total))
        load.cache_clear()
        store.flush()
    if stop.is_set():
        return replace(run.summary(), found=run.summary().accounted, stopped=True)
    return _finish(run, prune)


def _pipeline(
    run: Run, load: Callable[[], Encoder], workers: int, stop: threading.Event, on_commit: Callable[[], None]
) -> None:
    from ingest.embed import embed, fetch

    readers = ThreadPoolExecutor(max(2, workers), "read")
    embedders = ThreadPoolExecutor(workers, "embed")
    lock = threading.Lock()
    reading: deque[Future[list[Fetched]]] = deque()
    waiting: deque[Batch] = deque()

    def embedded(fresh: list[Fetched]) -> Future[list[Embedded]]:
        if fresh:
            return embedders.submit(embed, fresh, load(), None if load().parallel else lock)
        nothing: Future[list[Embedded]] = Future()
        nothing.set_result([])
        return nothing

    def advance(read: int, embed: int) -> None:
        """Move batches on until at most so many are being read and embedded; commit those that are ready."""
        while not stop.is_set() and len(reading) > read:
            fetched = reading.popleft().result()
            fresh, borrowed = classify(run, fetched)
            waiting.append(Batch(fetched, borrowed, embedded(fresh)))
            commit_ready(READ_AHEAD + workers)
        commit_ready(embed)

    def commit_ready(limit: int) -> None:
        while waiting and (len(waiting) > limit or waiting[0].embedded.done()):
            if stop.is_set() and waiting[0].embedded.cancel():  # nobody has begun with it: leave it to the next run
                waiting.clear()
                return
            commit(run, waiting.popleft())
            on_commit()

    try:
        for batch in _batches(_needing_work(run, stop)):
            reading.append(readers.submit(fetch, run.source, batch, run.known))
            advance(READ_AHEAD, READ_AHEAD + workers)
        advance(0, 0)
    finally:
        readers.shutdown(cancel_futures=True)
        embedders.shutdown(cancel_futures=True)


def _embed_now(fetched: Fetched, encoder: Encoder) -> Embedded:
    """Embed one photograph whose vector should have been in the store, and was not."""
    from ingest.embed import embed

    return embed([fetched], encoder, None)[0]


def _dry_run(run: Run, stop: threading.Event) -> int | None:
    """Return how many entries the source has, or None if every one of them is in place (and is counted so)."""
    problems: list[Problem] = []
    tell, run.on_problem = run.on_problem, problems.append
    pending = {item.id for item in _needing_work(run, stop)}
    run.on_problem, found = tell, run.counts["found"]
    if stop.is_set():
        return None
    run.pending = pending | loosened(run, pending)
    if run.pending:
        settle(run)
        run.counts.clear()
        run.unread.clear()
        run.seen.clear()
        return found
    for problem in problems:
        tell(problem)
    if found == run.counts["excluded"] + run.counts["quarantined"] and not run.conflicts:
        raise SourceError(
            f"{run.source.root}: not one photograph to ingest among {found} entries "
            "(--report FILE lists them with the reason)"
        )
    return None


def _needing_work(run: Run, stop: threading.Event) -> Iterator[Item]:
    """Yield the items to be read; count those that are in place, excluded, or in conflict."""
    counts, known, root, pending, seen = run.counts, run.known, run.root, run.pending, run.seen
    for entry in run.source.items():
        if stop.is_set():
            return
        counts["found"] += 1
        if isinstance(entry, Rejected):
            run.reject(entry.uri, entry.state, entry.reason)
            if entry.state == "quarantined":
                run.unread.add(entry.uri)
                run.nameless |= entry.nameless
            continue
        if not is_text(entry.id):
            run.reject(entry.uri, "quarantined", f"its id {entry.id!r} has half a character: mend it in the source")
            continue
        if run.where is not None and not matches(run.where, entry.payload):
            run.reject(entry.uri, "excluded", "does not pass --where-ingested")
            continue
        id, before = entry.id, known.get(entry.id)
        if id in seen:
            _conflict(run, entry, "another entry of this source")
        elif before and before.root == root and id not in pending and before.is_current(entry):
            seen.add(id)
            counts["unchanged"] += 1
        elif before and before.root != root and _elsewhere(before.uri, entry.uri):
            _conflict(run, entry, before.uri)
        else:
            seen.add(id)
            yield entry


def _conflict(run: Run, item: Item, owner: str) -> None:
    run.conflicts += 1
    run.reject(item.uri, "quarantined", f"its id {item.id!r} belongs to {owner}: give an --id-prefix")


def _elsewhere(before: str, now: str) -> bool:
    """Say whether a file of another source is still there, and is not this one under another spelling of its path."""
    return before != now and is_there(before) and os.path.realpath(before) != os.path.realpath(now)


def _batches(items: Iterator[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        if batch and (len(batch) == BATCH_PHOTOGRAPHS or size + item.size_bytes > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += max(0, item.size_bytes)
    if batch:
        yield batch


def _finish(run: Run, prune: bool) -> Summary:
    """Count, and with ``prune`` delete, what is known of this source but no longer in it."""
    gone = [
        entry
        for entry in run.known.values()
        if entry.item_id not in run.seen
        and (entry.root == run.root or (entry.root in run.moved_from and not is_there(entry.uri)))
    ]
    pruned = [entry for entry in gone if not _unread(run, entry)] if prune else []
    points = [point_id(entry.item_id) for entry in pruned if entry.state != "quarantined"]
    if pruned:
        run.store.delete(points)
        run.ledger.remove(entry.item_id for entry in pruned)
        run.store.flush()
    # What was left behind by a folder that has moved belongs to the folder's new place.
    left = set(gone) - set(pruned)
    run.ledger.write(entry._replace(root=run.root) for entry in left if entry.root != run.root)
    run.counts["pruned"] += len(points)
    run.counts["missing"] += sum(1 for entry in left if entry.state != "quarantined")
    summary = run.summary()
    summary.check()
    if not run.ledger.optimized:  # what a run before wrote counts too, if it was stopped
        run.store.optimize()
        run.ledger.optimized = True
    return summary


def _unread(run: Run, entry: Entry) -> bool:
    """Say whether an item may be there after all: in a folder, an archive, a row that could not be read this time."""
    places = {entry.uri, *(entry.uri[:at] for at, sign in enumerate(entry.uri) if sign in "/!")}
    return not places.isdisjoint(run.unread) or (run.nameless and is_there(entry.uri))
