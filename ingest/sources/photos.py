"""The photographs beside a table: found by path, by file name or by id, with one scan a folder."""

from __future__ import annotations

import os
from pathlib import Path

from ingest.sources.files import is_photograph, why

_FOLDER_NAMES = ("images", "image", "imgs", "img", "photos", "pictures")


def images_folder(base: Path) -> Path | None:
    """Return the folder of photographs beside a table, by its usual names."""
    try:
        folders = {entry.name.lower(): entry.name for entry in os.scandir(base or ".") if entry.is_dir()}
    except OSError:
        return None
    return next((base / folders[name] for name in _FOLDER_NAMES if name in folders), None)


class Photos:
    """Finds the files that a table's cells mean, and remembers which were found.

    ``unreadable``: folders that cells name and that cannot be read, with the reason.
    """

    def __init__(self, base: Path, images: Path | None) -> None:
        self.used: set[str] = set()
        self._base = str(base.absolute())
        self._images = "" if images is None else str(images.absolute())
        self.unreadable: dict[str, str] = {}
        self._folders: dict[str, _Folder] = {}
        self._beside = self._folder(self._images)
        self._usual = self._beside.by_name.get

    def named(self, key: str) -> os.DirEntry[str] | None:
        """Return the photograph in the images folder whose name without suffix is ``key``."""
        entry = self._usual(f"{key}.jpg") or self._beside.stem(key)
        if entry is None or not entry.is_file():
            return None
        self.used.add(entry.path)
        return entry

    def at(self, cell: str) -> os.DirEntry[str] | None:
        """Return the file that a cell names: absolute, beside the table, or in the images folder; suffix optional."""
        parent, slash, name = cell.rpartition("/")
        for folder in filter(None, (self._base, self._images)):
            if slash:
                folder = os.path.normpath(os.path.join(folder, parent or "/"))  # noqa: PTH118
            entries = self._folder(folder)
            entry = self._use(entries.by_name.get(name) or entries.stem(name))
            if entry is not None:
                return entry
        return None

    def all_used(self) -> bool:
        """Say whether the images folder holds nothing but the photographs that were found."""
        return all(entry.path in self.used for entry in self._beside.by_name.values())

    def _folder(self, path: str) -> _Folder:
        if path not in self._folders:
            self._folders[path] = found = _Folder(path)
            if found.flaw:
                self.unreadable[path] = found.flaw
        return self._folders[path]

    def _use(self, entry: os.DirEntry[str] | None) -> os.DirEntry[str] | None:
        if entry is None or not entry.is_file():
            return None
        self.used.add(entry.path)
        return entry


class _Folder:
    """The entries of one folder by name; none where it is not there, or with a ``flaw`` where it cannot be read."""

    def __init__(self, path: str) -> None:
        self.by_name: dict[str, os.DirEntry[str]] = {}
        self._by_stem: dict[str, os.DirEntry[str]] | None = None
        self.flaw = ""
        if path:
            try:
                with os.scandir(path) as scan:
                    self.by_name = {entry.name: entry for entry in scan}
            except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in its name
                pass
            except OSError as error:
                self.flaw = why(error)

    def stem(self, stem: str) -> os.DirEntry[str] | None:
        """Return the photograph of that name without suffix: the .jpg, or else the first by name."""
        usual = self.by_name.get(stem + ".jpg")
        if usual is not None:
            return usual
        if self._by_stem is None:
            self._by_stem = {}
            for name in sorted(filter(is_photograph, self.by_name), reverse=True):
                self._by_stem[name.rpartition(".")[0]] = self.by_name[name]
        return self._by_stem.get(stem)
