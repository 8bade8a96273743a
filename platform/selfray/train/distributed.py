"""The few collective operations that objectives need; all of them are the identity for one worker.

Each worker's loss is the mean over its own samples and DistributedDataParallel averages gradients over workers, so
the objective of the run is the mean of the workers' losses. `gather` and `all_sum` have the gradients that make this
average equal the gradient of one worker with the whole batch.
"""

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """How many workers train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather(local: Tensor) -> Tensor:
    """All workers' rows in rank order, with gradient: (rows, ...) -> (world x rows, ...)."""
    if world() == 1:
        return local
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(local.contiguous()))


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
    if world() == 1:
        return local
    from torch.distributed.nn.functional import all_reduce

    summed: Tensor = all_reduce(local.contiguous())
    return summed


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
    everything = gather_detached(local)
    order = torch.randperm(len(everything), device=local.device)
    if world() > 1:
        dist.broadcast(order, src=0)
    return everything[order].chunk(world())[rank()], torch.argsort(order)


@torch.no_grad()
def unshuffle(shuffled: Tensor, restore: Tensor) -> Tensor:
    """Undo `shuffle` for rows computed from its result."""
    return gather_detached(shuffled)[restore].chunk(world())[rank()]
