"""The ledger: what it remembers, what it notices, and how it fails."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from engine.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked
from engine.records import Item
from ingest.ledger import Entry, Ledger, copy_ledger, facts_of
from ingest.perceptual import Look

ITEM = Item("a", "/photos/a.jpg", {"colour": "red", "price": 5}, ("a red dress",), 100, 1_000)
LOOK = Look(7, bytes(192))


def entry_of(item: Item, **changes: Any) -> Entry:
    entry = Entry(item.id, item.uri, "/photos", item.size_bytes, item.mtime_ns, facts_of(item), "indexed", "", "00")
    return entry._replace(**changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "ledger.sqlite"


def test_entries_come_back_in_the_order_in_which_they_were_written(path: Path) -> None:
    ledger = Ledger(path, "one")
    entries = [entry_of(ITEM, item_id=name, look=LOOK) for name in ("c", "a", "b")]
    ledger.write(entries)
    ledger.close()
    again = Ledger(path, "one")
    assert [entry.item_id for entry in again.entries()] == ["c", "a", "b"]
    assert again.entries() == [entry._replace(look=None) for entry in entries]
    assert list(again.looks()) == [(name, LOOK) for name in ("c", "a", "b")]
    again.remove(["a", "not there"])
    again.write([entries[0]])
    assert [entry.item_id for entry in again.entries()] == ["b", "c"]
    again.close()


def test_the_ledger_of_another_collection_is_emptied(path: Path) -> None:
    for collection, left in (("one", 0), ("one", 1), ("two", 0)):
        ledger = Ledger(path, collection)
        assert len(ledger.entries()) == left
        ledger.write([entry_of(ITEM)])
        ledger.close()


def test_a_ledger_of_another_version_is_begun_anew(path: Path) -> None:
    Ledger(path, "one").close()
    old = sqlite3.connect(path)
    old.executescript("DROP TABLE files; CREATE TABLE files (item_id TEXT); PRAGMA user_version = 1")
    old.close()
    ledger = Ledger(path, "one")
    ledger.write([entry_of(ITEM)])
    assert len(ledger.entries()) == 1
    ledger.close()


@pytest.mark.parametrize(
    "other",
    [
        Item("a", "/photos/b.jpg", ITEM.payload, ITEM.captions, 100, 1_000),
        Item("a", ITEM.uri, {"colour": "blue", "price": 5}, ITEM.captions, 100, 1_000),
        Item("a", ITEM.uri, {"colour": "red", "price": True}, ITEM.captions, 100, 1_000),
        Item("a", ITEM.uri, {"colour": "red", "price": 5.0}, ITEM.captions, 100, 1_000),
        Item("a", ITEM.uri, ITEM.payload, ("a", "red dress"), 100, 1_000),
        Item("a", ITEM.uri, ITEM.payload, ITEM.captions, 101, 1_000),
        Item("a", ITEM.uri, ITEM.payload, ITEM.captions, 100, 999),
    ],
)
def test_every_change_of_a_file_or_of_its_metadata_is_noticed(other: Item) -> None:
    assert entry_of(ITEM).is_current(ITEM)
    assert not entry_of(ITEM).is_current(other)


def test_the_digest_of_the_same_metadata_is_the_same_in_every_process() -> None:
    text = "".join(["gr", "een"])  # a string that is not interned
    assert facts_of(Item("a", "", {"colour": text})) == facts_of(Item("a", "", {"colour": "green"}))
    assert facts_of(ITEM).hex() == "f77de54db786cef4704a3db3"


def test_a_quarantined_entry_is_never_current() -> None:
    assert not entry_of(ITEM, state="quarantined").is_current(ITEM)


def test_an_entry_without_a_look_gives_none(path: Path) -> None:
    ledger = Ledger(path, "one")
    ledger.write([entry_of(ITEM, item_id="broken", state="quarantined"), entry_of(ITEM, look=LOOK)])
    assert list(ledger.looks()) == [("a", LOOK)]
    ledger.close()


def test_the_store_counts_as_optimized_until_an_entry_is_written_or_forgotten(path: Path) -> None:
    ledger = Ledger(path, "one")
    assert ledger.optimized, "nothing is in it"
    for change in (lambda: ledger.write([entry_of(ITEM)]), lambda: ledger.remove(["a"])):
        change()
        assert not ledger.optimized
        ledger.optimized = True
        ledger.write([])
        assert ledger.optimized, "an empty batch changes nothing"
    ledger.close()


def test_a_ledger_keeps_its_id_and_no_other_has_it(path: Path) -> None:
    ledgers = [Ledger(place, "one") for place in (path, path, path.parent / "other")]
    assert ledgers[0].id == ledgers[1].id != ledgers[2].id
    for ledger in ledgers:
        ledger.close()


def test_a_batch_is_written_whole_or_not_at_all(path: Path) -> None:
    ledger = Ledger(path, "one")
    with pytest.raises(StoreError):
        ledger.write([entry_of(ITEM), entry_of(ITEM, item_id="b", uri=None)])
    assert ledger.entries() == []
    ledger.close()


def test_a_damaged_ledger_says_so_and_what_to_do(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 500)
    with pytest.raises(StoreCorrupt, match=r"ledger\.sqlite is damaged .* delete it"):
        Ledger(path, "one")


def test_a_ledger_without_room_or_place_says_so_and_is_not_taken_for_damaged(path: Path) -> None:
    ledger = Ledger(path, "one")
    ledger._db.execute(f"PRAGMA max_page_count = {ledger._db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(StoreFull, match="no room for the ledger"):
        ledger.write([entry_of(ITEM, item_id=f"{n}") for n in range(1000)])
    ledger.close()
    with pytest.raises(StoreError, match="cannot be written") as error:
        Ledger(path.parent, "one")
    assert not isinstance(error.value, StoreCorrupt)


def test_a_copied_ledger_is_that_of_the_copy_and_without_one_to_copy_there_is_none(path: Path) -> None:
    copy = path.parent / "other" / "ledger.sqlite"
    for entries in ([entry_of(ITEM), entry_of(ITEM, item_id="b")], [entry_of(ITEM)]):  # the second over the first
        ledger = Ledger(path, "one")
        ledger.remove(["a", "b"])
        ledger.write(entries)
        ledger.close()
        copy_ledger(path, copy, "two")
        copied = Ledger(copy, "two")
        assert copied.entries() == entries
        copied.close()
    copy_ledger(path.parent / "nothing", copy, "two")
    assert not copy.exists()
    copy_ledger(path.parent / "nothing", copy, "two")
    path.write_bytes(b"no database" * 500)
    with pytest.raises(StoreError, match="the collection is copied, but not its ledger"):
        copy_ledger(path, copy, "two")


def test_a_ledger_that_another_process_is_writing_says_so(path: Path) -> None:
    Ledger(path, "one").close()
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    ledger = Ledger(path, "one")
    ledger._db.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(StoreLocked, match="in use"):
        ledger.write([entry_of(ITEM)])
    ledger.close()
    other.close()
