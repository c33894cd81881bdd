"""The collection on a Qdrant server: made with its indexes, put behind its alias, described and extended.

Readers use the alias, which has the collection's public name (``fashion``); behind it stands the real collection
(``fashion_1``), so that a rebuilt one can take its place in one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

from qdrant_client import QdrantClient, models
from qdrant_client.local.qdrant_local import QdrantLocal

from engine.errors import StoreError, StoreMissing
from engine.records import FieldKind
from engine.store.protocol import PATCHES_NAME, VECTOR_NAME, CollectionSpec
from engine.store.schema import SCHEMA_VERSION, check_fields, with_core_fields
from engine.store.server_calls import Caller
from engine.store.server_convert import field_index, metadata, patch_params, vector_params


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
        spec, real = with_core_fields(spec), f"{self.name}_1"
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
        alias = models.CreateAlias(collection_name=real, alias_name=self.name)
        self.call(
            lambda: self.client.update_collection_aliases(
                [models.CreateAliasOperation(create_alias=alias)], timeout=self.timeout_s
            )
        )

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
            self._index(real, new)
            spec = replace(spec, fields={**spec.fields, **new})
            self.call(lambda: self.client.update_collection(real, metadata=metadata(spec), timeout=self.timeout_s))
        return spec

    def info(self) -> models.CollectionInfo:
        """Return what the server says of the collection. Raises: StoreMissing."""
        try:
            return self.call(lambda: self.client.get_collection(self.name))
        except StoreMissing as error:
            raise self.missing() from error

    def missing(self) -> StoreMissing:
        """Return the error that names the collection, and the ones there are."""
        there = sorted(alias.alias_name for alias in self.call(self.client.get_aliases).aliases)
        others = f"there is: {', '.join(there)}" if there else "there is none yet"
        return StoreMissing(f"no collection {self.name!r} at {self.location} ({others}); make it with 'engine ingest'")

    def _real(self) -> str:
        """Return the collection that the alias means; its own settings are changed under its own name only."""
        for alias in self.call(self.client.get_aliases).aliases:
            if alias.alias_name == self.name:
                return str(alias.collection_name)
        return self.name

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
