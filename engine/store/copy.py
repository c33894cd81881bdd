"""A whole collection from one store to another: passport, fields, payloads and vectors, with nothing embedded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.errors import PassportError, StoreError
from engine.records import Point, Record
from engine.store.protocol import CollectionSpec, Store

PAGE = 256
SAMPLED = 200
"""Points whose vectors are compared when all is copied."""
TOLERANCE = 1e-5
"""A server brings vectors to unit length once more: that moves a component by less."""


@dataclass(frozen=True)
class Copied:
    """What a copy did: points ``written``, and those that the target had already, just so (``present``)."""

    written: int
    present: int


def copy_collection(
    source: Store, target: Store, tell: Callable[[int, int], None] = lambda done, total: None
) -> Copied:
    """Bring ``target`` up to ``source``, and verify it; ``tell`` hears how many of how many are done.

    Run again after a crash, it writes only what is missing or differs.

    Raises:
        PassportError: the target holds another checkpoint's vectors.
        StoreError: the target has points that the source has not, or does not give back what was written.
    """
    spec, total = source.spec(), source.count()
    _prepare(target, spec)
    written = present = 0
    cursor: str | None = None
    while True:
        page, cursor = source.scroll(None, PAGE, cursor, vectors=True)
        if spec.patches:
            page = source.retrieve([record.id for record in page], vectors=True, patches=True)
        there = {record.id: record for record in target.retrieve([record.id for record in page], vectors=True)}
        changed = [record for record in page if not _equal(record, there.get(record.id))]
        if changed:
            target.upsert([_point(record) for record in changed])
        written, present = written + len(changed), present + len(page) - len(changed)
        tell(written + present, total)
        if cursor is None:
            break
    target.flush()
    target.optimize()
    _verify(source, target)
    return Copied(written, present)


def _prepare(target: Store, spec: CollectionSpec) -> None:
    if not target.exists():
        target.create(spec)
        return
    theirs = target.spec()
    if theirs.passport.get("fingerprint") != spec.passport.get("fingerprint"):
        raise PassportError(
            f"the collection at {target.location} was made by checkpoint {theirs.passport.get('checkpoint')!r} "
            f"({str(theirs.passport.get('fingerprint'))[:12]}), this one by {spec.passport.get('checkpoint')!r} "
            f"({str(spec.passport.get('fingerprint'))[:12]}): give another name with --as"
        )
    target.add_fields(spec.fields)


def _verify(source: Store, target: Store) -> None:
    ours, theirs = source.count(), target.count()
    if ours != theirs:
        raise StoreError(
            f"{target.location} has {theirs} points, {source.location} {ours}: "
            "the target held others before; delete those, or give another name with --as"
        )
    sample = [record.id for record in source.scroll(None, SAMPLED)[0]]
    expected, found = source.retrieve(sample, vectors=True), target.retrieve(sample, vectors=True)
    if len(expected) != len(found) or not all(map(_equal, expected, found)):
        raise StoreError(f"{target.location} does not give back what was written: run the same command again")


def _equal(one: Record, other: Record | None) -> bool:
    if other is None or one.vector is None or other.vector is None or one.payload != other.payload:
        return False
    return bool(np.allclose(one.vector, other.vector, atol=TOLERANCE))


def _point(record: Record) -> Point:
    assert record.vector is not None
    return Point(record.id, record.vector, record.payload or {}, record.patches)
