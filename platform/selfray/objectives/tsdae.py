"""TSDAE: a row is rebuilt word by word from the one vector of its damaged copy (Wang et al. 2021, arXiv:2104.06979)."""

from torch import Tensor

from ..bounds import PositiveInt
from ..encoders.encoder import Encoder
from ..parts.vocabulary import mean_of_all, word_scalars
from ..parts.word_decoder import WordDecoder
from ..parts.words import word_embeddings
from .objective import Objective


class TSDAE(Objective):
    """A causal decoder that sees the encoder's vector, by cross attention, and the words before.

    The damage is a setting of the views; the paper's is `views: {deletion: 0.6}`. Words go in and out by the
    encoder's word embeddings.

    Args:
        layers: Layers of the decoder.
    """

    views = "corrupted"

    def __init__(self, encoder: Encoder, layers: PositiveInt = 2):
        super().__init__(encoder)
        self.decoder = WordDecoder(encoder, "tsdae", layers)

    def loss(self, tokens: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over all words of the rows."""
        words, pad = word_embeddings(self.encoder, "tsdae", causal=False), self.encoder.facts.get("pad", 0)
        said, count = self.decoder.said(self.encoder.embed(tokens), target, words, pad)
        return mean_of_all(said.loss, count), word_scalars(said, count)
