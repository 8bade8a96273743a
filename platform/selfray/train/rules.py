"""The rules that speak up about a run: what its numbers mean, where they mean trouble."""

from collections.abc import Mapping

from ..errors import UserError

LEAST_FEATURE_STD = 0.1
"""Features behind a ReLU are all positive, so a healthy encoder may show as little as 0.3."""

MOST_UNIFORMITY = -0.1
"""About -0.5 is what positive features of a healthy encoder show; 0 is collapse."""

MOST_PROJECTION_UNIFORMITY = -0.2
"""After 100 steps on digits: -0.02 for BYOL without its predictor, -0.09 for SimSiam without the stopped gradient and
-0.10 for VICReg without variance, while their encoders' embeddings looked healthy; as the papers have them -0.7, -1.8
and -2.4. BYOL comes from above: -0.16 after 50 steps.
"""

LEAST_CODE_PERPLEXITY = 4.0
"""Collapse is 1 a group: 2 with the two groups of wav2vec 2.0, where the contrastive loss falls to 0 as well."""


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
    if row.get("health/projection_uniformity", -4.0) > MOST_PROJECTION_UNIFORMITY:
        found.append(
            f"projection_uniformity is {row['health/projection_uniformity']:.2f} (0 is collapse): what the loss "
            "compares is nearly the same for all samples, so it teaches the encoder nothing"
        )
    if row.get("train/code_perplexity", LEAST_CODE_PERPLEXITY) < LEAST_CODE_PERPLEXITY:
        found.append(
            f"code_perplexity is {row['train/code_perplexity']:.1f}: nearly all positions have the same codes, so "
            "there is nothing to tell apart"
        )
    return found


def stop_if_not_finite(share: float, step: int) -> None:
    """Raise a UserError when some share of the losses up to a step was infinite or not a number."""
    if share > 0:
        raise UserError(
            f"the loss became infinite or not a number before step {step}; lower the learning rate, raise warmup, "
            "set clip=1.0, or check the corpus; the last checkpoint is from before"
        )
