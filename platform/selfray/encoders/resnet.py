"""ResNet from transformers, configured from scratch (arXiv:1512.03385)."""

from typing import Any, Literal

from torch import Tensor, nn

from ..parts.sobel import CHANNELS, sobel
from .encoder import Encoder

DEPTHS = {
    18: ("basic", [2, 2, 2, 2]),
    34: ("basic", [3, 4, 6, 3]),
    50: ("bottleneck", [3, 4, 6, 3]),
    101: ("bottleneck", [3, 4, 23, 3]),
    152: ("bottleneck", [3, 8, 36, 3]),
}


class ResNet(Encoder):
    """A residual network without its classifier.

    Args:
        depth: Number of layers; 18 and 34 end in 512 channels, the deeper ones in 2048.
        stem: `imagenet` starts with a 7x7 convolution of stride 2 and a max pool; `cifar` with a 3x3 convolution
            that keeps the resolution (SimCLR, arXiv:2002.05709, appendix B.9); `auto` is `cifar` below 96 pixels.
        sobel: Look at edges instead of colours, as DeepCluster does.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        depth: Literal[18, 34, 50, 101, 152] = 50,
        stem: Literal["auto", "imagenet", "cifar"] = "auto",
        sobel: bool = False,
    ):
        from transformers import ResNetConfig, ResNetModel

        super().__init__(channels, size)
        self.sobel = sobel
        seen = CHANNELS if sobel else channels
        kind, depths = DEPTHS[depth]
        widths = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
        self.network = ResNetModel(
            ResNetConfig(num_channels=seen, embedding_size=64, hidden_sizes=widths, depths=depths, layer_type=kind)
        )
        small = stem == "cifar" or (stem == "auto" and min(size) < 96)
        if small:
            embedder: Any = self.network.embedder
            embedder.embedder.convolution = nn.Conv2d(seen, 64, 3, 1, 1, bias=False)
            nn.init.kaiming_normal_(embedder.embedder.convolution.weight, mode="fan_out", nonlinearity="relu")
            embedder.pooler = nn.Identity()
        self.width, self.stride = widths[-1], 8 if small else 32

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, height, width) in [0, 1] -> (batch, positions, width)."""
        images = self.normalise(inputs)
        features: Tensor = self.network(sobel(images) if self.sobel else images).last_hidden_state
        return features.flatten(2).transpose(1, 2)
