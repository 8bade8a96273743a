"""One pass over the corpus with the encoder as it is now, for objectives that look at all of it before an epoch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..corpus.stream import Batch, Plan
from ..views.random import sample_keys
from . import build, device, distributed

M = TypeVar("M", bound=nn.Module)


def embed_plain(step: build.Step, samples: Tensor, keys: Tensor) -> Tensor:
    """What the encoder, as it would be used, makes of raw samples: (batch, width), without gradient."""
    with torch.no_grad(), evaluating(step.objective.encoder) as encoder:
        return encoder.embed(step.views.inputs(samples, keys))


@contextmanager
def evaluating(module: M) -> Iterator[M]:
    """A module in evaluation mode, in which batch statistics are neither taken nor changed."""
    module.eval()
    try:
        yield module
    finally:
        module.train()


def embeddings(
    step: build.Step,
    source: Callable[[Plan, int, int, float], Iterator[Batch]],
    plan: Plan,
    epoch: int,
    place: torch.device,
    precision: torch.dtype,
    stall_seconds: float,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids and fp32 embeddings of the samples of an epoch, a global batch at a time, the same on every worker.

    Every worker reads and embeds its own lanes, and all of them must walk equally far. An epoch's samples are the
    corpus but for the last rows that fill no batch; nothing is kept, so memory does not grow with the corpus.
    """
    steps = plan.order.steps
    for _, samples, ids in device.fed(source(plan, epoch * steps, (epoch + 1) * steps, stall_seconds), place):
        # The block ends before the batch is handed out: what the caller computes is no part of it.
        with torch.autocast(place.type, precision, enabled=precision != torch.float32):
            embedding = embed_plain(step, samples, sample_keys(ids, plan.seed, epoch))
        yield distributed.gather_detached(ids), distributed.gather_detached(embedding.float())
