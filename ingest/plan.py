"""What the ledger and the store say before anything is read: what stands, and what must be looked at again."""

from __future__ import annotations

import os

from engine.store.protocol import Store, all_records
from ingest.commit import Run, is_there
from ingest.ledger import Entry, Ledger
from ingest.sources.tar import is_archive


def known_entries(ledger: Ledger, store: Store, root: str) -> dict[str, Entry]:
    """Return the ledger's entries by item id, put right where the store says otherwise.

    Where no other ledger was ever at work on the collection, numbers that agree are enough. Else an entry whose point
    is gone, or was made of another file, is dropped, so that its file is embedded again. A point without an entry gets
    one: of ``root`` where its file is gone from there, so that it is reported as missing, and pruned; else of a root
    that nobody knows, so that another photograph of the same id does not take its place.
    """
    points = store.count()  # first of all: this keeps other processes out, where no server lets them in
    known = {entry.item_id: entry for entry in ledger.entries()}
    ledgers = store.spec().ledgers
    if ledgers == [ledger.id] and points == sum(1 for entry in known.values() if entry.state != "quarantined"):
        return known
    if ledger.id not in ledgers:
        store.add_ledger(ledger.id)
    place = _place(root)
    true: set[str] = set()
    strangers: dict[str, Entry] = {}
    for record in all_records(store, payload=["item_id", "uri", "sha256"]):
        payload = record.payload or {}
        item_id, uri = str(payload.get("item_id")), str(payload.get("uri"))
        entry = known.get(item_id)
        if entry and entry.state != "quarantined" and entry.sha256 == payload.get("sha256"):
            true.add(item_id)
            if entry.uri != uri:  # another knows the same file by another path
                known[item_id] = entry._replace(uri=uri)
        else:
            gone = uri.startswith(place) and not is_there(uri)
            strangers[item_id] = Entry(item_id, uri, root if gone else "", -1, -1, b"", "indexed")
    if untrue := [one.item_id for one in known.values() if one.state != "quarantined" and one.item_id not in true]:
        ledger.remove(untrue)
    for item_id in untrue:
        del known[item_id]
    return known | strangers


def _place(root: str) -> str:
    """Return what the uris begin with of all that a source may have had: of a table, whatever lies beside it."""
    if os.path.isdir(root):  # noqa: PTH112
        return root + os.sep
    return root + "!" if is_archive(root) else os.path.dirname(root) + os.sep  # noqa: PTH120


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
