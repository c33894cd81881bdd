"""What a step of training computes: augmented photographs, losses, gradients, rates."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import make_tiny_clip
from training import TINY, same_key

from train.augment import augment, draw_variation
from train.cores import PATIENCE, Cores
from train.cross_encoder import matching
from train.gradcache import backward_in_chunks
from train.loss import Others, contrastive_loss, sigmoid_loss
from train.memory import Memory
from train.mix import best_mixture
from train.model import build_model
from train.recipe import DataRecipe
from train.schedule import learning_rate, parameter_groups
from train.tokenizer import train_tokenizer

PAGES = """
import resource
from train.cores import keep_memory

keep_memory()
import torch

def step():
    blocks = [torch.ones(40 << 20, dtype=torch.uint8) for _ in range(2)]

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_augmentation_keeps_the_size_and_varies_with_the_seed_alone() -> None:
    pixels = torch.randint(0, 256, (6, 20, 16, 3), dtype=torch.uint8)
    first, again, other = (
        augment(pixels, draw_variation(6, np.random.default_rng(seed), DataRecipe())) for seed in (1, 1, 2)
    )
    assert first.shape == (6, 3, 20, 16)
    assert 0 <= float(first.min()) <= float(first.max()) <= 255
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_of_strength_zero_only_mirrors() -> None:
    pixels = torch.randint(0, 256, (6, 20, 16, 3), dtype=torch.uint8)
    nothing = DataRecipe(crop_scale=1.0, brightness=0.0, erase=0.0)
    still = augment(pixels, draw_variation(6, np.random.default_rng(4), nothing))
    for one, two in zip(still, pixels.permute(0, 3, 1, 2).float(), strict=True):
        assert torch.allclose(one, two, atol=0.1) or torch.allclose(one, two.flip(2), atol=0.1)


def test_a_step_takes_all_cores_only_after_nobody_else_computed_for_some_time(tmp_path: Path) -> None:
    loadavg, tasks = tmp_path / "loadavg", _tasks(tmp_path, "R")
    cores, everything = Cores(loadavg, tasks), len(os.sched_getaffinity(0))
    assert cores.idle() == 1, "the system does not tell"
    loadavg.write_text("0.5 0.4 0.3 1/80 1234\n")
    assert cores.idle() == everything
    loadavg.write_text("0.5 0.4 0.3 2/80 1234\n")
    assert cores.idle() == 1
    loadavg.write_text("0.5 0.4 0.3 1/80 1234\n")
    assert [cores.idle() for _ in range(PATIENCE)] == [1] * (PATIENCE - 1) + [everything]


def test_threads_of_its_own_that_wait_without_rest_are_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "loadavg").write_text("0.5 0.4 0.3 2/80 1234\n")
    everything = len(os.sched_getaffinity(0))
    assert Cores(tmp_path / "loadavg", _tasks(tmp_path, "RR")).idle() == everything
    assert Cores(tmp_path / "loadavg", _tasks(tmp_path, "RS")).idle() == 1


def _tasks(folder: Path, states: str) -> Path:
    """Write what Linux says of threads in these states; return where."""
    for number, state in enumerate(states):
        task = folder / f"tasks-{states}" / str(number)
        task.mkdir(parents=True)
        (task / "stat").write_text(f"{number} (pt (main) R) {state} 1 1 1 0\n")
    (folder / f"tasks-{states}" / "ended").mkdir()
    return folder / f"tasks-{states}"


def test_a_daemon_that_runs_for_a_moment_takes_no_core_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([0, 3, 0, 0, 0, 1, 1, 1])
    monkeypatch.setattr(Cores, "_others", lambda self: next(looks))
    cores = Cores(tmp_path)
    assert [cores.idle(), cores.idle()] == [len(os.sched_getaffinity(0)), 1]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_a_run_takes_the_same_memory_in_every_step_and_no_new_pages() -> None:
    faults = int(
        subprocess.run([sys.executable, "-c", PAGES], check=True, capture_output=True, text=True).stdout.split()[-1]
    )
    assert faults < 8 * 2 * 40 * 256 / 3, "pages of 4 KiB; all of them anew would be thrice that"


def test_the_loss_equals_a_slow_sum_over_pairs() -> None:
    torch.manual_seed(1)
    images, texts = (torch.nn.functional.normalize(torch.randn(5, 4), dim=1) for _ in range(2))
    same = same_key("a", "b", "a", "c", "d")
    scale = torch.tensor(1.3)

    def slow(left: torch.Tensor, right: torch.Tensor) -> float:
        total = 0.0
        for i in range(5):
            logits = [math.exp(1.3) * float(left[i] @ right[j]) for j in range(5)]
            normaliser = math.log(sum(math.exp(value) for value in logits))
            answers = [j for j in range(5) if same[i, j]]
            total -= sum(logits[j] - normaliser for j in answers) / len(answers)
        return total / 5

    expected = (slow(images, texts) + slow(texts, images)) / 2
    assert float(contrastive_loss(images, texts, scale, same)) == pytest.approx(expected, rel=1e-5)


def test_the_temperature_gets_a_gradient() -> None:
    scale = torch.tensor(1.0, requires_grad=True)
    rows = torch.nn.functional.normalize(torch.randn(4, 3), dim=1)
    contrastive_loss(rows, rows, scale, torch.eye(4, dtype=torch.bool)).backward()
    assert scale.grad is not None
    assert float(scale.grad) < 0  # a sharper softmax is right where the pairs match


def test_a_sigmoid_loss_equals_a_slow_sum_over_pairs_and_leaves_out_what_nobody_knows() -> None:
    torch.manual_seed(2)
    images, texts = (torch.nn.functional.normalize(torch.randn(4, 3), dim=1) for _ in range(2))
    same, known = same_key("a", "b", "a", "c"), torch.ones(4, 4, dtype=torch.bool)
    known[0, 3] = False
    scale, bias = torch.tensor(1.1), torch.tensor(-2.0)
    expected = 0.0
    for i in range(4):
        for j in range(4):
            logit = math.exp(1.1) * float(images[i] @ texts[j]) - 2.0
            if known[i, j]:
                expected += math.log1p(math.exp(-logit if same[i, j] else logit))
    found = sigmoid_loss(images, texts, scale, bias, same, known)
    assert float(found) == pytest.approx(expected / 4, rel=1e-5)


def test_pairs_of_which_nobody_knows_do_not_change_the_loss() -> None:
    torch.manual_seed(3)
    images, texts = (torch.nn.functional.normalize(torch.randn(5, 4), dim=1) for _ in range(2))
    known = torch.ones(5, 5, dtype=torch.bool)
    known[:3, 3:] = known[3:, :3] = False
    same = torch.eye(5, dtype=torch.bool)
    alike = same.clone()
    alike[0, 4] = alike[4, 0] = True  # which nobody knows
    assert contrastive_loss(images, texts, torch.tensor(2.0), alike, known) == contrastive_loss(
        images, texts, torch.tensor(2.0), same, known
    )
    whole = contrastive_loss(images, texts, torch.tensor(2.0), same, known)
    parts = [
        contrastive_loss(images[a:b], texts[a:b], torch.tensor(2.0), same[a:b, a:b]) * (b - a)
        for a, b in ((0, 3), (3, 5))
    ]
    assert float(whole) == pytest.approx(float(sum(parts)) / 5, rel=1e-5)


def test_pairs_of_earlier_steps_are_wrong_answers_like_those_of_the_batch_but_right_answers_to_nothing() -> None:
    torch.manual_seed(5)
    images, texts = (torch.nn.functional.normalize(torch.randn(6, 4), dim=1) for _ in range(2))
    scale, same = torch.tensor(1.2), torch.eye(4, dtype=torch.bool)
    wrong = torch.tensor([[True, True], [True, False], [False, True], [True, True]])
    found = contrastive_loss(images[:4], texts[:4], scale, same, others=Others(images[4:], texts[4:], wrong))
    expected = 0.0
    for here, there in ((images, texts), (texts, images)):
        for i in range(4):
            counted = [*range(4), *(4 + j for j in range(2) if wrong[i, j])]
            logits = [math.exp(1.2) * float(here[i] @ there[j]) for j in counted]
            expected += math.log(sum(map(math.exp, logits))) - logits[i]
    assert float(found) == pytest.approx(expected / 8, rel=1e-5)


def test_a_memory_keeps_the_newest_pairs() -> None:
    memory = Memory(3, "cpu")
    for start in (0, 2):
        rows = torch.tensor([start, start + 1])
        memory.remember(rows, rows[:, None].float(), -rows[:, None].float())
    assert memory.rows.tolist() == [2, 3, 0]
    assert memory.images.flatten().tolist() == [2, 3, 0]
    assert memory.titles.flatten().tolist() == [-2, -3, 0]


def test_negatives_are_hard_and_never_right() -> None:
    near = torch.zeros(4, 4)
    near[0, 2] = near[3, 1] = 100.0
    same = same_key("a", "b", "a", "c")
    torch.manual_seed(1)
    text, photograph, right = matching(near, same)
    pairs = list(zip(text.tolist(), photograph.tolist(), strict=True))
    assert right.tolist() == [1.0] * 4 + [0.0] * 8
    assert not any(same[one, other] for one, other in pairs[4:]), "0 and 2 are the same"
    assert pairs[4 + 3] == (3, 1)
    alike = matching(near, torch.ones(4, 4, dtype=torch.bool))
    assert alike[2].tolist() == [1.0] * 4


def test_a_batch_in_chunks_gives_the_gradient_of_the_whole_batch() -> None:
    torch.manual_seed(4)
    tower, data = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Dropout(0.0)), torch.randn(8, 6)
    scale = torch.nn.Parameter(torch.tensor(1.0))

    def rows(start: int, stop: int) -> torch.Tensor:
        return torch.nn.functional.normalize(tower(data[start:stop]), dim=1)

    def loss(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return contrastive_loss(left, right.flip(1), scale, torch.eye(8, dtype=torch.bool))

    learning = [*tower.parameters(), scale]
    found = []
    for spans in ([(0, 8)], [(0, 3), (3, 6), (6, 8)]):
        for parameter in learning:
            parameter.grad = None
        chunks = [partial(rows, start, stop) for start, stop in spans]
        backward_in_chunks([chunks, chunks], loss)
        found.append([parameter.grad.clone() for parameter in learning if parameter.grad is not None])
    assert len(found[0]) == len(found[1]) == 3
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(whole, parts)


def test_dropout_falls_alike_both_times_that_a_chunk_is_embedded() -> None:
    seen: list[torch.Tensor] = []
    dropout, data = torch.nn.Dropout(0.5), torch.randn(4, 6, requires_grad=True)

    def rows(start: int, stop: int) -> torch.Tensor:
        seen.append(dropout(data[start:stop]))
        return seen[-1]

    chunks = [partial(rows, 0, 2), partial(rows, 2, 4)]
    backward_in_chunks([chunks], lambda all_rows: all_rows.square().sum())
    first, second = seen[:2], seen[2:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[100] == pytest.approx(0.0, abs=1e-9)


def test_layers_far_from_the_output_learn_more_slowly_and_norms_do_not_decay(tmp_path: Path) -> None:
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(make_tiny_clip(tmp_path / "clip"))
    scale = {
        id(parameter): (group["scale"], group["weight_decay"])
        for group in parameter_groups(model, 0.1, 0.5)
        for parameter in group["params"]
    }
    assert len(scale) == len(list(model.parameters()))
    vision = model.vision_model
    assert scale[id(model.visual_projection.weight)] == (1.0, 0.1)
    assert scale[id(vision.encoder.layers[1].mlp.fc1.weight)] == (0.5, 0.1)
    assert scale[id(vision.encoder.layers[0].mlp.fc1.weight)] == (0.25, 0.1)
    assert scale[id(vision.embeddings.patch_embedding.weight)] == (0.125, 0.1)
    assert scale[id(vision.encoder.layers[1].layer_norm1.weight)] == (0.5, 0.0)
    assert scale[id(model.logit_scale)] == (1.0, 0.0)


def test_in_a_hybrid_tower_the_transformer_is_above_the_stages() -> None:
    model = build_model(TINY.model, train_tokenizer(["a dress"], 600, 77))
    scale = {id(one): group["scale"] for group in parameter_groups(model, 0.1, 0.5) for one in group["params"]}
    tower = model.vision_model
    backbone = tower.embeddings.backbone
    inwards = [
        tower.pooler.dense.weight,
        tower.encoder.layer[0].intermediate.dense.weight,
        backbone.encoder.stages[2].layers[0].layer[0].convolution.weight,
        backbone.encoder.stages[0].layers[0].layer[0].convolution.weight,
        backbone.embedder.embedder.convolution.weight,
    ]
    assert [scale[id(one)] for one in inwards] == [1.0, 0.5, 0.25, 0.0625, 0.03125]


def test_the_best_mixture_of_weights_is_found_and_loaded() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    before = {"weight": torch.tensor([[0.0]])}
    torch.nn.init.constant_(model.weight, 1.0)
    alpha = best_mixture(model, before, lambda: -abs(model.weight.item() - 0.62))
    assert alpha == 0.6
    assert model.weight.item() == pytest.approx(0.6)
