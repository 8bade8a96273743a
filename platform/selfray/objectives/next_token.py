"""Autoregressive language model: each token is told from those before it (GPT, Radford et al. 2018)."""

import torch
from torch import Tensor

from ..encoders.encoder import Encoder
from ..parts.vocabulary import mean_of_all, word_losses, word_scalars
from ..parts.words import word_embeddings
from .objective import Objective

PROMPT, CONTINUED = 16, 48
"""Tokens of a row that are given, and that are drawn one after the other, for the report."""


class NextToken(Objective):
    """Cross entropy of the next token, with the word embeddings as the last layer.

    Padding is no target, nor is the first token of a document that follows another in a packed row: nothing that may
    be seen there says anything of it. The mean is over all workers' targets.
    """

    views = "next_token"

    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        word_embeddings(encoder, "next_token", causal=True)

    def loss(self, tokens: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over all targets."""
        words = word_embeddings(self.encoder, "next_token", causal=True).weight
        features = self.encoder(tokens).flatten(0, 1)
        said = word_losses(features, words, None, target.flatten(), valid.flatten().float())
        return mean_of_all(said.loss, valid.sum()), word_scalars(said, valid.sum())

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """`continued`: the first tokens of rows and what the model says next, drawn one by one, alike every time."""
        rows, pad = views["tokens"], self.encoder.facts.get("pad", 0)
        words = word_embeddings(self.encoder, "next_token", causal=True).weight
        generator = torch.Generator(rows.device).manual_seed(0)
        said = rows[:, :PROMPT]
        for _ in range(min(CONTINUED, rows.shape[1] - said.shape[1])):
            logits = self.encoder(said)[:, -1].float() @ words.T.float()
            logits[:, pad] = -torch.inf
            said = torch.cat([said, torch.multinomial(logits.softmax(1), 1, generator=generator)], dim=1)
        return {"continued": torch.nn.functional.pad(said, (0, rows.shape[1] - said.shape[1]), value=pad)}
