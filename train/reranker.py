"""Token heads: what words and parts of photographs are compared by when the first hits are looked at more closely.

The towers stay as they are. Two matrices learn to bring the cells of the last feature map, and the states of the
words, to where a word's best cell says whether the photograph has what it says (MaxSim; FILIP: Yao et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.rerank import DEPTH, standard
from engine.token_heads import TokenHeads, max_sim
from eval.exact import exact_search
from eval.metrics import NEVER, ranks_of_relevant
from train.cross_encoder import CrossEncoder
from train.loss import INITIAL_LOGIT_SCALE, MAX_LOGIT_SCALE, softmax_loss
from train.pairs import Pairs
from train.run import Run
from train.schedule import set_learning_rates
from train.tokens import token_batches
from train.towers import autocast
from train.validation import relevant_of

BATCH = 192
RATE = 1e-3
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
WORTH = 0.002
"""Of MRR: less than that is no reason to run another network for every query."""


def fit_token_heads(
    run: Run, dimension: int, steps: int, report: Callable[[int, float], Any] = lambda step, loss: None
) -> TokenHeads:
    """Train heads on the captioned photographs of a run, whose averaged towers stay as they are."""
    torch.manual_seed(run.recipe.optimizer.seed)
    config: Any = run.average.module.config
    widths = int(getattr(config.vision_config, "hidden_sizes", [0])[-1] or config.vision_config.hidden_size)
    heads = TokenHeads(widths, config.text_config.hidden_size, dimension, run.towers.word_layer).to(run.device)
    scale = torch.nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE, device=run.device))
    learning = [*heads.parameters(), scale]
    optimizer = torch.optim.AdamW(learning, weight_decay=0.05)
    for step, batch in enumerate(token_batches(run, BATCH, steps)):
        with autocast(run.device):
            scores = max_sim(heads.patches(batch.cells), heads.words(batch.states), batch.there)
        loss = softmax_loss(scale.exp() * scores.float().t(), batch.same)
        set_learning_rates(optimizer, step, steps, RATE, 0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            scale.clamp_(0.0, MAX_LOGIT_SCALE)
        report(step, float(loss.detach()))
    return heads.eval()


@dataclass(frozen=True)
class Chosen:
    """What validation says of the re-rankers: the weight of each that helps, the best one, and what was found."""

    weights: dict[str, float]
    best: str
    marks: dict[str, float]


def choose_weights(run: Run, heads: TokenHeads, cross: CrossEncoder | None, pairs: Pairs) -> Chosen:
    """Try each re-ranker at several weights on the captions of ``pairs``, and keep those that raise the MRR.

    Which of two is the best is decided in favour of MaxSim, which the store computes, unless the other is better by
    `WORTH`.
    """
    model, towers = run.average.module.eval(), run.towers
    captions, relevant = pairs.first_captions(), relevant_of(pairs)
    with torch.inference_mode():
        images = towers.embed_images(model, pairs.pixels).cpu().numpy()
        found = exact_search(towers.embed_texts(model, captions).cpu().numpy(), images, (relevant,), top=DEPTH)
        patches = torch.cat(
            [heads.patches(towers.cells(model, values)).float() for values in towers.photographs(pairs.pixels)]
        )
        seconds: dict[str, list[Any]] = {"maxsim": [], "cross": []}
        for text, row in zip(captions, found.top, strict=True):
            states, there = towers.states_of(model, [text])
            words, parts = heads.words(states).float(), patches[row]
            seconds["maxsim"].append(max_sim(parts, words, there)[0].cpu().numpy())
            if cross is not None:
                among = len(parts)
                scores = cross(words.expand(among, -1, -1), parts, there.expand(among, -1))
                seconds["cross"].append(scores.float().cpu().numpy())
    right = np.stack([np.isin(row, wanted) for row, wanted in zip(found.top, relevant, strict=True)])
    near, marks_of = standard(found.scores), partial(marks_of_order, right, found.ranks[0].first)
    marks = {"alone": marks_of(near)}
    weights = {}
    for name, second in ((name, np.stack(second)) for name, second in seconds.items() if second):
        tried = {weight: marks_of(near + weight * standard(second)) for weight in WEIGHTS}
        weight = max(WEIGHTS, key=lambda weight: tried[weight]["mrr"])
        marks[name] = tried[weight]
        if weight:
            weights[name] = weight
    best = max(weights, key=lambda name: marks[name]["mrr"] - WORTH * (name == "cross"), default="none")
    figures = {f"{mark}, {name}": value for name, several in marks.items() for mark, value in several.items()}
    return Chosen(weights, best, figures)


def marks_of_order(right: npt.NDArray[np.bool_], before: npt.NDArray[np.int64], scores: Any) -> dict[str, float]:
    """Return what a new order of the first k hits is worth: all others come after, in the order that they had.

    ``right``: bool (q, k), which of the hits answer their query; ``before``: int (q,), the rank of each query's first
    right answer; ``scores``: (q, k), by which the hits are ordered now, ties against us.
    """
    ranks = ranks_of_relevant(scores.astype(np.float32), right).first
    ranks = np.where(ranks == NEVER, before, ranks)
    return {"hit@1": float(np.mean(ranks <= 1)), "mrr": float(np.mean(1 / ranks))}
