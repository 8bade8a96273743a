"""The few collective operations that objectives need; all of them are the identity for one worker.

Each worker's loss is the mean over its own samples and DistributedDataParallel averages gradients over workers, so
the objective of the run is the mean of the workers' losses, each times `weight()`. `gather` and `all_sum` have the
gradients that make this average equal the gradient of one worker with the whole batch.

Workers may have batches of different size. `share` says so once, before the first step; from then on the number of
rows of any worker follows from the number of this worker's rows, and nothing has to be asked.
"""

from collections.abc import Sequence
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


_shares: list[int] | None = None
"""Each worker's samples in a step; None if all have the same number."""


def share(samples: Sequence[int]) -> None:
    """Set how many samples each worker has in a step, in rank order; only their proportions matter.

    Raises:
        ValueError: there is not one positive number for each worker.
    """
    global _shares
    if len(samples) != world() or min(samples) < 1:
        raise ValueError(f"{world()} workers need as many positive numbers of samples, got {list(samples)}")
    _shares = None if len(set(samples)) == 1 else list(samples)


def weight() -> float:
    """This worker's samples over the mean of all workers: what its loss counts in the loss of the run."""
    return 1.0 if _shares is None else _shares[rank()] * world() / sum(_shares)


def rows_of_all(local_rows: int) -> list[int]:
    """How many rows each worker has where this one has `local_rows`; the same for each sample of the batch.

    Raises:
        ValueError: `local_rows` is not a number of rows that the workers' shares can have.
    """
    if _shares is None:
        return [local_rows] * world()
    scaled = [local_rows * other for other in _shares]
    if any(rows % _shares[rank()] for rows in scaled):
        raise ValueError(f"{local_rows} rows are not in the proportions {_shares} of the workers' batches")
    return [rows // _shares[rank()] for rows in scaled]


def rows_before(local_rows: int) -> int:
    """Rows of the workers before this one where this one has `local_rows`: where its rows begin after `gather`."""
    return sum(rows_of_all(local_rows)[: rank()])


def gather(local: Tensor) -> Tensor:
    """All workers' rows in rank order, with gradient: (rows, ...) -> (rows of all workers, ...)."""
    return local if world() == 1 else _Gather.apply(local)


class _Gather(Function):
    """Each worker's loss depends on every worker's rows, so the gradient of own rows is the sum over workers."""

    @staticmethod
    def forward(context: Any, local: Tensor) -> Tensor:
        context.rows = rows_of_all(len(local))
        return gather_detached(local)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.split(context.rows)[rank()]


@torch.no_grad()
def gather_detached(local: Tensor) -> Tensor:
    """All workers' rows in rank order, without gradient."""
    if world() == 1:
        return local.detach()
    rows, mine = rows_of_all(len(local)), local.detach().contiguous()
    if _shares is not None:  # a collective takes equal parts: pad to the largest, cut off afterwards
        mine = torch.cat([mine, mine.new_zeros(max(rows) - len(mine), *mine.shape[1:])])
    parts = [torch.empty_like(mine) for _ in rows]
    dist.all_gather(parts, mine)
    return torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)])


@torch.no_grad()
def gather_equal(local: Tensor) -> Tensor:
    """All workers' rows in rank order, without gradient, of which every worker has the same number."""
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
    """The mean over workers, each counted by its samples, without gradient."""
    if world() == 1:
        return local.detach()
    total = local.detach().clone() if _shares is None else local.detach() * weight()
    dist.all_reduce(total)
    return total / world()


@torch.no_grad()
def largest(local: Tensor) -> Tensor:
    """The maximum over workers of each entry, without gradient."""
    if world() == 1:
        return local.detach()
    highest = local.detach().contiguous().clone()
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    return highest


@torch.no_grad()
def from_first(local: Tensor) -> Tensor:
    """The first worker's values on every worker; all of them need a tensor of that shape."""
    if world() == 1:
        return local.detach()
    common = local.detach().contiguous().clone()
    dist.broadcast(common, src=0)
    return common


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
    return everything[order].split(rows_of_all(len(local)))[rank()], torch.argsort(order)


@torch.no_grad()
def unshuffle(shuffled: Tensor, restore: Tensor) -> Tensor:
    """Undo `shuffle` for rows computed from its result."""
    if world() == 1:
        return shuffled
    return gather_detached(shuffled)[restore].split(rows_of_all(len(shuffled)))[rank()]
