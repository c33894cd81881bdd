"""Photographs in tar archives, one or a folder of them, laid out as WebDataset does: key.jpg, key.txt, key.json ..."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import ImageError, SourceError
from engine.records import FieldKind, Item, Rejected, shown
from ingest.sources.files import counted, is_photograph, no_photograph, walk, why
from ingest.sources.folder import parse_captions, parse_metadata
from ingest.sources.kinds import Sidecars, captions_of

_OPENERS: dict[str, Callable[..., Any]] = {
    "gz": gzip.open,
    "tgz": gzip.open,
    "xz": lzma.open,
    "txz": lzma.open,
    "bz2": bz2.open,
    "tbz2": bz2.open,
}
_CHUNK = 1 << 20
_BLOCK = 512
_SIDECARS = ("txt", "json", "cls")


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    offset: int
    size: int


@dataclass(slots=True)
class _Shard:
    """One archive: where its bytes are, its photographs by key in the archive's order, and its other members."""

    path: Path
    plain: Path
    mtime_ns: int
    photographs: dict[str, list[_Member]] = field(default_factory=dict)
    sidecars: dict[str, dict[str, _Member]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)

    def uri(self, name: str) -> str:
        return f"{self.path}!{name}"

    def bytes_of(self, member: _Member) -> bytes:
        with self.plain.open("rb") as file:  # opened anew for each: a file position is not shared between threads
            file.seek(member.offset)
            return file.read(member.size)


class TarSource:
    """Photographs in tar archives, in the archives' order; shards sorted by name. An item's id is shard/key.

    Every member is found once, at the start, by its offset: `read` then goes straight to it. A compressed archive
    has no such offsets: it is unpacked once into a temporary file, which goes when the source goes.
    """

    kind = "tar"

    def __init__(self, root: Path, *, id_prefix: str = "") -> None:
        """Index every archive. Raises: SourceError."""
        self.root = root
        self._prefix = id_prefix
        self._others: list[Rejected] = []
        self._sidecars = Sidecars()
        paths = [root.absolute()] if root.is_file() else self._archives()
        stems = [archive_stem(path.name) for path in paths]
        self._shards = {
            path.name if stems.count(stem) > 1 else stem: self._index(path)
            for path, stem in zip(paths, stems, strict=True)
        }
        self._members: dict[str, tuple[_Shard, _Member]] = {}
        for shard in self._shards.values():
            for key, members in shard.photographs.items():
                self._members.update({shard.uri(member.name): (shard, member) for member in members})
                meta, _, _ = self._metadata(shard, key)
                self._sidecars.see(meta)
        if not self._members:
            reason = next(
                (each.reason for shard in self._shards.values() for each in shard.rejected), "none of .jpg ..."
            )
            raise SourceError(f"{root} holds no photographs ({reason}): name a tar with .jpg, .png, .webp ... in it")
        tars, photographs = counted(len(self._shards), "tar archive"), counted(len(self._members), "photograph")
        self.description = f"{tars}: {photographs}{self._sidecars.renamed()}"

    def fields(self) -> dict[str, FieldKind]:
        """Return name and kind of every field in the members' metadata."""
        return self._sidecars.kinds()

    def read(self, item: Item) -> bytes:
        """Return the bytes of an item's member. Raises: ImageError."""
        if item.uri not in self._members:
            raise ImageError("no such member in the archive")
        shard, member = self._members[item.uri]
        try:
            data = shard.bytes_of(member)
        except OSError as error:
            raise ImageError(f"unreadable archive: {why(error)}") from error
        if len(data) < member.size:
            raise ImageError("the archive became shorter while it was read")
        return data

    def items(self) -> Iterator[Item | Rejected]:
        """Yield each shard's photographs in their order, then what else it holds."""
        yield from self._others
        for name, shard in self._shards.items():
            for key, members in shard.photographs.items():
                meta, captions, flaws = self._metadata(shard, key)
                payload = self._sidecars.payload(meta)
                captions = captions or captions_of(meta, payload.get("title"))
                for member in members:
                    own = key if len(members) == 1 else member.name
                    uri = shard.uri(member.name)
                    yield Item(
                        f"{self._prefix}{name}/{own}", uri, dict(payload), captions, member.size, shard.mtime_ns
                    )
                yield from flaws
            yield from shard.rejected

    def _archives(self) -> list[Path]:
        """Return the archives in the folder, sorted; the rest is noted as excluded."""
        paths = []
        for listing in walk(self.root, deep=False):
            self._others += listing.rejected
            for name, entry in listing.files.items():
                if is_archive(name):
                    paths.append(Path(entry.path))
                else:
                    self._others.append(Rejected(entry.path, "excluded", "not a tar archive, in a folder of them"))
        return paths

    def _metadata(self, shard: _Shard, key: str) -> tuple[dict[str, object], tuple[str, ...], list[Rejected]]:
        """Return a key's metadata, its captions, and the sidecars that cannot be read."""
        raw: dict[str, object] = {}
        captions: tuple[str, ...] = ()
        flaws: list[Rejected] = []
        for suffix, member in shard.sidecars.get(key, {}).items():
            data = shard.bytes_of(member)
            found = parse_metadata(data) if suffix == "json" else parse_captions(data)
            if isinstance(found, str):
                flaws.append(Rejected(shard.uri(member.name), "quarantined", found))
            elif isinstance(found, dict):
                raw = {**raw, **found}
            elif suffix == "txt":
                captions = found
            elif found:
                raw["cls"] = found[0]
        return raw, captions, flaws

    def _index(self, path: Path) -> _Shard:
        """Find every member of one archive; whatever is damaged is noted, and what stands before it is kept."""
        try:
            mtime_ns = path.stat().st_mtime_ns
            plain, flaw = self._unpacked(path) if _packer(path) in _OPENERS else (path, None)
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {why(error)}; unpack it and name the folder") from error
        shard = _Shard(path, plain, mtime_ns)
        members, end = _members(shard)
        for member in members.values():
            key, suffix = _key(member.name)
            if is_photograph(member.name):
                shard.photographs.setdefault(key, []).append(member)
            else:
                shard.sidecars.setdefault(key, {})[suffix] = member
        for key in list(shard.sidecars):
            for suffix, member in list(shard.sidecars[key].items()):
                if key not in shard.photographs or suffix not in _SIDECARS:
                    del shard.sidecars[key][suffix]
                    shard.rejected.append(no_photograph(shard.uri(member.name)))
        if flaw or end:
            shard.rejected.append(Rejected(str(path), "quarantined", flaw or end))
        return shard

    def _unpacked(self, path: Path) -> tuple[Path, str | None]:
        """Decompress an archive into a temporary file; say so if its end cannot be had."""
        folder = tempfile.mkdtemp(prefix="fashion-search-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        plain = Path(folder, "archive.tar")
        opener = _OPENERS[_packer(path)]
        with plain.open("wb") as target, opener(path, "rb") as source:
            while True:
                try:
                    chunk = source.read1(_CHUNK)  # read() would lose what stands before the damage
                except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:  # bz2 has no error of its own
                    return plain, f"damaged or truncated compression: {error}"
                if not chunk:
                    return plain, None
                target.write(chunk)


def _members(shard: _Shard) -> tuple[dict[str, _Member], str]:
    """Return an archive's regular files by name, and what is wrong with its end, if anything."""
    members: dict[str, _Member] = {}
    size = shard.plain.stat().st_size
    try:
        with tarfile.open(shard.plain, "r:", encoding="utf-8", errors="surrogateescape") as archive:
            for info in archive:
                if info.offset_data + info.size > size and info.isreg():
                    return members, f"truncated within {shown(info.name)!r}: what follows is lost"
                _sort_in(info, members, shard)
            end = archive.offset
    except (tarfile.TarError, ValueError) as error:  # ValueError: numbers in a header that are none
        return members, f"truncated or damaged after {len(members)} files: {error}"
    with shard.plain.open("rb") as file:
        file.seek(end)
        block = file.read(_BLOCK)
    if not block:
        return members, "the archive has no end mark: it may be truncated"
    return members, f"damaged after {len(members)} files: what follows is lost" if block.strip(b"\0") else ""


def _sort_in(info: tarfile.TarInfo, members: dict[str, _Member], shard: _Shard) -> None:
    """Keep one member by its name, or note why it is no photograph."""
    name = info.name.removeprefix("./")
    uri = shard.uri(shown(name))
    if info.isdir():
        return
    if not info.isreg() or info.issparse():
        shard.rejected.append(Rejected(uri, "excluded", "a link or another special member, no regular file"))
    elif shown(name) != name:
        shard.rejected.append(Rejected(uri, "quarantined", "its name is no valid UTF-8: rename it"))
    elif ".." in name.split("/"):
        shard.rejected.append(Rejected(uri, "excluded", "its path leaves the archive"))
    elif any(part.startswith(".") for part in name.split("/")):
        shard.rejected.append(Rejected(uri, "excluded", "hidden"))
    else:
        if members.pop(name, None):
            shard.rejected.append(Rejected(uri, "excluded", "a later member of the same name replaces it"))
        members[name] = _Member(name, info.offset_data, info.size)


def _key(name: str) -> tuple[str, str]:
    """Split a member's name as WebDataset does: at the first dot after the last slash."""
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return folder + slash + stem, suffix.lower()


def _packer(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def is_archive(name: str) -> bool:
    """Say whether a file's name is that of a tar archive, compressed or not."""
    return archive_stem(name) != name


def archive_stem(name: str) -> str:
    """Return an archive's name without .tar, .tar.gz ..."""
    small = name.lower()
    suffixes = [".tar", *(f".tar.{packer}" for packer in _OPENERS), ".tgz", ".txz", ".tbz2"]
    return next((name[: -len(suffix)] for suffix in suffixes if small.endswith(suffix)), name)
