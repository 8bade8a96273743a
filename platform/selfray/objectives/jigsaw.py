"""Jigsaw: in which order have the tiles of a picture been put (Noroozi and Favaro 2016, arXiv:1603.09246)."""

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..bounds import PositiveInt
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.heads import mlp
from ..parts.precision import full_precision
from ..parts.puzzle import cut, far_permutations, standardise, tile_side
from ..views.random import OBJECTIVE, uniform
from .objective import Objective

SIDES = 3


class Jigsaw(Objective):
    """Nine tiles with gaps between them go through one encoder each; a head names the permutation.

    Tiles are normalised one by one and lie anywhere in their cells. Their colours give neighbours away too: let the
    views' `grey` drop them for some samples, as the paper does (section 3.4).

    Args:
        permutations: How many permutations there are to tell apart, chosen to be far from one another; 1000 in the
            paper.
        tile_width: Width of a tile's features in the head; 512 in the paper.
        hidden: Width of the head's hidden layer; 4096 in the paper.
    """

    views = "single"
    orders: Tensor

    def __init__(
        self,
        encoder: Encoder,
        permutations: Annotated[int, Ge(2), Le(5000)] = 100,
        tile_width: PositiveInt = 128,
        hidden: PositiveInt = 512,
    ):
        super().__init__(encoder)
        if encoder.kind != "image":
            raise UserError(f"objective 'jigsaw' cuts images into tiles, and the encoder reads {encoder.kind}")
        if min(encoder.size) < 4 * SIDES:
            raise UserError(f"objective 'jigsaw' needs views of {4 * SIDES} pixels or more; set views.size")
        self.tile = tile_side(min(encoder.size) // SIDES, encoder.stride)
        self.register_buffer("orders", torch.tensor(far_permutations(SIDES**2, permutations)), persistent=False)
        self.tile_head = nn.Linear(encoder.width, tile_width)
        self.head = mlp([SIDES**2 * tile_width, hidden, permutations])

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross entropy over permutations; ln(permutations) is chance."""
        tiles, label = self.puzzle(images, keys)
        logits = self.head(self.tile_head(self._embedded(tiles)).relu().flatten(1))
        return permutation_loss(logits, label), {"jigsaw_accuracy": (logits.detach().argmax(1) == label).float().mean()}

    def puzzle(self, images: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised tiles in a random order, (batch, 9, channels, side, side), and the number of that order."""
        tiles = standardise(cut(images, keys, OBJECTIVE, SIDES, self.tile))
        label = (uniform(keys, OBJECTIVE + 1, 1)[:, 0] * len(self.orders)).long()
        sample = torch.arange(len(images), device=keys.device)[:, None]
        return tiles[sample, self.orders[label]], label

    def _embedded(self, tiles: Tensor) -> Tensor:
        """(batch, 9, width); the encoder's own normalisation is undone in advance."""
        flat = tiles.flatten(0, 1)
        mean, deviation = (value.view(1, -1, 1, 1) for value in (self.encoder.mean, self.encoder.std))
        return self.encoder.embed(flat * deviation + mean).unflatten(0, tiles.shape[:2])

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tiles as the encoder gets them, side by side."""
        tiles, _ = self.puzzle(**views)
        rows = tiles.unflatten(1, (SIDES, SIDES)).permute(0, 3, 1, 4, 2, 5)
        return {"puzzle": (rows.flatten(4).flatten(2, 3) / 4 + 0.5).clamp(0, 1)}


@full_precision
def permutation_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy, averaged over the batch."""
    return cross_entropy(logits, label)
