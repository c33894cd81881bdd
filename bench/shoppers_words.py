"""Words that shoppers use and titles do not: what share of the first 10 photographs is what was meant.

    python bench/shoppers_words.py CATALOGUE [--model CHECKPOINT]

Three lists, asked of the whole catalogue: words.txt and unseen_words.txt want an article type, unseen_colours.txt a
colour. Who wrote the unseen ones had not seen the shipped synonyms, and who wrote these has not seen them: that it
stays so, only their means are said. Queries that the synonyms teach, and those that contain such a phrase, are counted
apart from the others: only these tell what a checkpoint knows by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from embedding import embed_photographs

from engine.checkpoint import DEFAULT_MODEL, find_checkpoint
from engine.encoder import load_encoder
from engine.records import Item
from eval.bounds import bootstrap_interval
from eval.exact import exact_search
from ingest.sources.detect import open_source
from train.synonyms import Synonyms, load_synonyms, phrases_in, stems

FIRST = 10
TOLD = "words.txt"
"""The list whose queries are told one by one."""
LISTS = {TOLD: "article_type", "unseen_words.txt": "article_type", "unseen_colours.txt": "colour"}


def main() -> None:
    """Embed, ask, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    source, encoder = open_source(options.folder), load_encoder(find_checkpoint(options.model), "cpu")
    items = [item for item in source.items() if isinstance(item, Item)]
    vectors, _ = embed_photographs(encoder, source, items)
    synonyms = load_synonyms("shipped")
    for name, field in LISTS.items():
        values = np.array([str(item.payload.get(field, "")) for item in items])
        asked = questions(Path(__file__).with_name(name))
        found = exact_search(encoder.encode_texts(list(asked)), vectors, top=FIRST)
        right = zip(found.top, asked.values(), strict=True)
        marks = np.array([np.isin(values[top], answers).mean() for top, answers in right])
        if name == TOLD:
            for word, mark, top in sorted(zip(asked, marks, found.top, strict=True), key=lambda row: float(row[1])):
                print(f"{mark:.1f}  {word}: {', '.join(dict.fromkeys(values[top]))}")
        kinds = np.array(kinds_of(asked, synonyms))
        for kind in ("taught", "partly taught", "not taught"):
            report(name, kind, marks[kinds == kind])
        report(name, "in all", marks)


def report(name: str, kind: str, marks: np.ndarray) -> None:
    """Say how many queries of a kind there are, and what share of their answers is right."""
    if len(marks):
        low, high = bootstrap_interval(marks)
        print(f"{name}: {len(marks)} queries {kind}: {marks.mean():.3f} (95 % {low:.3f} to {high:.3f})")


def questions(path: Path) -> dict[str, list[str]]:
    """Return each query of a file with the values that answer it.

    Raises:
        ValueError: a query stands there twice.
    """
    asked: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            query, right = (part.strip() for part in line.split("="))
            if query in asked:
                raise ValueError(f"{path.name} asks {query!r} twice")
            asked[query] = [one.strip() for one in right.split("|")]
    return asked


def kinds_of(queries: Iterable[str], synonyms: Synonyms) -> list[str]:
    """Say of each query whether it is one of the phrases that ``synonyms`` teach, contains one, or neither.

    Case, plurals, spaces and hyphens do not matter.
    """
    phrases = {_words(phrase) for phrase in synonyms.meanings}
    written_together = set(map("".join, phrases))

    def kind(words: tuple[str, ...]) -> str:
        if "".join(words) in written_together:
            return "taught"
        return "partly taught" if any(phrases_in(words, phrases, len(words))) else "not taught"

    return [kind(_words(query)) for query in queries]


def _words(text: str) -> tuple[str, ...]:
    return stems(text.replace("-", " "))


if __name__ == "__main__":
    main()
