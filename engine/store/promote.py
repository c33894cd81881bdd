"""One collection in the place of another: whoever reads the public name reads the new one from one moment to the next.

A new checkpoint needs all photographs embedded again. That is done under another name, looked at, and then promoted;
until then, and if it is cut short, readers have the old one. On a server the alias changes hands
(`ServerStore.take_over`); an embedded collection is copied here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from engine.store import edge_files as files
from engine.store.copy import copy_collection
from engine.store.edge import EdgeStore
from engine.store.edge_shard import make_generation


def promote_embedded(
    folder: Path, successor: str, collection: str, tell: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Copy ``successor`` beside what ``collection`` is, verify it, and let it be ``collection`` in one step.

    Then the old one is deleted, and all of ``successor`` that the store has written.

    Raises:
        StoreMissing: there is no ``successor``.
        StoreLocked: another process has one of them open.
        StoreError: the copy does not give back what was written; nothing has changed.
    """
    home = folder / collection
    with EdgeStore(folder, successor) as new, EdgeStore(folder, collection) as old:
        spec = new.spec()
        if old.exists():
            old.count()  # from here on nobody else writes to it
        name = make_generation(folder, collection, spec, files.MIN_FREE_BYTES)
        try:
            with EdgeStore(folder, collection, generation=name) as fresh:
                copy_collection(new, fresh, tell)
        except BaseException:  # a Ctrl-C too leaves no half copy
            shutil.rmtree(home / name, ignore_errors=True)
            raise
        files.set_current(home, name)  # what it names is never deleted above
    for other in files.generations(home):
        if other != name:
            shutil.rmtree(home / other, ignore_errors=True)  # who waited for it may just be letting go of it
    files.remove(folder / successor)
