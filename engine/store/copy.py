"""A whole collection from one store to another: passport, fields, payloads and vectors, with nothing embedded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.errors import PassportError, StoreError
from engine.records import Point, Record, Vector
from engine.store.protocol import CollectionSpec, Store

PAGE = 256
SAMPLED = 200
"""Points whose vectors are compared when all is copied."""
PATCH_TOLERANCE = 2e-3
"""Stores keep patches as float16."""
TOLERANCE = 1e-5
"""A server brings vectors to unit length once more: that moves a component by less."""


@dataclass(frozen=True)
class Copied:
    """What a copy did: points ``written``, those ``present`` before, just so, and those ``compared`` at the end."""

    written: int
    present: int
    compared: int


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
    patches = bool(spec.patches)
    _prepare(source, target, spec)
    written = present = 0
    cursor: str | None = None
    while True:
        page, cursor = source.scroll(None, PAGE, cursor, vectors=not patches)
        ids = [record.id for record in page]
        if patches:
            page = source.retrieve(ids, vectors=True, patches=True)
        there = {record.id: record for record in target.retrieve(ids, vectors=True, patches=patches)}
        changed = [record for record in page if not _equal(record, there.get(record.id))]
        if changed:
            target.upsert([_point(record) for record in changed])
        written, present = written + len(changed), present + len(page) - len(changed)
        tell(written + present, total)
        if cursor is None:
            break
    target.flush()
    target.optimize()
    return Copied(written, present, _verify(source, target))


def _prepare(source: Store, target: Store, spec: CollectionSpec) -> None:
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
    cursor: str | None = None
    while True:
        page, cursor = target.scroll(None, PAGE, cursor)
        known = {record.id for record in source.retrieve([record.id for record in page])}
        if other := next((record for record in page if record.id not in known), None):
            name = (other.payload or {}).get("item_id", other.id)
            raise StoreError(
                f"{target.location} has items that {source.location} has not, {name!r} for one; nothing was written: "
                "delete them there, or give another name with --as"
            )
        if cursor is None:
            break
    target.add_fields(spec.fields)


def _verify(source: Store, target: Store) -> int:
    """Compare the numbers of points, and a sample of these whole; return how large it was."""
    ours, theirs = source.count(), target.count()
    if ours != theirs:
        reason = (
            "the target has others too; delete those, or give another name with --as"
            if theirs > ours
            else "the source has grown meanwhile; run the same command again"
        )
        raise StoreError(f"{target.location} has {theirs} points, {source.location} {ours}: {reason}")
    patches = bool(source.spec().patches)
    sample = [record.id for record in source.scroll(None, SAMPLED)[0]]
    expected, found = (store.retrieve(sample, vectors=True, patches=patches) for store in (source, target))
    if len(expected) != len(found) or not all(map(_equal, expected, found)):
        raise StoreError(f"{target.location} does not give back what was written: run the same command again")
    return len(sample)


def _equal(one: Record, other: Record | None) -> bool:
    if other is None or one.vector is None or other.vector is None or one.payload != other.payload:
        return False
    if one.patches is not None and (other.patches is None or not _close(one.patches, other.patches, PATCH_TOLERANCE)):
        return False
    return _close(one.vector, other.vector, TOLERANCE)


def _close(one: Vector, other: Vector, tolerance: float) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, atol=tolerance))


def _point(record: Record) -> Point:
    assert record.vector is not None
    return Point(record.id, record.vector, record.payload or {}, record.patches)
