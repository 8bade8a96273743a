"""Convolutions over the waveform, then a Transformer, from transformers, configured from scratch (arXiv:2006.11477)."""

import copy
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..bounds import Fraction, PositiveInt
from ..errors import UserError
from ..parts.mel import one_channel
from ..parts.ragged import pooled
from ..parts.spectrum import frames_of, lengths, levelled, valid_frames
from .encoder import Encoder

SHAPES = {  # width, layers, heads, width of the convolutions
    "tiny": (128, 2, 4, 128),
    "small": (384, 6, 6, 256),
    "base": (768, 12, 12, 512),
    "large": (1024, 24, 16, 512),
}
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
STRIDE, REACH = 320, 400  # samples from position to position, and that one sees


class Wav2Vec2(Encoder):
    """A position every 320 samples, 20 ms at 16 kHz, that sees all others which are no padding.

    Waveforms have mean 0 and deviation 1 over each sound. Convolutions have layer normalisation as in the paper's
    large model, because group normalisation over time would let padding in. Features of padding are zeros.

    Args:
        shape: Width, layers, heads and width of the convolutions: tiny 128/2/4/128, small 384/6/6/256, base
            768/12/12/512, large 1024/24/16/512.
        layers: Number of layers, if other than the shape's.
        dropout: Share of features and attention weights that are dropped in training.
        reach: Positions that the convolution for relative positions sees; 128 in the paper.
        pooling: The vector of a sound is the `mean` or the `max` over time.
    """

    kind: ClassVar[str] = "audio"

    def __init__(
        self,
        channels: int,
        size: tuple[int, ...],
        shape: Literal["tiny", "small", "base", "large"] = "base",
        layers: PositiveInt | None = None,
        dropout: Fraction = 0.1,
        reach: PositiveInt = 128,
        pooling: Literal["mean", "max"] = "mean",
    ):
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        super().__init__(channels, size)
        width, depth, heads, inner = SHAPES[shape]
        self.network = Wav2Vec2Model(
            Wav2Vec2Config(
                hidden_size=width,
                num_hidden_layers=layers or depth,
                num_attention_heads=heads,
                intermediate_size=4 * width,
                conv_dim=(inner,) * len(KERNELS),
                conv_kernel=KERNELS,
                conv_stride=STRIDES,
                conv_bias=True,
                feat_extract_norm="layer",
                do_stable_layer_norm=True,
                num_conv_pos_embeddings=reach,
                num_conv_pos_embedding_groups=16,
                hidden_dropout=dropout,
                attention_dropout=dropout,
                activation_dropout=dropout,
                feat_proj_dropout=dropout,
                layerdrop=0.0,  # a dropped layer would have no gradient, which no worker may be without
                apply_spec_augment=False,
                mask_time_prob=0.0,
                mask_feature_prob=0.0,
            )
        )
        self.width, self.local_width, self.stride, self.pooling = width, inner, STRIDE, pooling

    def shortened(self, layers: int | None = None) -> "Wav2Vec2":
        """A copy that ends after so many layers of the Transformer, or after half of them."""
        known = len(self.network.encoder.layers)
        if layers and layers > known:
            raise UserError(f"objective.layer is {layers}, but the encoder has {known} layers; lower it")
        short = copy.deepcopy(self)
        short.network.encoder.layers = short.network.encoder.layers[: layers or (known + 1) // 2]
        return short

    def local(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What the convolutions make of the waveform, and which positions are no padding."""
        waves = one_channel(inputs)
        length = lengths(waves)
        count = frames_of(waves.shape[1], STRIDE)
        before = (REACH - STRIDE) // 2
        after = (count - 1) * STRIDE + REACH - before - waves.shape[1]
        found = pad(levelled(waves, length), (before, after))[:, None]
        for layer in self.network.feature_extractor.conv_layers:
            found = layer(found)
        normed: Tensor = self.network.feature_projection.layer_norm(found.transpose(1, 2))
        return normed, valid_frames(length, count, STRIDE)

    def context(
        self, local: Tensor, counted: Tensor, mask: Tensor | None = None, token: Tensor | None = None
    ) -> Tensor:
        """Features of the convolutions' results; see `forward`."""
        project = self.network.feature_projection
        hidden = project.dropout(project.projection(local))
        if mask is not None:
            blank = torch.zeros_like(hidden[0, 0]) if token is None else token.to(hidden.dtype)
            hidden = torch.where(mask[:, :, None], blank, hidden)
        encoder = self.network.encoder  # whose own forward pass picks padding by index, for which a GPU waits
        hidden = torch.where(counted[:, :, None], hidden, 0.0)
        hidden = encoder.dropout(hidden + encoder.pos_conv_embed(hidden))
        for layer in encoder.layers:
            hidden = layer(hidden, attention_mask=counted[:, None, None])
        return torch.where(counted[:, :, None], encoder.layer_norm(hidden), 0.0)

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, time) in [-1, 1], silence behind the end -> (batch, positions, width)."""
        return self.context(*self.local(inputs), mask)

    def pool(self, features: Tensor) -> Tensor:
        """The mean or the maximum over the positions that are no padding."""
        return pooled(features, self.pooling)
