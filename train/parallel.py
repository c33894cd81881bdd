"""Several processes, one batch: started by ``torchrun``, each embeds its share, and all see all embeddings.

    torchrun --nproc-per-node 2 -m engine.cli.main train RECIPE --data ...

One process needs none of this: every function here then gives back what it got.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = timedelta(days=1)
"""So long a process waits for the others: the first one decodes all photographs, or exports, while they do nothing."""


def join(device: str) -> int:
    """Join the processes that torchrun started, if it did; return how many there are."""
    if dist.is_torchelastic_launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
        if device == "cuda":
            torch.cuda.set_device(dist.get_node_local_rank())
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return which of the processes this is; the first one, 0, writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def leave() -> None:
    """Part from the others, at the end."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wait_for_first(*, done: bool) -> None:
    """Let process 0 do something alone: the others call this before with ``done`` false, process 0 after."""
    if dist.is_initialized() and done == (rank() == 0):
        dist.barrier()


def share(count: int) -> tuple[int, int]:
    """Return start and stop of this process's share of a batch of ``count``, which the processes divide evenly."""
    processes = dist.get_world_size() if dist.is_initialized() else 1
    each = count // processes
    return rank() * each, (rank() + 1) * each


def gathered(rows: Tensor) -> Tensor:
    """Return the rows of all processes in their order; gradients find their way back to each (CLIP, section 2.5)."""
    if not dist.is_initialized():
        return rows
    return _Gather.apply(rows)  # type: ignore[no-any-return,no-untyped-call]


class _Gather(torch.autograd.Function):
    """The rows of all processes; backwards, each row's gradients from all processes go to the one that has it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(whole)
        return whole[slice(*share(len(whole)))]


def average_buffers(model: nn.Module) -> None:
    """Give every process the same statistics of batch normalisation: each has seen its share of the photographs."""
    if dist.is_initialized():
        for buffer in filter(torch.is_floating_point, model.buffers()):
            dist.all_reduce(buffer)
            buffer /= dist.get_world_size()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the same gradients: those of the loss over the whole batch.

    Each process computes the loss of the whole batch, so what comes back through `gathered` is counted once per
    process; the mean makes it right.
    """
    if dist.is_initialized():
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()
