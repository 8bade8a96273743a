"""Signs of collapse, read from a batch's own embeddings; `rules.py` says what they mean."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..parts.precision import full_precision


@full_precision
def feature_std(embedding_BD: Tensor) -> Tensor:
    """Deviation of unit-length embeddings times sqrt(D): 1 is healthy, 0 is collapse (SimSiam, arXiv:2011.10566)."""
    centred = normalize(embedding_BD, dim=1)
    return centred.std(dim=0).mean() * embedding_BD.shape[1] ** 0.5


@full_precision
def rankme(embedding_BD: Tensor) -> Tensor:
    """Effective rank: exp of the entropy of the singular values' shares (RankMe, arXiv:2210.02885, eq. 1)."""
    values = torch.linalg.svdvals(embedding_BD)
    share = values / values.sum().clamp_min(1e-12) + 1e-7
    return torch.exp(-(share * share.log()).sum())


@full_precision
def uniformity(embedding_BD: Tensor) -> Tensor:
    """Log of the mean Gaussian potential of all pairs on the sphere (Wang and Isola, arXiv:2005.10242).

    0 when all embeddings coincide, about -4 when they cover the sphere.
    """
    unit = normalize(embedding_BD, dim=1)
    return torch.pdist(unit).square().mul(-2).exp().mean().log()


@full_precision
def alignment(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """Mean squared distance of two views of one sample on the sphere (Wang and Isola, arXiv:2005.10242)."""
    return (normalize(first_BD, dim=1) - normalize(second_BD, dim=1)).square().sum(1).mean()


def measures(embedding_BD: Tensor, projection_BP: Tensor | None = None) -> dict[str, Tensor]:
    """The three that together notice every kind of collapse of an encoder: any one alone misses some.

    The fourth looks at what the loss compares, which collapses first: a head can do that by itself.
    """
    found = {
        "health/feature_std": feature_std(embedding_BD),
        "health/rankme": rankme(embedding_BD),
        "health/uniformity": uniformity(embedding_BD),
    }
    return found if projection_BP is None else found | {"health/projection_uniformity": uniformity(projection_BP)}
