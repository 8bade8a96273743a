"""Masked autoencoder: most patches are missing; a small decoder paints them (He et al. 2021, arXiv:2111.06377)."""

import math
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn

from ..bounds import PositiveInt
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.decoders import channels_of, denormalise
from ..parts.masks import random_order, split
from ..parts.patches import patchify, unpatchify
from ..parts.positions import sincos
from ..parts.precision import full_precision
from ..parts.transformer import Transformer
from ..views.random import OBJECTIVE
from .objective import Objective

EPS = 1e-6  # in the normalisation of a patch, as in the paper's code


class MAE(Objective):
    """Only visible patches go through the encoder; the loss is on the values of the hidden ones.

    Nothing here is tied to images: a sequence encoder that supports `keep` hides parts of the sequence.

    Args:
        mask_ratio: Share of the patches that are hidden; 0.75 in the paper.
        width: Width of the decoder; a multiple of 32 is best.
        layers: Layers of the decoder; 8 in the paper.
        normalise: Whether targets are the values of each patch at mean 0 and deviation 1 (the paper's better variant).
    """

    views = "single"
    positions: Tensor

    def __init__(
        self,
        encoder: Encoder,
        mask_ratio: Annotated[float, Gt(0), Lt(1)] = 0.75,
        width: PositiveInt = 512,
        layers: PositiveInt = 8,
        normalise: bool = True,
    ):
        super().__init__(encoder)
        encoder.needs_keep("mae")
        if math.prod(encoder.grid) < 2:
            raise UserError("objective 'mae' needs two patches or more; lower encoder.patch or raise views.size")
        self.mask_ratio, self.normalise = mask_ratio, normalise
        self.enter = nn.Linear(encoder.width, width)
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.register_buffer("positions", sincos(encoder.grid, width), persistent=False)
        self.decoder = Transformer(width, layers)
        self.leave = nn.Linear(width, channels_of(encoder) * encoder.stride ** len(encoder.grid))

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error on hidden patches."""
        predicted, hidden = self._predicted(images, keys)
        target = patchify(self.encoder.normalise(images), self.encoder.stride)
        return hidden_patch_loss(predicted, target, hidden, self.normalise), {}

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the encoder saw, and the same with the hidden patches as predicted."""
        predicted, hidden = self._predicted(**views)
        target = patchify(self.encoder.normalise(views["images"]), self.encoder.stride)
        if self.normalise:  # mean and deviation of a patch are not predicted; they are borrowed from the original
            mean, deviation = _moments(target)
            predicted = predicted * deviation + mean
        visible = torch.ones_like(target[..., :1]).scatter(1, hidden[..., None], 0.0)
        painted = target * visible + predicted * (1 - visible)
        shown = {"visible": target * visible, "painted": painted}
        return {
            name: denormalise(self.encoder, unpatchify(rows, self.encoder.grid, self.encoder.stride)).clamp(0, 1)
            for name, rows in shown.items()
        }

    def _predicted(self, images: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Values of every patch, (batch, patches, values), and the numbers of those hidden."""
        order = random_order(keys, OBJECTIVE, len(self.positions))
        keep, hidden = split(order, self.mask_ratio)
        tokens = self.enter(self.encoder(images, keep=keep))
        extra, seen = tokens.split([self.encoder.extra, keep.shape[1]], dim=1)
        masks = self.mask_token.to(seen.dtype).expand(len(seen), hidden.shape[1], -1)
        back = order.argsort(dim=1)[..., None].expand(-1, -1, seen.shape[2])
        whole = torch.cat([seen, masks], dim=1).gather(1, back) + self.positions
        painted = self.decoder(torch.cat([extra, whole], dim=1))[:, self.encoder.extra :]
        return self.leave(painted), hidden


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows.mean(-1, keepdim=True), (rows.var(-1, keepdim=True) + EPS).sqrt()


@full_precision
def hidden_patch_loss(predicted_BPV: Tensor, target_BPV: Tensor, hidden_BH: Tensor, normalise: bool) -> Tensor:
    """Squared error averaged over the values of hidden patches, then over all of them (section 3).

    V: values of a patch, H: hidden patches.
    """
    if normalise:
        mean, deviation = _moments(target_BPV)
        target_BPV = (target_BPV - mean) / deviation
    errors_BP = (predicted_BPV - target_BPV.detach()).square().mean(2)
    return errors_BP.gather(1, hidden_BH).mean()
