"""Signs of collapse, read from a batch's own embeddings, and the rules that speak up."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import UserError
from ..parts.precision import full_precision


LEAST_FEATURE_STD = 0.1
"""Features behind a ReLU are all positive, so a healthy encoder may show as little as 0.3."""

MOST_UNIFORMITY = -0.1
"""About -0.5 is what positive features of a healthy encoder show; 0 is collapse."""


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


def measures(embedding_BD: Tensor) -> dict[str, Tensor]:
    """The three that together notice every kind of collapse: any one alone misses some."""
    return {
        "health/feature_std": feature_std(embedding_BD),
        "health/rankme": rankme(embedding_BD),
        "health/uniformity": uniformity(embedding_BD),
    }


def warnings(row: Mapping[str, float], width: int) -> list[str]:
    """What the measures of a step mean, where they mean trouble."""
    found = []
    if row.get("health/feature_std", 1.0) < LEAST_FEATURE_STD:
        found.append(
            f"feature_std is {row['health/feature_std']:.2f} (0.3 to 1 is healthy): embeddings point the same way, "
            "the encoder is collapsing"
        )
    if row.get("health/uniformity", -4.0) > MOST_UNIFORMITY:
        found.append(
            f"uniformity is {row['health/uniformity']:.2f} (0 is collapse, about -4 is spread out): "
            "nearly all embeddings coincide"
        )
    if row.get("health/rankme", width) < 0.02 * width + 1:
        found.append(f"RankMe is {row['health/rankme']:.1f} of {width}: embeddings live on a line or two")
    return found


def stop_if_not_finite(row: Mapping[str, float], step: int) -> None:
    """Raise a UserError when the loss of a step was infinite or not a number."""
    if row.get("train/not_finite", 0.0) > 0:
        raise UserError(
            f"the loss became infinite or not a number before step {step}; lower the learning rate, raise warmup, "
            "set clip=1.0, or check the corpus; the last checkpoint is from before"
        )
