"""Balanced soft assignments of all workers' samples to prototypes."""

import torch
from torch import Tensor

from ..train.distributed import all_sum, largest
from .precision import full_precision


@torch.no_grad()
@full_precision
def sinkhorn(
    scores_BK: Tensor, temperature: float | Tensor, iterations: int, counted_B: Tensor | None = None
) -> Tensor:
    """The Sinkhorn-Knopp iteration on exp(scores / temperature) (SwAV, arXiv:2006.09882, eq. 3 to 5).

    In turn every prototype gets the same total over the samples of all workers, and every sample a total of 1. All is
    done on logarithms, so that no temperature that fp32 can divide by overflows or leaves a sample without a target.

    Args:
        scores_BK: This worker's samples by prototypes.
        temperature: The weight of the entropy, epsilon in the paper; larger is softer.
        iterations: How often both normalisations are done; the paper finds 3 enough.
        counted_B: True for the samples that take part in the prototypes' totals; all if left out.

    Returns:
        (B, K), rows that sum to 1; without gradient.
    """
    log_BK = scores_BK / temperature
    absent_B1 = 0.0 if counted_B is None else torch.where(counted_B, 0.0, float("-inf")).to(log_BK.dtype)[:, None]
    for _ in range(iterations):
        log_BK = log_BK - _log_total(log_BK + absent_B1)
        log_BK = log_BK - log_BK.logsumexp(dim=1, keepdim=True)
    return log_BK.exp()


def _log_total(log_BK: Tensor) -> Tensor:
    """Log of the sum of exponentials over the samples of all workers, (K,)."""
    peak = largest(log_BK.amax(dim=0))
    return peak + all_sum((log_BK - peak).exp().sum(dim=0)).log()
