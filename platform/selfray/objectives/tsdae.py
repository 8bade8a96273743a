"""TSDAE: a row is rebuilt word by word from the one vector of its damaged copy (Wang et al. 2021, arXiv:2104.06979)."""

import torch
from torch import Tensor, nn

from ..bounds import PositiveInt
from ..encoders.encoder import Encoder
from ..parts.positions import sincos
from ..parts.vocabulary import mean_of_all, word_losses, word_scalars
from ..parts.words import word_embeddings
from .objective import Objective

HEAD = 64  # width of an attention head of the decoder, where it divides its width


class TSDAE(Objective):
    """A causal decoder that sees the encoder's vector, by cross attention, and the words before.

    The damage is a setting of the views; the paper's is `views: {deletion: 0.6}`. Words go in and out by the
    encoder's word embeddings.

    Args:
        layers: Layers of the decoder.
    """

    views = "corrupted"
    positions: Tensor

    def __init__(self, encoder: Encoder, layers: PositiveInt = 2):
        super().__init__(encoder)
        width = word_embeddings(encoder, "tsdae", causal=False).embedding_dim
        heads = width // HEAD if width % HEAD == 0 else 1
        self.register_buffer("positions", sincos(encoder.size, width), persistent=False)
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def loss(self, tokens: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over all words of the rows."""
        words = word_embeddings(self.encoder, "tsdae", causal=False)
        memory = self.encoder.embed(tokens)[:, None]
        given, goal = target[:, :-1], target[:, 1:]
        state = words(given) + 0.02 * self.positions[: given.shape[1]]  # of the scale of the embeddings at the start
        future = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool, device=given.device).triu(1)
        for layer in self.decoder:
            state = layer(state, memory, tgt_mask=future)
        valid = goal != self.encoder.facts.get("pad", 0)
        features = self.norm(state).flatten(0, 1)
        said = word_losses(features, words.weight, None, goal.flatten(), valid.flatten().float())
        return mean_of_all(said.loss, valid.sum()), word_scalars(said, valid.sum())
