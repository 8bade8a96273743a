"""Bidirectional Transformer from transformers, configured from scratch (BERT, arXiv:1810.04805)."""

from typing import ClassVar, Literal

from torch import Tensor, nn

from ..bounds import Fraction, PositiveInt
from ..parts.words import Pooling, first_deviation, fits, layout, pooled
from .encoder import Encoder
from .inputs import text

SHAPES = {  # width, layers, heads: Turc et al. 2019, arXiv:1908.08962
    "tiny": (128, 2, 2),
    "mini": (256, 4, 4),
    "small": (512, 4, 8),
    "medium": (512, 8, 8),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}


class Bert(Encoder):
    """A Transformer in which every token sees the whole of its document.

    In packed rows documents do not see each other and positions start anew in each. In other rows what follows the
    first [SEP] is a second segment.

    Args:
        shape: Width, layers and heads: tiny 128/2/2, mini 256/4/4, small 512/4/8, medium 512/8/8, base 768/12/12,
            large 1024/24/16.
        layers: Number of layers, if other than the shape's.
        dropout: Share of features and attention weights that are dropped in training; contrastive methods on text get
            their two views from it.
        pooling: The vector of a row is that of its first token ([CLS]), the `mean` over tokens, or the `last` one's.
    """

    kind: ClassVar[str] = "text"

    def __init__(
        self,
        channels: int,
        size: tuple[int],
        shape: Literal["tiny", "mini", "small", "medium", "base", "large"] = "base",
        layers: PositiveInt | None = None,
        dropout: Fraction = 0.1,
        pooling: Pooling = "mean",
    ):
        from transformers import BertConfig, BertModel

        super().__init__(channels, size)
        width, depth, heads = SHAPES[shape]
        self.network = BertModel(
            BertConfig(
                vocab_size=channels,
                hidden_size=width,
                num_hidden_layers=layers or depth,
                num_attention_heads=heads,
                intermediate_size=4 * width,
                max_position_embeddings=size[0],
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
                pad_token_id=None,
                initializer_range=first_deviation(width),
            ),
            add_pooling_layer=False,
        )
        self.width, self.stride, self.pooling = width, 1, pooling

    @property
    def words(self) -> nn.Embedding:
        """The word embeddings, which heads share."""
        found: nn.Embedding = self.network.embeddings.word_embeddings
        return found

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """int64 (batch, length) -> (batch, length, width).

        Raises:
            UserError: rows are longer than those it was made for.
        """
        fits(inputs, self.size)
        how = layout(inputs, self.facts, hidden_BL=mask)
        features: Tensor = self.network(
            input_ids=inputs,
            attention_mask=how.seen,
            token_type_ids=how.segments,
            position_ids=how.places,
        ).last_hidden_state
        return features

    def embed(self, inputs: Tensor) -> Tensor:
        """One vector a row of tokens, (batch, width); padding does not count."""
        tokens = text(inputs, self.size)
        return pooled(self(tokens), tokens != self.facts.get("pad", 0), self.pooling)
