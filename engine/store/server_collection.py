"""The collection on a Qdrant server: made with its indexes, put behind its alias, described and extended.

Readers use the alias, which has the collection's public name (``fashion``); behind it stands the real collection
(``fashion_1``), so that a rebuilt one can take its place in one step.
"""

from __future__ import annotations

import itertools
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import get_args
from urllib.parse import urlsplit, urlunsplit

from qdrant_client import QdrantClient, models
from qdrant_client.local.qdrant_local import QdrantLocal

from engine.errors import StoreError, StoreMissing, StoreUnavailable, UsageError
from engine.records import FieldKind
from engine.store.protocol import PATCHES_NAME, VECTOR_NAME, CollectionSpec
from engine.store.schema import SCHEMA_VERSION, check_fields, with_core_fields
from engine.store.server_calls import Caller
from engine.store.server_convert import field_index, metadata, patch_params, vector_params

GREEN_WITHIN_S = 3600.0
LEAST_VERSION = (1, 16)
"""The first that keeps metadata with a collection."""


@dataclass(frozen=True, slots=True)
class ServerCollection:
    """A collection by its alias ``name``; ``location`` names the server in messages."""

    name: str
    location: str
    client: QdrantClient
    call: Caller
    timeout_s: int

    @property
    def local(self) -> bool:
        """Whether the client's local mode stands in, which warns of indexes and search parameters: it has neither."""
        return isinstance(self.client._client, QdrantLocal)

    def exists(self) -> bool:
        """Say whether the alias, or a collection of its name, is there."""
        try:
            self.info()
        except StoreMissing:
            return False
        return True

    def create(self, spec: CollectionSpec) -> None:
        """Create the collection with all its payload indexes, before any point; an existing one is left as it is."""
        if self.exists():
            return
        self._check_version()
        spec, real = with_core_fields(spec), self._unused()
        vectors = {VECTOR_NAME: vector_params(spec.dimension)}
        if spec.patches:
            vectors[PATCHES_NAME] = patch_params(spec.patches)
        self._clear_unfinished(real)
        self.call(
            lambda: self.client.create_collection(
                real,
                vectors_config=vectors,
                metadata=metadata(spec),
                timeout=self.timeout_s,
            )
        )
        self._index(real, spec.fields)
        self._change_aliases([_given(self.name, real)])

    def take_over(self, successor: str) -> None:
        """Give the alias to the collection that the alias ``successor`` means, in one call, and delete the old one.

        Raises:
            StoreMissing: there is no ``successor``.
            StoreError: one of the names is a collection's own, which no alias can take the place of.
        """
        replace(self, name=successor).info()
        names = [successor, *([self.name] if self.exists() else [])]
        meant = self._aliases()
        for name in names:
            if name not in meant:
                raise StoreError(
                    f"{name!r} at {self.location} is a collection itself and no alias: give it another name"
                )
        self._change_aliases([*map(_taken, names), _given(self.name, meant[successor])])
        old = meant.get(self.name)
        if old and old != meant[successor]:
            self.call(lambda: self.client.delete_collection(old, timeout=self.timeout_s))

    def spec(self) -> CollectionSpec:
        """Read what the collection was made with, out of its metadata.

        Raises:
            StoreMissing: there is no such collection.
            StoreError: somebody else made it, or a version of this program with another schema.
        """
        config = self.info().config
        vectors, carried = config.params.vectors, config.metadata or {}
        try:
            size = vectors[VECTOR_NAME].size  # type: ignore[index]
            fields: dict[str, FieldKind] = dict(carried["fields"])
            patches = vectors[PATCHES_NAME].size if PATCHES_NAME in vectors else 0  # type: ignore[index, operator]
            found = CollectionSpec(size, dict(carried["passport"]), fields, patches)
            written = carried["schema_version"]
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"the collection {self.name!r} at {self.location} was not made by this program: "
                f"it lacks {error}; choose another name, or delete it and run 'engine ingest'"
            ) from error
        if written != SCHEMA_VERSION or not set(fields.values()) <= set(get_args(FieldKind)):
            raise StoreError(
                f"the collection {self.name!r} has the schema version {written}, "
                f"this program {SCHEMA_VERSION}: update the older"
            )
        return found

    def add_fields(self, fields: Mapping[str, FieldKind]) -> CollectionSpec:
        """Index further payload fields and return the spec with them; those of the same kind are left alone."""
        spec = self.spec()
        new = check_fields(fields, spec.fields)
        if new:
            real = self._real()
            for name in {} if self.local else new.keys() & spec.fields:
                self.call(partial(self.client.delete_payload_index, real, name, wait=True, timeout=self.timeout_s))
            self._index(real, new)
            spec = replace(spec, fields={**spec.fields, **new})
            self._describe(real, spec)
        return spec

    def add_ledger(self, id: str) -> CollectionSpec:
        """Add a ledger to the passport, and return the spec with it."""
        spec = self.spec().with_ledger(id)
        self._describe(self._real(), spec)
        return spec

    def _describe(self, real: str, spec: CollectionSpec) -> None:
        """Write down what the collection is now."""
        self.call(lambda: self.client.update_collection(real, metadata=metadata(spec), timeout=self.timeout_s))

    def info(self) -> models.CollectionInfo:
        """Return what the server says of the collection.

        Raises:
            StoreMissing: there is none of that name.
            StoreError: it is the one behind another alias, which somebody could mistake for one of its own.
        """
        if re.fullmatch(r".+_\d+", self.name):
            aliases = self._aliases()
            other = next((alias for alias, real in aliases.items() if real == self.name), None)
            if other is not None and self.name not in aliases:
                raise StoreError(
                    f"{self.name!r} at {self.location} is what stands behind {other!r}: give that name, or another"
                )
        try:
            return self.call(lambda: self.client.get_collection(self.name))
        except StoreMissing as error:
            raise self.missing() from error

    def wait_until_green(self) -> None:
        """Wait until the server has built its graphs.

        Raises:
            StoreUnavailable: it has not within the hour.
            StoreError: it says that it cannot.
        """
        deadline = time.monotonic() + GREEN_WITHIN_S
        while (status := self.info().status) != models.CollectionStatus.GREEN:
            if status == models.CollectionStatus.RED:
                raise StoreError(f"Qdrant at {self.location} has failed to optimize {self.name!r}: look into its log")
            if status == models.CollectionStatus.GREY:  # there is something to do, which the next write sets off
                return
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"Qdrant at {self.location} is still building {self.name!r}: look again later")
            time.sleep(0.5)

    def missing(self) -> StoreMissing:
        """Return the error that names the collection, and the ones there are."""
        there = sorted(self._aliases())
        others = f"there is: {', '.join(there)}" if there else "there is none yet"
        return StoreMissing(f"no collection {self.name!r} at {self.location} ({others}); make it with 'engine ingest'")

    def _check_version(self) -> None:
        """Refuse a server that would drop a collection's metadata without a word. Raises: StoreError."""
        version = self.call(self.client.info).version
        found = re.match(r"(\d+)\.(\d+)", version)
        if found and tuple(map(int, found.groups())) < LEAST_VERSION:
            raise StoreError(f"Qdrant at {self.location} is of version {version}: 1.16 or newer is needed")

    def _real(self) -> str:
        """Return the collection that the alias means; its own settings are changed under its own name only."""
        return self._aliases().get(self.name, self.name)

    def _aliases(self) -> dict[str, str]:
        """Return what each alias of the server means."""
        return {alias.alias_name: alias.collection_name for alias in self.call(self.client.get_aliases).aliases}

    def _unused(self) -> str:
        """Return the first name for the real collection that no alias has or means."""
        aliases = self._aliases()
        taken = {*aliases, *aliases.values()}
        return next(name for n in itertools.count(1) if (name := f"{self.name}_{n}") not in taken)

    def _change_aliases(self, changes: Sequence[models.AliasOperations]) -> None:
        self.call(lambda: self.client.update_collection_aliases(changes, timeout=self.timeout_s))

    def _index(self, real: str, fields: Mapping[str, FieldKind]) -> None:
        for name, kind in {} if self.local else fields.items():
            self.call(
                partial(
                    self.client.create_payload_index,
                    real,
                    field_name=name,
                    field_schema=field_index(kind),
                    wait=True,
                    timeout=self.timeout_s,
                )
            )

    def _clear_unfinished(self, real: str) -> None:
        """Remove what a creation that was cut short has left: a collection without points and without an alias."""
        try:
            left = self.call(lambda: self.client.count(real, exact=True, timeout=self.timeout_s)).count
        except StoreMissing:
            return
        if left:
            raise StoreError(
                f"the collection {real!r} at {self.location} holds {left} points "
                f"but has no alias {self.name!r}: give it the alias, or delete it"
            )
        self.call(lambda: self.client.delete_collection(real, timeout=self.timeout_s))


def _given(alias: str, real: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=real, alias_name=alias))


def _taken(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))


def connect(url: str, api_key: str | None, prefer_grpc: bool, timeout: int) -> QdrantClient:
    """Return a client of the server at ``url``; it connects at the first call. Raises: UsageError."""
    with warnings.catch_warnings():
        # It warns of a key sent over plain HTTP, as to localhost: docs/collection.md says when that is fine.
        warnings.simplefilter("ignore", UserWarning)
        try:
            return QdrantClient(
                url=url, api_key=api_key, prefer_grpc=prefer_grpc, timeout=timeout, check_compatibility=False
            )
        except ValueError as error:
            raise UsageError(
                f"{without_password(url)} is no address of a Qdrant server: give http://host:6333"
            ) from error


def without_password(url: str) -> str:
    """Return an address as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else url
