"""Finds out what a path holds, and opens the reader for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.errors import SourceError, UsageError
from ingest.sniff import IMAGE_SUFFIXES
from ingest.sources import deepfashion
from ingest.sources.deepfashion import DeepFashionSource
from ingest.sources.files import Listing, is_photograph, walk, why
from ingest.sources.folder import FolderSource
from ingest.sources.photos import images_folder
from ingest.sources.rows import TABLE_SUFFIXES
from ingest.sources.source import Source
from ingest.sources.table import Columns, TableSource
from ingest.sources.tar import TarSource, is_archive

KINDS = ("auto", "deepfashion", "table", "folder", "tar")
_KAGGLE_TABLE = "styles.csv"
_DEEPFASHION_SHARE = 0.9


def open_source(path: Path, kind: str = "auto", *, columns: Columns | None = None, id_prefix: str = "") -> Source:
    """Open the reader for ``path``; ``id_prefix`` goes before every item id, so that sources can share an index.

    Raises: UsageError for an unknown ``kind`` or column; SourceError where there is nothing to ingest.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind of source {kind!r}: choose one of {', '.join(KINDS)}")
    _check(path)
    named = columns is not None and columns != Columns()
    kind = detect(path, named=named) if kind == "auto" else kind
    if kind != "tar" and kind != "table" and path.is_file():
        raise SourceError(f"{path} is one file, and {kind!r} needs a folder: name the folder")
    if kind == "table":
        return TableSource(_table_in(path), columns=columns, id_prefix=id_prefix)
    if kind == "deepfashion":
        return DeepFashionSource(path, id_prefix=id_prefix)
    return (TarSource if kind == "tar" else FolderSource)(path, id_prefix=id_prefix)


def check_columns(sources: Sequence[Source], columns: Columns) -> None:
    """Raise UsageError where columns are named, and none of ``sources`` has any."""
    if columns != Columns() and all(source.kind != "table" for source in sources):
        roots = ", ".join(str(source.root) for source in sources)
        raise UsageError(f"columns are named, and {roots} is no table: leave them out, or name a table")


def detect(path: Path, *, named: bool = False) -> str:
    """Return the kind of source that ``path`` is; ``named``: the user named columns, so that a table is meant."""
    if path.is_file():
        if is_archive(path.name):
            return "tar"
        if path.suffix.lower() in TABLE_SUFFIXES:
            return "table"
        what = "one photograph: name its folder" if is_photograph(path.name) else "neither a table nor a tar archive"
        raise SourceError(f"{path} is {what}; tables end in {', '.join(TABLE_SUFFIXES)}")
    top = next(walk(path, deep=False))
    tables = _tables(top)
    if _KAGGLE_TABLE in tables:
        return "table"
    if _is_deepfashion(path, top):
        return "deepfashion"
    if len(tables) == 1 and (named or images_folder(path) is not None):
        return "table"
    if any(map(is_archive, top.files)) and not any(map(is_photograph, top.files)):
        return "tar"
    return "folder"


def _check(path: Path) -> None:
    """Refuse a path that is not there, cannot be looked into, or is empty."""
    try:
        empty = path.is_dir() and not any(path.iterdir())
        exists = path.exists()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {why(error)}") from error
    if not exists:
        raise SourceError(f"no such file or folder: {path}")
    if empty:
        raise SourceError(f"{path} is empty: put photographs ({', '.join(IMAGE_SUFFIXES[:3])} ...) into it")


def _is_deepfashion(path: Path, top: Listing) -> bool:
    """Say whether this is DeepFashion-MultiModal: by its captions or labels, or by nine names in ten."""
    if any(
        deepfashion.label_file(path, name) for name in (deepfashion.SHAPE, deepfashion.FABRIC, deepfashion.PATTERN)
    ):
        return True
    images = next(walk(path / "images", deep=False)) if (path / "images").is_dir() else top
    names = [name for name in images.files if is_photograph(name)]
    if deepfashion.CAPTIONS in top.files and names:
        return True
    return bool(names) and sum(bool(deepfashion.parse_name(name)) for name in names) >= _DEEPFASHION_SHARE * len(names)


def _tables(top: Listing) -> list[str]:
    return [name for name in top.files if os.path.splitext(name)[1].lower() in TABLE_SUFFIXES]  # noqa: PTH122


def _table_in(path: Path) -> Path:
    """Return the table that a folder holds, or the path itself if it is a file."""
    if path.is_file():
        return path
    tables = _tables(next(walk(path, deep=False)))
    if _KAGGLE_TABLE in tables:
        return path / _KAGGLE_TABLE
    if len(tables) != 1:
        found = f"{len(tables)} tables ({', '.join(tables)})" if tables else "no table"
        raise SourceError(f"{path} holds {found}: name the one that is meant, ending in {', '.join(TABLE_SUFFIXES)}")
    return path / tables[0]
