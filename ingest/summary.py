"""What became of every entry of a source: sums that must match, and a reason for whatever was left out."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import StoreError


@dataclass(frozen=True)
class Summary:
    """What became of every entry of a source. The five states add up to ``found``, or the run is in error.

    ``metadata`` and ``reused`` are those of ``indexed`` that needed no embedding: only their metadata changed, or the
    same photograph was in the store under another name. ``missing``: in the collection, but no longer in the source.
    ``stopped``: the run ended early, and ``found`` counts what it had dealt with by then.
    """

    found: int = 0
    indexed: int = 0
    unchanged: int = 0
    duplicate: int = 0
    quarantined: int = 0
    excluded: int = 0
    metadata: int = 0
    reused: int = 0
    near_duplicates: int = 0
    missing: int = 0
    pruned: int = 0
    stopped: bool = False

    def check(self) -> None:
        """Raise StoreError if the sums do not match: then something was lost, and it must be told."""
        if self.accounted != self.found:
            raise StoreError(
                f"{self.found} entries were found, but {self.accounted} are accounted for: please report this"
            )

    @property
    def states(self) -> dict[str, int]:
        """The five states, in the order in which they are printed."""
        names = ("indexed", "unchanged", "duplicate", "quarantined", "excluded")
        return {name: getattr(self, name) for name in names}

    @property
    def accounted(self) -> int:
        """How many entries have ended in one of the states."""
        return sum(self.states.values())


@dataclass(frozen=True)
class Problem:
    """An entry that was not indexed, and why."""

    uri: str
    state: str
    reason: str
