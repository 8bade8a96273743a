"""Rows of words from one vector each, word by word: the decoder of sentence autoencoders."""

import torch
from torch import Tensor, nn

from ..encoders.encoder import Encoder
from .positions import sincos
from .vocabulary import Words, word_losses
from .words import word_embeddings

HEAD = 64  # width of an attention head, where it divides the width


class WordDecoder(nn.Module):
    """A causal Transformer that sees the vector, by cross attention, and the words before.

    Words go in and out by the encoder's word embeddings, which belong to the encoder and are passed in.

    Args:
        encoder: Tells the width and the length of rows.
        objective: Its name, for the sentence that refuses an encoder which does not read text both ways.
        layers: Number of layers.
    """

    positions: Tensor

    def __init__(self, encoder: Encoder, objective: str, layers: int):
        super().__init__()
        width = word_embeddings(encoder, objective, causal=False).embedding_dim
        heads = width // HEAD if width % HEAD == 0 else 1
        self.register_buffer("positions", sincos(encoder.size, width), persistent=False)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor, given: Tensor, words: nn.Embedding) -> Tensor:
        """What the next words are told from: (batch, width), int64 (batch, length) -> (batch, length, width)."""
        state = words(given) + 0.02 * self.positions[: given.shape[1]]  # of the scale of the embeddings at the start
        future = torch.ones(given.shape[1], given.shape[1], dtype=torch.bool, device=given.device).triu(1)
        for layer in self.layers:
            state = layer(state, vectors[:, None], tgt_mask=future)
        features: Tensor = self.norm(state)
        return features

    def said(
        self, vectors: Tensor, tokens: Tensor, words: nn.Embedding, pad: int, given: Tensor | None = None
    ) -> tuple[Words, Tensor]:
        """What it says of every word behind the first, each from those before, and how many words that are.

        Args:
            vectors: (batch, width).
            tokens: int64, (batch, length), padding behind.
            words: The encoder's.
            pad: The number of the padding token.
            given: What it sees in place of the tokens, of the same shape.
        """
        seen, goal = (tokens if given is None else given)[:, :-1], tokens[:, 1:]
        valid = goal != pad
        features = self(vectors, seen, words).flatten(0, 1)
        losses = word_losses(features, words.weight, None, goal.flatten(), valid.flatten().float())
        return losses, valid.sum()

    @torch.no_grad()
    def written(self, vectors: Tensor, words: nn.Embedding, cls: int, sep: int, pad: int) -> Tensor:
        """The likeliest word after word: int64 (batch, length of rows), from `cls` to `sep`, padding behind."""
        rows = torch.full((len(vectors), len(self.positions)), pad, device=vectors.device)
        rows[:, 0] = cls
        going = torch.ones(len(vectors), dtype=torch.bool, device=vectors.device)
        for at in range(1, rows.shape[1]):
            features = self(vectors, rows[:, :at], words)[:, -1]
            rows[:, at] = torch.where(going, (features @ words.weight.T).argmax(1), pad)
            going &= rows[:, at] != sep
        return rows
