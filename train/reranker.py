"""Token heads: what words and parts of photographs are compared by when the first hits are looked at more closely.

The towers stay as they are. Two matrices learn to bring the cells of the last feature map, and the states of the
words, to where a word's best cell says whether the photograph has what it says (MaxSim; FILIP: Yao et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.rerank import DEPTH, standard
from engine.token_heads import TokenHeads, max_sim
from eval.metrics import hit_at, ranks_of_relevant, reciprocal_rank
from train.augment import augment, draw_variation
from train.loss import INITIAL_LOGIT_SCALE, MAX_LOGIT_SCALE, same_key, softmax_loss
from train.pairs import Pairs
from train.run import Run, relevant_of
from train.schedule import learning_rate
from train.towers import autocast

BATCH = 192
RATE = 1e-3
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def fit_token_heads(
    run: Run, dimension: int, steps: int, report: Callable[[int, float], Any] = lambda step, loss: None
) -> TokenHeads:
    """Train heads on the captioned photographs of a run, whose averaged towers stay as they are."""
    model, towers, pairs = run.average.module.eval(), run.towers, run.pairs
    captioned = np.flatnonzero(pairs.captioned)
    rng = np.random.default_rng(run.recipe.optimizer.seed)
    torch.manual_seed(run.recipe.optimizer.seed)
    config: Any = model.config
    widths = int(getattr(config.vision_config, "hidden_sizes", [0])[-1] or config.vision_config.hidden_size)
    heads = TokenHeads(widths, config.text_config.hidden_size, dimension, towers.word_layer).to(run.device)
    scale = torch.nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE, device=run.device))
    learning = [*heads.parameters(), scale]
    optimizer = torch.optim.AdamW(learning, weight_decay=0.05)
    for step in range(steps):
        run.use_idle_cores()
        rows = np.sort(rng.choice(captioned, min(BATCH, len(captioned)), replace=False))
        texts, _ = run.texts.choose(rows, rng)
        pixels = torch.from_numpy(np.asarray(pairs.pixels[rows])).to(run.device)
        photographs = augment(pixels, draw_variation(len(rows), rng, run.recipe.data))
        with torch.no_grad():
            cells = towers.cells(model, photographs)
            states, there = towers.word_states(model, texts, run.texts.texts)
        with autocast(run.device):
            scores = max_sim(heads.patches(cells), heads.words(states), there)
        same = same_key([pairs.keys[row] for row in rows.tolist()]).to(run.device)
        loss = softmax_loss(scale.exp() * scores.float().t(), same)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, RATE, 0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            scale.clamp_(0.0, MAX_LOGIT_SCALE)
        report(step, float(loss.detach()))
    return heads.eval()


def choose_weight(run: Run, heads: TokenHeads, pairs: Pairs) -> tuple[float, dict[str, float]]:
    """Return the weight of the second score that validates best, by MRR, and what was found with it and without."""
    model, towers = run.average.module.eval(), run.towers
    captions = pairs.first_captions()
    with torch.inference_mode():
        images = towers.embed_images(model, pairs.pixels).cpu().numpy()
        texts = towers.embed_texts(model, captions).cpu().numpy()
        patches = torch.cat(
            [heads.patches(towers.cells(model, values)) for values in towers.photographs(pairs.pixels)]
        )
        first = texts @ images.T
        top = np.argsort(-first, axis=1, kind="stable")[:, :DEPTH]
        second = np.concatenate(
            [_closer(towers, model, heads, text, patches[row]) for text, row in zip(captions, top, strict=True)]
        )
    near, closer, relevant = standard(np.take_along_axis(first, top, axis=1)), standard(second), relevant_of(pairs)
    marks = {}
    for weight in WEIGHTS:
        scores = np.full_like(first, -np.inf)
        np.put_along_axis(scores, top, (near + weight * closer).astype(first.dtype), axis=1)
        ranks = ranks_of_relevant(np.maximum(scores, -1e6), relevant)
        marks[weight] = {"recall@1": float(hit_at(ranks, 1).mean()), "mrr": float(reciprocal_rank(ranks).mean())}
    best = max(WEIGHTS, key=lambda weight: marks[weight]["mrr"])
    found = {
        f"{name}, first {DEPTH} {'re-ranked' if weight else 'alone'}": value
        for weight in dict.fromkeys((0.0, best))
        for name, value in marks[weight].items()
    }
    return best, found


def _closer(towers: Any, model: Any, heads: TokenHeads, text: str, patches: Tensor) -> Any:
    states, there = towers.states_of(model, [text])
    return max_sim(patches, heads.words(states), there).float().cpu().numpy()
