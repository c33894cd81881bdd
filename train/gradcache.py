"""Large batches on little memory: embed in chunks, twice (GradCache: Gao et al. 2021).

A contrastive loss needs the embeddings of the whole batch, but not everything that was computed on the way to them. So
they are computed once without remembering the way; the loss gives the gradient at each embedding; and each chunk is
computed again, now with the way, and carries its gradient back. The weights get the gradient of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Embed = Callable[[], Tensor]
"""Computes the embeddings of one chunk, rows (k, d); asked twice, it gives the same ones."""


def backward_in_chunks(sides: Sequence[Sequence[Embed]], loss_of: Callable[..., Tensor]) -> Tensor:
    """Add the gradients of ``loss_of(*rows)`` to the weights; return the loss, without a gradient.

    ``sides``: for each argument of ``loss_of``, the chunks that make it up. Dropout falls alike both times. A batch of
    one chunk is embedded only once.
    """
    if all(len(chunks) == 1 for chunks in sides):
        loss = loss_of(*(chunks[0]() for chunks in sides))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()
    states: list[list[list[Tensor]]] = []
    leaves: list[Tensor] = []
    with torch.no_grad():
        for chunks in sides:
            rows = []
            states.append([])
            for chunk in chunks:
                states[-1].append(_random_states())
                rows.append(chunk())
            leaves.append(torch.cat(rows).requires_grad_())
    loss = loss_of(*leaves)
    loss.backward()  # type: ignore[no-untyped-call]
    for chunks, before, leaf in zip(sides, states, leaves, strict=True):
        start = 0
        for chunk, state in zip(chunks, before, strict=True):
            _set_random_states(state)
            rows_again = chunk()
            if rows_again.requires_grad and leaf.grad is not None:  # a frozen side has none
                rows_again.backward(leaf.grad[start : start + len(rows_again)])  # type: ignore[no-untyped-call]
            start += len(rows_again)
    return loss.detach()


def _random_states() -> list[Tensor]:
    """Return the states of the generators that dropout may draw from: the CPU's, and the accelerator's."""
    if torch.cuda.is_available():
        return [torch.get_rng_state(), torch.cuda.get_rng_state()]
    if torch.backends.mps.is_available():
        return [torch.get_rng_state(), torch.mps.get_rng_state()]
    return [torch.get_rng_state()]


def _set_random_states(states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        (torch.cuda if torch.cuda.is_available() else torch.mps).set_rng_state(state)
