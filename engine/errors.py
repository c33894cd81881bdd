"""Every failure that a user can cause or meet, as one tree.

    EngineError                 exit code 1
    ├── UsageError              2   an option or an argument that cannot be meant
    │   └── FilterError         2   a filter that does not parse, or names a field that the collection lacks
    ├── SourceError             3   nothing to ingest: no such folder, no images in it, no image column ...
    ├── CheckpointError         4   the folder holds no CLIP, or one that cannot be read
    ├── PassportError           5   the index was made by another model than the one at hand
    ├── StoreError              6   the store refused, for a reason of its own
    │   ├── FieldConflict       6   a payload field of another kind than the collection has it
    │   ├── StoreMissing        6   no such collection yet
    │   ├── StoreLocked         6   another process owns the folder
    │   ├── StoreUnavailable    6   the server cannot be reached, or gave up
    │   ├── StoreFull           6   no room on the disk
    │   └── StoreCorrupt        6   files of the store are damaged or missing
    └── ImageError              -   one file that is no usable photograph: quarantined, never fatal

The command line turns each into one line on stderr and its exit code. A message names the value at fault
and the next step.
"""

from __future__ import annotations

from typing import ClassVar


class EngineError(Exception):
    """The root: whatever the user should read as one line instead of a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(EngineError):
    """An option or argument that cannot be meant."""

    exit_code = 2


class FilterError(UsageError):
    """A filter that does not parse, or that names a field which the collection does not have."""


class SourceError(EngineError):
    """There is nothing that could be read: no folder, no images, no table with an image column."""

    exit_code = 3


class CheckpointError(EngineError):
    """A checkpoint folder that is none, or that cannot be read."""

    exit_code = 4


class PassportError(EngineError):
    """The checkpoint at hand is not the one that made the index."""

    exit_code = 5


class StoreError(EngineError):
    """The store refused a request."""

    exit_code = 6


class FieldConflict(StoreError):
    """A payload field has values that cannot be of the kind that it has in the collection."""


class StoreMissing(StoreError):
    """The collection does not exist yet."""


class StoreLocked(StoreError):
    """Another process owns the store's folder."""


class StoreUnavailable(StoreError):
    """The server cannot be reached, timed out, or kept refusing after every retry."""


class StoreFull(StoreError):
    """Too little room on the disk to write safely."""


class StoreCorrupt(StoreError):
    """Files of the store are damaged or missing."""


class ImageError(EngineError):
    """One file that holds no usable photograph; the worker quarantines it and goes on."""
