"""Vision Transformer from transformers, configured from scratch (arXiv:2010.11929)."""

from typing import Literal

from torch import Tensor

from ..bounds import PositiveInt
from ..errors import UserError
from .encoder import Encoder

SHAPES = {  # width, layers, heads
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}


class ViT(Encoder):
    """A Transformer over image patches; the pooled vector is that of the class token.

    Args:
        shape: Width, layers and heads: tiny 192/12/3, small 384/12/6, base 768/12/12, large 1024/24/16.
        patch: Side of a patch in pixels; must divide the view's height and width.
        layers: Number of layers, if other than the shape's.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        shape: Literal["tiny", "small", "base", "large"] = "small",
        patch: PositiveInt = 16,
        layers: PositiveInt | None = None,
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
        self.width, self.stride = width, patch

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, height, width) in [0, 1] -> (batch, 1 + patches, width), class token first."""
        features: Tensor = self.network(self.normalise(inputs)).last_hidden_state
        return features

    def pool(self, features: Tensor) -> Tensor:
        """The class token."""
        return features[:, 0]
