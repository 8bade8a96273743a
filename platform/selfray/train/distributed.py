"""The few collective operations that objectives need; all of them are the identity for one worker.

Each worker's loss is the mean over its own samples and DistributedDataParallel averages gradients over workers, so
the objective of the run is the mean of the workers' losses. `gather` and `all_sum` have the gradients that make this
average equal the gradient of one worker with the whole batch.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


def world() -> int:
    """How many workers train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather(local: Tensor) -> Tensor:
    """All workers' rows in rank order, with gradient: (rows, ...) -> (world x rows, ...)."""
    return local if world() == 1 else _Gather.apply(local)


class _Gather(Function):
    """Each worker's loss depends on every worker's rows, so the gradient of own rows is the sum over workers."""

    @staticmethod
    def forward(context: Any, local: Tensor) -> Tensor:
        return gather_detached(local)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(world())[rank()]


@torch.no_grad()
def gather_detached(local: Tensor) -> Tensor:
    """All workers' rows in rank order, without gradient."""
    if world() == 1:
        return local.detach()
    parts = [torch.empty_like(local) for _ in range(world())]
    dist.all_gather(parts, local.detach().contiguous())
    return torch.cat(parts)


def all_sum(local: Tensor) -> Tensor:
    """The sum over workers, with gradient."""
    return local if world() == 1 else _Sum.apply(local)


class _Sum(Function):
    """Every worker's value enters every worker's sum, so gradients are summed as well."""

    @staticmethod
    def forward(context: Any, local: Tensor) -> Tensor:
        total = local.detach().contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


@torch.no_grad()
def mean(local: Tensor) -> Tensor:
    """The mean over workers, without gradient."""
    if world() == 1:
        return local.detach()
    total = local.detach().clone()
    dist.all_reduce(total)
    return total / world()


@torch.no_grad()
def shuffle(local: Tensor) -> tuple[Tensor, Tensor]:
    """Exchange rows between workers at random (MoCo, arXiv:1911.05722, section 3.3, shuffling BN).

    Returns:
        This worker's share of the shuffled rows, and what `unshuffle` needs to put results back.
    """
    if world() == 1:
        return local, torch.empty(0)
    everything = gather_detached(local)
    order = torch.randperm(len(everything), device=local.device)
    dist.broadcast(order, src=0)
    return everything[order].chunk(world())[rank()], torch.argsort(order)


@torch.no_grad()
def unshuffle(shuffled: Tensor, restore: Tensor) -> Tensor:
    """Undo `shuffle` for rows computed from its result."""
    if world() == 1:
        return shuffled
    return gather_detached(shuffled)[restore].chunk(world())[rank()]
