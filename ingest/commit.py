"""The committing half of an ingest: batches go to the store first, then to the ledger, in the source's order.

Who duplicates whom is decided here, item by item, so that it depends on the source's order alone, however often a run
was killed and went on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.errors import StoreError
from engine.records import FieldKind, FilterJSON, Payload, Point, Record, point_id
from engine.store.protocol import Store
from engine.store.schema import NUMBERS, WORDS, check_payload
from ingest.ledger import Entry, Ledger, State, facts_of
from ingest.perceptual import LookIndex
from ingest.sources.kinds import in_words
from ingest.sources.source import Source, archive_and_member
from ingest.summary import Problem, Summary

if TYPE_CHECKING:
    from ingest.embed import Embedded, Fetched


@dataclass
class Run:
    """The state of one ingest, kept by the main thread.

    ``seen``: ids of the source's items. ``pending``: those among them that must be read. ``owners``: by SHA-256, the
    item that others with the same bytes are duplicates of; those that are yet to be committed are not among them.
    ``unread``: uris of what could not be read this time. ``nameless``: something that could not could be any item.
    ``in_words``: fields of words in the collection, for which this source has numbers.
    ``lenders``: by SHA-256, an item whose vector the store has, or will have by the time that it is asked for.
    """

    source: Source
    root: str
    store: Store
    ledger: Ledger
    known: dict[str, Entry]
    where: FilterJSON | None
    on_problem: Callable[[Problem], None]
    fields: dict[str, FieldKind]
    embed_now: Callable[[Fetched], Embedded]
    seen: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)
    owners: dict[str, str] = field(default_factory=dict)
    lenders: dict[str, str] = field(default_factory=dict)
    looks: LookIndex = field(default_factory=LookIndex)
    unread: set[str] = field(default_factory=set)
    nameless: bool = False
    conflicts: int = 0
    moved_from: set[str] = field(default_factory=set)
    in_words: set[str] = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Compare what the source says of each field with what the collection has."""
        kinds = self.source.fields()
        self.in_words = {name for name, kind in kinds.items() if kind in NUMBERS and self.fields.get(name) in WORDS}

    def summary(self) -> Summary:
        """Return the counts so far."""
        return Summary(**dict(self.counts), stopped=False)

    def reject(self, uri: str, state: str, reason: str) -> None:
        """Count and report an entry that is not indexed."""
        self.counts[state] += 1
        self.on_problem(Problem(uri, state, reason))


@dataclass(frozen=True)
class Batch:
    """Photographs on their way: ``borrowed`` names, by item id, whose vector in the store serves for which."""

    fetched: list[Fetched]
    borrowed: dict[str, str]
    embedded: Future[list[Embedded]]


@dataclass
class _Writes:
    """What a batch changes, gathered before anything is written."""

    points: list[Point] = field(default_factory=list)
    payloads: dict[str, Payload] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


def classify(run: Run, batch: Sequence[Fetched]) -> tuple[list[Fetched], dict[str, str]]:
    """Part a batch into what must be embedded, and what can borrow the vector that the same bytes have already."""
    fresh, borrowed = [], {}
    for fetched in batch:
        item_id, before = fetched.item.id, run.known.get(fetched.item.id)
        if before and before.sha256 != fetched.sha256 and run.lenders.get(before.sha256) == item_id:
            del run.lenders[before.sha256]  # its point is about to get another vector
        if fetched.error:
            continue
        own = before is not None and before.look is not None and before.sha256 == fetched.sha256
        lender = item_id if own else run.lenders.get(fetched.sha256)
        if lender is None:
            run.lenders[fetched.sha256] = item_id
            fresh.append(fetched)
        else:
            borrowed[item_id] = lender
    return fresh, borrowed


def commit(run: Run, batch: Batch) -> None:
    """Write a batch to the store, and when that has acknowledged it, to the ledger."""
    results = {embedded.item_id: embedded for embedded in batch.embedded.result()}
    # By bytes, as an item may lend the vector that it is just about to lose.
    made = {each.sha256: results[each.item.id] for each in batch.fetched if each.item.id in results}
    wanted = set(batch.borrowed.values())
    records = run.store.retrieve([point_id(lender) for lender in wanted], vectors=True, patches=True) if wanted else []
    stored = {record.id: record for record in records}
    writes = _Writes()
    for fetched in batch.fetched:
        lender = batch.borrowed.get(fetched.item.id)
        if fetched.error:
            _quarantine(run, fetched, fetched.error, writes)
        elif lender is None:
            _place(run, fetched, results[fetched.item.id], writes)
        else:
            record = stored.get(point_id(lender))
            seen = made.get(fetched.sha256) or _seen_before(run, fetched, lender, record)
            _place(run, fetched, seen or run.embed_now(fetched), writes, lender if seen else None)
    if writes.points:
        run.store.upsert(writes.points)
    if writes.payloads:
        run.store.set_payload(writes.payloads)
    if writes.deleted:
        run.store.delete(writes.deleted)
    run.ledger.write(writes.entries)


def _seen_before(run: Run, fetched: Fetched, lender: str, record: Record | None) -> Embedded | None:
    """Return what the store has on the same bytes; None if it lost the point, or a killed run left others there."""
    from ingest.embed import Embedded

    look = run.known[lender].look if lender in run.known else None
    if record is None or record.payload is None or look is None or record.payload.get("sha256") != fetched.sha256:
        return None
    width, height = record.payload.get("width"), record.payload.get("height")
    if not isinstance(width, int) or not isinstance(height, int):
        return None
    return Embedded(lender, record.vector, width, height, look, patches=record.patches)


def _place(run: Run, fetched: Fetched, seen: Embedded, writes: _Writes, lender: str | None = None) -> None:
    """Give an item its point: as the owner of its bytes, or as a duplicate of the item that is."""
    item = fetched.item
    if seen.error or seen.vector is None or seen.look is None:
        _quarantine(run, fetched, seen.error, writes)
        return
    owner = _owner(run, fetched)
    near = None if owner else run.looks.find(seen.look, item.id)
    near = near if near and _is_still_there(run, near) else None
    twin = owner or near or ""
    if twin and _leads_to(run, twin, item.id):
        owner, near, twin = None, None, ""
    payload = _payload(run, fetched, seen)
    if twin:
        payload["duplicate_of" if owner else "near_duplicate_of"] = twin
    id = point_id(item.id)
    try:
        check_payload(id, payload, run.fields)
    except StoreError as error:
        _quarantine(run, fetched, str(error), writes)
        return
    if not owner:
        run.owners[fetched.sha256] = item.id
        run.looks.add(item.id, seen.look)
    before = run.known.get(item.id)
    entry = _entry(run, fetched, "duplicate" if owner else "indexed")
    entry = entry._replace(twin=twin, twin_sha256=run.known[twin].sha256 if twin else "", look=seen.look)
    if entry == before and lender == item.id:
        run.counts["unchanged"] += 1
        return
    run.known[item.id] = entry
    writes.entries.append(entry)
    if lender == item.id:
        writes.payloads[id] = payload
        if before and before.root != run.root:
            run.moved_from.add(before.root)
    else:
        writes.points.append(Point(id, seen.vector, payload, seen.patches))
    if owner:
        run.counts["duplicate"] += 1
        return
    run.counts["indexed"] += 1
    run.counts["near_duplicates"] += bool(near)
    run.counts["metadata"] += lender == item.id
    run.counts["reused"] += lender not in (None, item.id)


def _quarantine(run: Run, fetched: Fetched, reason: str, writes: _Writes) -> None:
    """Name what is no photograph; one that was takes its point along, unless its bytes only could not be had now."""
    item, before = fetched.item, run.known.get(fetched.item.id)
    run.reject(item.uri, "quarantined", reason)
    if run.lenders.get(fetched.sha256) == item.id:
        del run.lenders[fetched.sha256]
    if before and before.state != "quarantined":
        if not fetched.sha256:
            return
        writes.deleted.append(point_id(item.id))
    run.known[item.id] = _entry(run, fetched, "quarantined", reason)
    writes.entries.append(run.known[item.id])


def _owner(run: Run, fetched: Fetched) -> str | None:
    """Return the other item that has the same bytes, was there first, and still is."""
    owner = run.owners.get(fetched.sha256)
    if owner is None or owner == fetched.item.id:
        return None
    return owner if _is_still_there(run, owner) else None


def _is_still_there(run: Run, item_id: str) -> bool:
    """Say whether an item of another source is still there; what has gone from this one is not known yet."""
    entry = run.known[item_id]
    return entry.root == run.root or is_there(entry.uri)


def is_there(uri: str) -> bool:
    """Say whether the file at a uri exists; of an archive's member only the archive is looked at."""
    return os.path.exists(uri) or archive_and_member(uri) is not None  # noqa: PTH110


def _leads_to(run: Run, item_id: str, goal: str) -> bool:
    """Say whether an item is, through others, a twin of ``goal``: two items must not both be the other's shadow."""
    passed: set[str] = set()
    while item_id != goal and item_id in run.known and item_id not in passed:
        passed.add(item_id)
        item_id = run.known[item_id].twin
    return item_id == goal


def _payload(run: Run, fetched: Fetched, seen: Embedded) -> Payload:
    item = fetched.item
    payload: Payload = {
        **item.payload,
        **{name: in_words(item.payload[name]) for name in run.in_words & item.payload.keys()},
        "item_id": item.id,
        "uri": item.uri,
        "source": run.source.kind,
        "sha256": fetched.sha256,
        "width": seen.width,
        "height": seen.height,
        "perceptual_hash": seen.look.hex if seen.look else "",
    }
    if item.captions and item.captions != (item.payload.get("title"),):
        payload["captions"] = list(item.captions)
    return payload


def _entry(run: Run, fetched: Fetched, state: State, reason: str = "") -> Entry:
    item = fetched.item
    return Entry(
        *(item.id, item.uri, run.root, item.size_bytes, item.mtime_ns, facts_of(item)),
        *(state, reason, fetched.sha256),
    )
