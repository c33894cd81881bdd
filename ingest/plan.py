"""What the ledger and the store say before anything is read: what stands, and what must be looked at again."""

from __future__ import annotations

import os

from engine.records import point_id
from engine.store.protocol import Store
from ingest.commit import Run, is_there
from ingest.ledger import Entry, Ledger

PAGE = 1000
"""Points that are asked for at once."""


def known_entries(ledger: Ledger, store: Store, root: str) -> dict[str, Entry]:
    """Return the ledger's entries by item id, put right where the store says otherwise.

    An entry whose point is gone is dropped, so that its file is embedded again. A point without an entry whose file
    is gone from ``root`` gets one, so that it is reported as missing, and pruned. Every id is compared: others write
    to a collection too, with a ledger of their own or none, and then the numbers may agree by chance.
    """
    present = _ids(store)  # first of all: this keeps other processes out, where no server lets them in
    known = {entry.item_id: entry for entry in ledger.entries()}
    points = {point_id(entry.item_id): entry for entry in known.values() if entry.state != "quarantined"}
    strangers = sorted(present - points.keys())
    folder = root if os.path.isdir(root) else os.path.dirname(root)  # noqa: PTH112, PTH120
    for start in range(0, len(strangers), PAGE):
        for record in store.retrieve(strangers[start : start + PAGE]):
            payload = record.payload or {}
            item_id, uri = str(payload.get("item_id")), str(payload.get("uri"))
            if uri.startswith(folder + os.sep) and not is_there(uri):
                known[item_id] = Entry(item_id, uri, root, -1, -1, b"", "indexed")
    lost = [entry.item_id for point, entry in points.items() if point not in present]
    if lost:
        ledger.remove(lost)
    for item_id in lost:
        del known[item_id]
    return known


def _ids(store: Store) -> set[str]:
    """Return the id of every point."""
    ids: set[str] = set()
    cursor: str | None = None
    while True:
        records, cursor = store.scroll(limit=PAGE, cursor=cursor, payload=False)
        ids.update(record.id for record in records)
        if cursor is None:
            return ids


def loosened(run: Run, pending: set[str]) -> set[str]:
    """Return items that are in place themselves, but duplicate another that has gone, or is about to change."""
    loose: set[str] = set()
    owned: dict[str, Entry] = {}
    shadows = []
    for entry in run.known.values():
        if entry.state == "quarantined" or not _stands(run, entry, pending):
            continue
        if entry.twin:
            shadows.append(entry)
        if entry.state == "indexed":
            other = owned.setdefault(entry.sha256, entry)
            if other is not entry and entry.root == run.root and (other.root == run.root or is_there(other.uri)):
                loose.add(entry.item_id)
    shadows = [entry for entry in shadows if entry.root == run.root]
    while True:
        more = {e.item_id for e in shadows if e.item_id not in loose and not _twin_stands(run, e, pending | loose)}
        if not more:
            return loose
        loose |= more


def settle(run: Run) -> None:
    """Load the looks, and say who owns which bytes, and who can lend their vector, before anything is committed."""
    for item_id, look in run.ledger.looks():
        if item_id in run.known:
            run.known[item_id] = run.known[item_id]._replace(look=look)
    for item_id, entry in run.known.items():
        if entry.state == "quarantined" or entry.look is None:
            continue
        if not _stands(run, entry, run.pending):
            run.lenders.setdefault(entry.sha256, item_id)
            continue
        run.lenders[entry.sha256] = item_id
        if entry.state == "indexed":
            run.looks.add(item_id, entry.look)
            if entry.root == run.root or entry.sha256 not in run.owners:
                run.owners[entry.sha256] = item_id


def _stands(run: Run, entry: Entry, pending: set[str]) -> bool:
    """Say whether an entry will be the same after this run; those of other sources are."""
    return entry.root != run.root or (entry.item_id in run.seen and entry.item_id not in pending)


def _twin_stands(run: Run, entry: Entry, pending: set[str]) -> bool:
    twin = run.known.get(entry.twin)
    return (
        twin is not None
        and twin.state == "indexed"
        and twin.sha256 == entry.twin_sha256
        and _stands(run, twin, pending)
    )
