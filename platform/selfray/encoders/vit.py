"""Vision Transformer from transformers, configured from scratch (arXiv:2010.11929)."""

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..bounds import PositiveInt
from ..errors import UserError
from ..parts.positions import sincos
from .encoder import Encoder

SHAPES = {  # width, layers, heads
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}


class ViT(Encoder):
    """A Transformer over image patches.

    Args:
        shape: Width, layers and heads: tiny 192/12/3, small 384/12/6, base 768/12/12, large 1024/24/16.
        patch: Side of a patch in pixels; must divide the view's height and width.
        layers: Number of layers, if other than the shape's.
        positions: `learned` position embeddings, or fixed `sincos` ones as in MAE and I-JEPA.
        pooling: The vector of an image is that of the `class` token, or the `mean` over patches as in I-JEPA.
    """

    extra: ClassVar[int] = 1
    keeps: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        shape: Literal["tiny", "small", "base", "large"] = "small",
        patch: PositiveInt = 16,
        layers: PositiveInt | None = None,
        positions: Literal["learned", "sincos"] = "learned",
        pooling: Literal["class", "mean"] = "class",
    ):
        from transformers import ViTConfig, ViTModel

        super().__init__(channels, size)
        height, side = size
        if height % patch or side % patch:
            raise UserError(f"encoder.patch {patch} does not divide views of {height} x {side} pixels")
        width, depth, heads = SHAPES[shape]
        self.network = ViTModel(
            ViTConfig(
                image_size=(height, side),
                patch_size=patch,
                num_channels=channels,
                hidden_size=width,
                num_hidden_layers=layers or depth,
                num_attention_heads=heads,
                intermediate_size=4 * width,
            ),
            add_pooling_layer=False,
        )
        self.width, self.stride, self.pooling = width, patch, pooling
        if positions == "sincos":
            table = self.network.embeddings.position_embeddings.requires_grad_(False)
            with torch.no_grad():
                table[:, 0] = 0
                table[:, 1:] = sincos(self.grid, width)

    def forward(self, inputs: Tensor, mask: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """(batch, channels, height, width) in [0, 1] -> (batch, 1 + patches, width), class token first.

        Images of another size, in whole patches, get position embeddings resized to their grid.
        """
        embeddings = self.network.embeddings
        patches = embeddings.patch_embeddings.projection(self.normalise(inputs))
        tokens = patches.flatten(2).transpose(1, 2) + self._positions(patches.shape[2:])
        if keep is not None:
            tokens = tokens.gather(1, keep[:, :, None].expand(-1, -1, self.width))
        first = embeddings.cls_token + embeddings.position_embeddings[:, :1]
        features = torch.cat([first.expand(tokens.shape[0], -1, -1).to(tokens.dtype), tokens], dim=1)
        seen = None
        if mask is not None:  # the class token is always seen, so that no row of the attention is empty
            seen = torch.cat([mask.new_ones(mask.shape[0], 1), ~mask], dim=1)[:, None, None]
        for layer in self.network.layers:
            features = layer(features, seen)
        normed: Tensor = self.network.layernorm(features)
        return normed

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        own: Tensor = self.network.embeddings.position_embeddings[:, 1:]
        if tuple(grid) == self.grid:
            return own
        picture = own.transpose(1, 2).unflatten(2, self.grid)
        resized = interpolate(picture, tuple(grid), mode="bicubic", align_corners=False)
        return resized.flatten(2).transpose(1, 2)

    def pool(self, features: Tensor) -> Tensor:
        """The class token, or the mean over patches."""
        return features[:, 0] if self.pooling == "class" else features[:, 1:].mean(dim=1)
