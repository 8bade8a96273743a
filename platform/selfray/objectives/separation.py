"""Separation: which samples a mixture was made of, whatever their order (permutation-invariant, arXiv:1607.00325)."""

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from ..bounds import PositiveInt
from ..encoders.encoder import Encoder
from ..parts.maskers import Masker
from ..parts.precision import full_precision
from ..parts.ragged import masked_mean
from ..parts.sound import at_ratio, inside
from ..parts.spectrum import lengths
from ..parts.unmix import best_order, si_sdr
from ..views.random import OBJECTIVE, uniform
from .objective import Objective


class Separation(Objective):
    """Sounds of the batch are added, and masks on the mixture's spectrum give each of them back.

    The loss is minus the scale-invariant ratio of signal to distortion in the best order of the estimates.

    Args:
        sources: Sounds in a mixture; the second and later ones come from other samples of the worker's batch.
        ratio: Largest difference of their levels to the first's, in decibels; 2.5 in WSJ0-2mix (arXiv:1508.04306).
        hidden: Width of the layer between features and masks.
    """

    views = "single"

    def __init__(
        self,
        encoder: Encoder,
        sources: Annotated[int, Ge(2), Le(4)] = 2,
        ratio: Annotated[float, Ge(0)] = 2.5,
        hidden: PositiveInt = 256,
    ):
        super().__init__(encoder)
        self.sources, self.ratio = sources, ratio
        self.masker = Masker(encoder, sources, hidden, "separation")

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the mean ratio in decibels, and how much better it is than that of the mixture itself."""
        sounds = mixture_parts(images, keys, self.sources, self.ratio)
        mixture = sounds.sum(1)
        estimates = self.masker(self.encoder(mixture), mixture)
        counted = inside(lengths(mixture), mixture.shape[1])
        return separated(estimates, sounds, mixture, counted)

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mixtures of the sounds, and the sources that were found in them."""
        mixture = mixture_parts(views["images"], views["keys"], self.sources, self.ratio).sum(1)
        estimates = self.masker(self.encoder(mixture), mixture)
        return {"mixture": mixture} | {f"source {n + 1}": estimates[:, n] for n in range(self.sources)}


def mixture_parts(waves_BT: Tensor, keys: Tensor, sources: int, ratio: float) -> Tensor:
    """Each sample beside others of the batch at random levels: (B, sources, T)."""
    count = len(waves_BT)
    length = lengths(waves_BT)
    draws = uniform(keys, OBJECTIVE, sources)
    first = 1 + (draws[:, 0] * max(1, count - 1)).floor().long().clamp_max(max(0, count - 2))
    parts = [waves_BT]
    for number in range(1, sources):
        # sources of one mixture are different samples as long as the batch has enough of them
        step = (first - 1 + number - 1) % max(1, count - 1) + 1
        other = waves_BT[(torch.arange(count, device=keys.device) + step) % count]
        parts.append(at_ratio(waves_BT, other, length, ratio * (2 * draws[:, number] - 1)))
    return torch.stack(parts, dim=1)


@full_precision
def separated(
    estimates_BST: Tensor, sounds_BST: Tensor, mixture_BT: Tensor, counted_BT: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Minus the mean ratio of signal to distortion over all workers' mixtures, and its improvement."""
    counted = counted_BT[:, None]
    every = si_sdr(estimates_BST[:, :, None], sounds_BST[:, None], counted[:, None])
    ratio, _ = best_order(every)
    before = si_sdr(mixture_BT[:, None], sounds_BST, counted).mean(1)
    loss = -masked_mean(ratio, torch.ones_like(ratio, dtype=torch.bool))
    return loss, {"si_sdr": ratio.detach().mean(), "si_sdr_improvement": (ratio - before).detach().mean()}
