"""Context encoder: the missing parts of a picture from what is round them (Pathak et al. 2016, arXiv:1604.07379)."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from ..bounds import Fraction, NonNegativeInt, Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.adversary import Critic, critic_loss, fooling_loss, frozen
from ..parts.decoders import ChannelWise, Decoder, channels_of, denormalise
from ..parts.masks import random_boxes
from ..parts.precision import full_precision
from ..views.random import OBJECTIVE
from .objective import Objective

RATIO = (0.5, 2.0)  # height / width of random blocks; the paper does not state it


class Inpainting(Objective):
    """Regions are set to the corpus mean; features, mixed over positions, are decoded to what was there.

    Args:
        region: `blocks` at random places, which may overlap, or one block in the `centre`.
        share: Largest share of the picture that is missing; a quarter in the paper.
        blocks: How many blocks share it.
        border: Width in pixels of the rim of a region that the encoder still sees; 4 in the paper's code.
        border_weight: What the rim counts; 10 in the paper (section 3.2).
        adversarial: Share of the adversarial loss, 0.001 in the paper; 0 trains no critic.
        critic_width: Channels of the critic's first layer.
    """

    views = "single"

    def __init__(
        self,
        encoder: Encoder,
        region: Literal["blocks", "centre"] = "blocks",
        share: Fraction = 0.25,
        blocks: PositiveInt = 4,
        border: NonNegativeInt = 0,
        border_weight: Positive = 10.0,
        adversarial: Fraction = 0.0,
        critic_width: PositiveInt = 32,
    ):
        super().__init__(encoder)
        self.region, self.share, self.blocks, self.border = region, share, blocks, border
        self.border_weight, self.adversarial_share = border_weight, adversarial
        self.mix = ChannelWise(math.prod(encoder.grid), encoder.width)
        self.decoder = Decoder(encoder, encoder.width, channels_of(encoder))
        self.critic = Critic(encoder.size, channels_of(encoder), critic_width) if adversarial else None

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted squared error inside the regions, in units of the corpus's variance, and the adversary's."""
        missing, hole, filled = self._filled(images, keys)
        real = self.encoder.normalise(images)
        weights = missing + (self.border_weight - 1) * (missing - hole)
        rebuilding = region_error(filled, real, weights)
        if self.critic is None:
            return rebuilding, {}
        fake = torch.where(missing > 0, filled, real)
        critic = critic_loss(self.critic(real), self.critic(fake.detach()))
        fooling = fooling_loss(frozen(self.critic, fake))
        loss = (1 - self.adversarial_share) * rebuilding + self.adversarial_share * fooling + critic
        return loss, {"rebuilding": rebuilding.detach(), "critic": critic.detach(), "fooling": fooling.detach()}

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the encoder saw, and the same with the regions filled."""
        images = views["images"]
        missing, hole, filled = self._filled(**views)
        blank = denormalise(self.encoder, torch.zeros_like(images))
        return {
            "seen": torch.where(hole > 0, blank, images).clamp(0, 1),
            "inpainted": torch.where(missing > 0, denormalise(self.encoder, filled), images).clamp(0, 1),
        }

    def _filled(self, images: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        missing = self._missing(images, keys)
        hole = shrunk(missing, self.border)
        seen = torch.where(hole > 0, denormalise(self.encoder, torch.zeros_like(images)), images)
        features = self.encoder(seen)[:, self.encoder.extra :]
        return missing, hole, self.decoder(self.mix(features))

    def _missing(self, images: Tensor, keys: Tensor) -> Tensor:
        """1 in the regions and 0 elsewhere: (batch, 1, height, width)."""
        height, width = images.shape[2:]
        if self.region == "centre":
            h, w = (max(1, round(side * math.sqrt(self.share))) for side in (height, width))
            mask = images.new_zeros(len(images), 1, height, width)
            top, left = (height - h) // 2, (width - w) // 2
            mask[:, :, top : top + h, left : left + w] = 1
            return mask
        part = self.share / self.blocks
        each = random_boxes(keys, OBJECTIVE, self.blocks, (height, width), (part, part), RATIO)
        return each.any(dim=1, keepdim=True).to(images.dtype)


def shrunk(mask_B1HW: Tensor, pixels: int) -> Tensor:
    """A mask without its rim of that width; the picture's own border is no rim."""
    if not pixels:
        return mask_B1HW
    return 1 - max_pool2d(1 - mask_B1HW, 2 * pixels + 1, stride=1, padding=pixels)


@full_precision
def region_error(prediction: Tensor, target: Tensor, weights_B1HW: Tensor) -> Tensor:
    """The squared error averaged over each sample's region by weight, then over samples (equation 1)."""
    errors = ((prediction - target.detach()).square().mean(1, keepdim=True) * weights_B1HW).flatten(1).sum(1)
    return (errors / weights_B1HW.flatten(1).sum(1)).mean()
