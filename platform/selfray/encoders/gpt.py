"""Causal Transformer from transformers, configured from scratch (GPT-2, Radford et al. 2019)."""

from typing import ClassVar, Literal

from torch import Tensor, nn

from ..bounds import Fraction, PositiveInt
from ..parts.words import fits, layout, pooled
from .encoder import Encoder
from .inputs import text

SHAPES = {  # width, layers, heads
    "tiny": (128, 2, 2),
    "mini": (256, 4, 4),
    "small": (512, 8, 8),
    "base": (768, 12, 12),
    "medium": (1024, 24, 16),
}


class GPT(Encoder):
    """A Transformer in which a token sees itself and what comes before it in its document.

    In packed rows documents do not see each other and positions start anew in each.

    Args:
        shape: Width, layers and heads: tiny 128/2/2, mini 256/4/4, small 512/8/8, base 768/12/12 (the smallest
            GPT-2), medium 1024/24/16.
        layers: Number of layers, if other than the shape's.
        dropout: Share of features and attention weights that are dropped in training.
        pooling: The vector of a row is the `mean` over tokens, or that of the `last` one, the only one that has seen
            all of it.
    """

    kind: ClassVar[str] = "text"
    causal: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        size: tuple[int],
        shape: Literal["tiny", "mini", "small", "base", "medium"] = "base",
        layers: PositiveInt | None = None,
        dropout: Fraction = 0.1,
        pooling: Literal["mean", "last"] = "mean",
    ):
        from transformers import GPT2Config, GPT2Model

        super().__init__(channels, size)
        width, depth, heads = SHAPES[shape]
        self.network = GPT2Model(
            GPT2Config(
                vocab_size=channels,
                n_embd=width,
                n_layer=layers or depth,
                n_head=heads,
                n_positions=size[0],
                resid_pdrop=dropout,
                embd_pdrop=dropout,
                attn_pdrop=dropout,
                use_cache=False,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
        self.width, self.stride, self.pooling = width, 1, pooling

    @property
    def words(self) -> nn.Embedding:
        """The word embeddings, which heads share."""
        found: nn.Embedding = self.network.wte
        return found

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """int64 (batch, length) -> (batch, length, width).

        Raises:
            UserError: rows are longer than those it was made for.
        """
        fits(inputs, self.size)
        how = layout(inputs, self.facts, causal=True, hidden_BL=mask)
        features: Tensor = self.network(
            input_ids=inputs,
            attention_mask=how.seen,
            position_ids=how.places,
        ).last_hidden_state
        return features

    def embed(self, inputs: Tensor) -> Tensor:
        """One vector a row of tokens, (batch, width); padding does not count."""
        tokens = text(inputs, self.size)
        return pooled(self(tokens), tokens != self.facts.get("pad", 0), self.pooling)
