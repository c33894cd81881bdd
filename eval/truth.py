"""Examination by a committed ground truth, as Marqo's fashion benchmark does it: queries and their right answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.errors import UsageError
from engine.records import is_text
from eval.bounds import RESAMPLES, Difference, paired_bootstrap
from eval.examination import TruthCase, TruthExamination
from eval.figures import Bootstrap, rank_figures
from eval.metrics import NEVER, Marks, Ranks, best_and_worst, ranks_of_run, recall_at, reciprocal_rank
from eval.trec import read_qrels

Truth = Mapping[str, Mapping[str, float]]
"""Relevance of item ids to each query; above 0 is right, and by how much plays no part."""

SearchTexts = Callable[[Sequence[str], int], Sequence[Sequence[str]]]

DEPTH, LOOKED_AT, CASES = 10, 5, 12
"""So many hits are marked; so many of them, for so many queries of each kind, are shown."""


def examine_ground_truth(
    truth: Truth,
    search: SearchTexts,
    gallery_ids: Collection[str],
    *,
    seed: int = 42,
    resamples: int = RESAMPLES,
) -> TruthExamination:
    """Ask every query of ``truth`` and mark the first 10 hits: set recall@1 and @10 and MRR@10, as the benchmark does.

    ``search(texts, limit)`` returns item ids, best first, for each text. Right answers that ``gallery_ids`` lacks are
    never found; they are counted, and their queries stay in the denominator. hit@K is given beside recall@K.

    Raises: UsageError when a query is left unanswered by ``search``, or the truth is empty.
    """
    if not truth:
        raise UsageError("the ground truth has no queries; give a file with at least one")
    texts = list(truth)
    held = set(gallery_ids)
    right = [{item for item, relevance in truth[text].items() if relevance > 0} for text in texts]
    missing = [answers - held for answers in right]
    run = [list(found)[:DEPTH] for found in search(texts, DEPTH)]
    ranks = ranks_of_run(run, right, gallery=len(held))
    present = np.array([len(answers) - len(lost) for answers, lost in zip(right, missing, strict=True)])
    figures = rank_figures(ranks, Bootstrap(seed, resamples), ks=(1, DEPTH), present=present, set_recall=True)
    best, worst = _cases(texts, run, right, ranks, seed)
    return TruthExamination(
        gallery=len(held),
        queries=len(texts),
        relevant=sum(map(len, right)),
        relevant_missing=sum(map(len, missing)),
        queries_with_missing=sum(bool(lost) for lost in missing),
        queries_without_answer=int(np.count_nonzero(ranks.first == NEVER)),
        figures=tuple(f for f in figures if f.name not in ("MRR", "median rank")),
        best=best,
        worst=worst,
        run={text: tuple(found) for text, found in zip(texts, run, strict=True)},
    )


def _cases(
    texts: Sequence[str], run: Sequence[Sequence[str]], right: Sequence[Collection[str]], ranks: Ranks, seed: int
) -> tuple[tuple[TruthCase, ...], tuple[TruthCase, ...]]:
    """Return the best and the worst queries to look at."""

    def case(row: int) -> TruthCase:
        hits, rank = tuple(run[row][:LOOKED_AT]), int(ranks.first[row])
        found = tuple(hit for hit in hits if hit in right[row])
        return TruthCase(texts[row], None if rank == NEVER else rank, hits, found, min(right[row]))

    best, worst = best_and_worst(ranks, CASES, seed)
    return tuple(map(case, best)), tuple(map(case, worst))


def compare_runs(
    truth: Truth, one: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]], gallery: int
) -> dict[str, Difference]:
    """Return, by figure, how much better ``one`` run answers than the ``other``: the same queries, a paired test.

    Runs are the first 10 item ids of each query, as `TruthExamination.run` has them.
    """
    texts = list(truth)
    right = [{item for item, relevance in truth[text].items() if relevance > 0} for text in texts]
    first, second = (ranks_of_run([run[text] for text in texts], right, gallery) for run in (one, other))
    marks: dict[str, Callable[[Ranks], Marks]] = {
        "recall@1": lambda ranks: recall_at(ranks, 1),
        "recall@10": lambda ranks: recall_at(ranks, DEPTH),
        "MRR@10": lambda ranks: reciprocal_rank(ranks, DEPTH),
    }
    return {name: paired_bootstrap(mark(first), mark(second)) for name, mark in marks.items()}


def load_ground_truth(path: Path) -> Truth:
    """Read a ground truth: JSON ``{query: {item id: relevance}}``, or ``{query: [item id, ...]}`` with relevance 1.

    A file named ``.qrels`` is read in TREC's format, as the search page exports judgements; there, as in trec_eval,
    a query without a right answer is left out.

    Raises: UsageError naming the file and the place when it is not that.
    """
    if path.suffix == ".trec":  # an examination of captions names its queries by item
        raise UsageError(f"{path}: name it .qrels if its queries are texts; else there is nothing to ask")
    if path.suffix == ".qrels":
        judged = read_qrels(path)
        truth = {query: answers for query, answers in judged.items() if any(value > 0 for value in answers.values())}
        if not truth:
            raise UsageError(f"{path} holds no query with a right answer: judge some, or give another file")
        return truth
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=lambda pairs: _unique(path, pairs))
    except OSError as error:
        raise UsageError(f"cannot read the ground truth {path}: {error.strerror}; give an existing file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8 JSON") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON: {error.msg} in line {error.lineno}; see the file there") from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply; it must be {{query: {{item id: relevance}}}}") from error
    except ValueError as error:  # a number of thousands of digits
        raise UsageError(f"{path} cannot be read: {error}; see the file there") from error
    if not isinstance(data, dict) or not data:
        raise UsageError(f"{path} holds no queries; it must be a JSON object {{query: {{item id: relevance}}}}")
    return {query: _answers(path, query, answers) for query, answers in data.items()}


def _answers(path: Path, query: str, answers: object) -> dict[str, float]:
    if not is_text(query):
        raise UsageError(f"{path}: the query {query!r} has half a character; mend it there")
    if not query.strip():
        raise UsageError(f"{path} has a query without a word: drop it")
    if isinstance(answers, list) and all(isinstance(item, str) for item in answers):
        answers = dict.fromkeys(answers, 1)
    if not isinstance(answers, dict):
        raise UsageError(f"{path}: query {query!r} has {answers!r} for an answer; it must be {{item id: relevance}}")
    for item, relevance in answers.items():
        if not is_text(item):
            raise UsageError(f"{path}: query {query!r}: the item {item!r} has half a character; mend it there")
        if not _is_number(relevance):
            shown = f"{relevance!r:.40}"
            raise UsageError(f"{path}: query {query!r}, item {item!r}: the relevance {shown} is no number")
    if not any(relevance > 0 for relevance in answers.values()):
        raise UsageError(f"{path}: query {query!r} has no item with a relevance above 0; add one, or drop the query")
    return {item: float(relevance) for item, relevance in answers.items()}


def _is_number(value: object) -> bool:
    """Say whether this is a number that float knows, of which there are no larger ones than a certain one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _unique(path: Path, pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Refuse a key that occurs twice: JSON would silently keep the last, and answers would be lost."""
    seen = dict(pairs)
    if len(seen) != len(pairs):
        twice = next(key for row, (key, _) in enumerate(pairs) if key in dict(pairs[:row]))
        raise UsageError(f"{path} has the key {twice!r} twice; join the two entries")
    return seen
