"""Rotation: by how many quarter turns was a picture rotated (Gidaris et al. 2018, arXiv:1803.07728)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.precision import full_precision
from .objective import Objective

TURNS = 4


class Rotation(Objective):
    """Every picture in all four orientations, which quadruples the batch as in the paper; a linear head names them.

    Pictures that look the same upside down cannot teach anything; leave flips on and colours off as the paper does.
    """

    views = "single"

    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        if encoder.kind != "image":
            raise UserError(f"objective 'rotation' turns images, and the encoder reads {encoder.kind}")
        if len(set(encoder.size)) > 1:
            height, width = encoder.size
            raise UserError(
                f"objective 'rotation' needs square views, not {height} x {width}; set views.size to one number"
            )
        self.head = nn.Linear(encoder.width, TURNS)

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross entropy over the four turns (equation 3); ln 4 is chance."""
        logits = self.head(self.encoder.embed(turned(images)))
        label = torch.arange(TURNS, device=images.device).repeat_interleave(len(images))
        right = (logits.detach().argmax(1) == label).float().mean()
        return turn_loss(logits, label), {"rotation_accuracy": right}


def turned(images: Tensor) -> Tensor:
    """The batch by 0, 1, 2 and 3 quarter turns counterclockwise, one after the other: four times the rows."""
    return torch.cat([torch.rot90(images, turns, (2, 3)) for turns in range(TURNS)])


@full_precision
def turn_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy, averaged over all copies."""
    return cross_entropy(logits, label)
