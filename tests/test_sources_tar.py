from __future__ import annotations

import gzip
import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from engine.errors import ImageError, SourceError
from engine.records import Item, Rejected
from ingest.photograph import read_uri
from ingest.sources.tar import TarSource, is_archive


def picture(grey: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (40, 30), grey).save(stream, "PNG")
    return stream.getvalue() + bytes(2000)  # so that a cut falls into a member


def pack(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def split(root: Path) -> tuple[list[Item], list[Rejected]]:
    entries = list(TarSource(root).items())
    return [e for e in entries if isinstance(e, Item)], [e for e in entries if isinstance(e, Rejected)]


WEBDATASET = {
    "0001.jpg": picture(1),
    "0001.txt": b"Red dress.\nLong sleeves.\n",
    "0001.json": b'{"price": 5, "width": 40, "meta": {"colour": "red"}}',
    "0001.cls": b"12",
    "0000.png": picture(2),
    "0000.cls": b"3",
    "0000.json": b'{"price": 7.5, "caption": "Blue dress."}',
    "sub/0002.v1.webp": picture(3),
}


def test_a_tar_in_webdatasets_layout_gives_items_with_captions_and_metadata(tmp_path: Path) -> None:
    path = pack(tmp_path / "shard-000.tar", WEBDATASET)
    source = TarSource(path)
    items, rejected = split(path)
    assert rejected == []
    assert [item.id for item in items] == ["shard-000/0001", "shard-000/0000", "shard-000/sub/0002"]
    assert [item.captions for item in items] == [("Red dress.", "Long sleeves."), ("Blue dress.",), ()]
    assert items[0].payload == {"price": 5.0, "width_": 40, "meta_colour": "red", "cls": 12}
    assert items[1].payload == {"price": 7.5, "cls": 3}
    assert source.fields() == {"cls": "integer", "meta_colour": "keyword", "price": "float", "width_": "integer"}
    assert items[0].uri == f"{path}!0001.jpg"
    assert (items[0].size_bytes, items[0].mtime_ns) == (len(WEBDATASET["0001.jpg"]), path.stat().st_mtime_ns)
    assert source.description == "1 tar archive: 3 photographs"
    assert [source.read(item) for item in items] == [
        WEBDATASET[n] for n in ("0001.jpg", "0000.png", "sub/0002.v1.webp")
    ]


def test_a_folder_of_shards_is_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for shard in (2, 0, 1):
        pack(tmp_path / f"s-{shard}.tar", {f"{n}.jpg": picture(10 * shard + n) for n in (3, 1)})
    (tmp_path / "readme.md").write_text("x")
    items, rejected = split(tmp_path)
    assert [item.id for item in items] == [f"s-{shard}/{n}" for shard in range(3) for n in (3, 1)]
    assert [entry.reason for entry in rejected] == ["not a tar archive, in a folder of them"]
    assert TarSource(tmp_path).description == "3 tar archives: 6 photographs"


def test_many_threads_read_the_right_bytes(tmp_path: Path) -> None:
    members = {f"{n:03}.png": picture(n) for n in range(120)}
    source = TarSource(pack(tmp_path / "s.tar", members))
    items = [entry for entry in source.items() if isinstance(entry, Item)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.read, items * 5)) == list(members.values()) * 5


@pytest.mark.parametrize(
    ("name", "mode"), [("s.tar.gz", "w:gz"), ("s.tgz", "w:gz"), ("s.tar.xz", "w:xz"), ("s.tar.bz2", "w:bz2")]
)
def test_a_compressed_tar_gives_the_same_items(tmp_path: Path, name: str, mode: str) -> None:
    plain = TarSource(pack(tmp_path / "plain/s.tar", WEBDATASET))
    source = TarSource(pack(tmp_path / name, WEBDATASET, mode))
    for one, other in zip(plain.items(), source.items(), strict=True):
        assert isinstance(one, Item)
        assert isinstance(other, Item)
        assert (one.id, one.payload, one.captions, one.size_bytes) == (
            *(other.id, other.payload, other.captions, other.size_bytes),
        )
        assert plain.read(one) == source.read(other)
    assert source.fields() == plain.fields()


@pytest.mark.parametrize("share", [0.35, 0.6, 0.8])
def test_what_stands_before_the_damage_of_a_truncated_tar_is_given(tmp_path: Path, share: float) -> None:
    path = pack(tmp_path / "s.tar", {f"{n}.png": picture(n) for n in range(20)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    source = TarSource(path)
    *items, damage = source.items()
    assert [item.id for item in items if isinstance(item, Item)] == [f"s/{n}" for n in range(len(items))]
    assert 5 < len(items) < 20
    assert isinstance(damage, Rejected)
    assert (damage.uri.removesuffix(f"!{len(items)}.png"), damage.state) == (str(path), "quarantined")
    assert "truncated" in damage.reason
    assert [source.read(item) for item in items if isinstance(item, Item)] == [picture(n) for n in range(len(items))]


def test_a_header_whose_numbers_are_none_costs_what_follows_only(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, headers in (("0.png", {}), ("1.png", {"GNU.sparse.map": "abc"})):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(picture(1)), headers
            archive.addfile(info, io.BytesIO(picture(1)))
    items, rejected = split(path)
    assert [item.id for item in items] == ["s/0"]
    assert "damaged after 1 files" in rejected[0].reason


def test_damage_amid_a_tar_and_a_missing_end_are_not_silent(tmp_path: Path) -> None:
    path = pack(tmp_path / "s.tar", {f"{n}.png": picture(n) for n in range(4)})
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        offsets = [info.offset for info in archive]
        end = archive.offset
    path.write_bytes(data[:end])
    assert split(path)[1][0].reason == "the archive has no end mark: it may be truncated"
    data[offsets[2] : offsets[2] + 512] = b"\x55" * 512
    path.write_bytes(data)
    items, rejected = split(path)
    assert [item.id for item in items] == ["s/0", "s/1"]
    assert rejected[0].reason == "damaged after 2 files: what follows is lost"


def test_a_truncated_compressed_tar_gives_what_can_be_had(tmp_path: Path) -> None:
    noise = {f"{n}.png": Random(n).randbytes(3000) for n in range(200)}
    plain = pack(tmp_path / "s.tar", noise).read_bytes()
    packed = gzip.compress(plain, 1)
    (tmp_path / "s.tar").unlink()
    (tmp_path / "s.tar.gz").write_bytes(packed[: len(packed) // 2])
    items, rejected = split(tmp_path / "s.tar.gz")
    assert 50 < len(items) < 150
    assert rejected[-1].reason.startswith("damaged or truncated compression")


@pytest.mark.parametrize("packer", ["gz", "xz", "bz2"])
def test_a_damaged_archive_does_not_cost_its_neighbours(tmp_path: Path, packer: str) -> None:
    pack(tmp_path / "a.tar", {"a.jpg": picture(1)})
    damaged = bytearray(pack(tmp_path / f"b.tar.{packer}", {"b.jpg": picture(2)}, f"w:{packer}").read_bytes())
    damaged[60:80] = bytes(20)
    (tmp_path / f"b.tar.{packer}").write_bytes(damaged)
    items, rejected = split(tmp_path)
    assert [item.id for item in items][:1] == ["a/a"]
    assert any("damaged" in entry.reason for entry in rejected)


def test_every_other_member_is_accounted_for(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as archive:

        def add(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, "a.jpg"
            archive.addfile(info, io.BytesIO(data))

        add("./", kind=tarfile.DIRTYPE)
        add("./a.jpg", b"old")
        add("./a.jpg", picture(1))
        add("._a.jpg", b"mac")
        add("link.jpg", kind=tarfile.SYMTYPE)
        add("notes.md", b"notes")
        add("a.json", b"{broken")
        add("b.1.jpg", picture(2))
        add("b.2.jpg", picture(3))
    items, rejected = split(path)
    assert [item.id for item in items] == ["s/a", "s/b.1.jpg", "s/b.2.jpg"]
    assert items[0].size_bytes == len(picture(1))
    assert sorted((entry.uri.rpartition("!")[2], entry.state, entry.reason.split(":")[0]) for entry in rejected) == [
        ("._a.jpg", "excluded", "hidden"),
        ("a.jpg", "excluded", "a later member of the same name replaces it"),
        ("a.json", "quarantined", "metadata that is no valid JSON"),
        ("link.jpg", "excluded", "a link or another special member, no regular file"),
        ("notes.md", "excluded", "not a photograph (.md)"),
    ]


def test_an_archive_under_any_name_is_read_if_it_is_said_to_be_one(tmp_path: Path) -> None:
    path = pack(tmp_path / "s.tar", {"a.jpg": picture(1)}).rename(tmp_path / "shard.tar.000")
    assert [item.id for item in split(path)[0]] == ["shard.tar.000/a"]
    (tmp_path / "foo.bin").write_bytes(bytes(2000) + b"x")
    with pytest.raises(SourceError, match="holds no photographs"):
        TarSource(tmp_path / "foo.bin")


def test_shards_of_the_same_stem_and_undecodable_members_keep_ids_unique_and_printable(tmp_path: Path) -> None:
    pack(tmp_path / "s.tar", {"a.jpg": picture(1)})
    pack(tmp_path / "s.tar.gz", {"a.jpg": picture(2)}, "w:gz")
    with tarfile.open(tmp_path / "t.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("b\udcff.jpg", "日本.jpg"):
            archive.addfile(tarfile.TarInfo(name))
    items, rejected = split(tmp_path)
    assert [item.id for item in items] == ["s.tar/a", "s.tar.gz/a", "t/日本"]
    assert rejected[0].reason == "its name is no valid UTF-8: rename it"
    rejected[0].uri.encode("utf-8")


def test_a_tar_without_photographs_or_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    pack(tmp_path / "text.tar", {"a.txt": b"x"})
    with pytest.raises(SourceError, match=r"text\.tar holds no photographs"):
        TarSource(tmp_path / "text.tar")
    (tmp_path / "no.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(SourceError, match=r"no\.tar holds no photographs \(truncated or damaged after 0 files"):
        TarSource(tmp_path / "no.tar")
    (tmp_path / "no.tar.gz").write_bytes(b"no gzip at all" * 100)
    with pytest.raises(SourceError, match=r"no\.tar\.gz holds no photographs"):
        TarSource(tmp_path / "no.tar.gz")


def test_an_archive_that_shrinks_or_goes_while_it_is_read_is_an_image_error(tmp_path: Path) -> None:
    path = pack(tmp_path / "s.tar", {"a.jpg": picture(1)})
    source = TarSource(path)
    (item,) = source.items()
    assert isinstance(item, Item)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ImageError, match="became shorter"):
        source.read(item)
    path.unlink()
    with pytest.raises(ImageError, match="unreadable archive: no such file"):
        source.read(item)


def test_archives_are_known_by_their_names() -> None:
    assert all(map(is_archive, ("a.tar", "A.TAR", "a.tar.gz", "a.tgz", "a.tar.xz", "a.b.tar.bz2")))
    assert not any(map(is_archive, ("tar", "a.gz", "a.tar.jpg", "guitar", "a.xz")))


def test_a_member_is_read_by_its_uri_whatever_exclamation_marks_are_in_it(tmp_path: Path) -> None:
    pack(tmp_path / "sale!" / "new!.tar", {"wow!.png": picture(7)})
    ((item,), _) = split(tmp_path / "sale!")
    assert read_uri(item.uri) == picture(7)
