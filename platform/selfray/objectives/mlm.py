"""Masked language model: hidden words are told from those around them (BERT, arXiv:1810.04805)."""

import torch
from torch import Tensor

from ..encoders.encoder import Encoder
from ..parts.vocabulary import WordHead, Words, mean_of_all, word_losses, word_scalars
from ..parts.words import word_embeddings
from .objective import Objective


class MLM(Objective):
    """Cross entropy of the words at the places that the views chose, through a head tied to the word embeddings.

    Only these places go through the head, a piece of the vocabulary's logits at a time. The mean is over all workers'
    places. How many are chosen and what stands there instead are settings of the views.
    """

    views = "masked"

    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        words = word_embeddings(encoder, "mlm", causal=False)
        self.head = WordHead(encoder.width, words.embedding_dim, words.num_embeddings)

    def loss(
        self, tokens: Tensor, places: Tensor, real: Tensor, target: Tensor, keys: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over all places chosen."""
        words = word_embeddings(self.encoder, "mlm", causal=False)
        said = said_at(self.encoder(tokens), self.head, words.weight, places, real, target)
        return mean_of_all(said.loss, real.sum()), word_scalars(said, real.sum())

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """`filled`: the rows with the likeliest word at each place chosen."""
        words = word_embeddings(self.encoder, "mlm", causal=False).weight
        tokens, places = views["tokens"], views["places"]
        there = self.encoder(tokens).gather(1, places[..., None].expand(-1, -1, self.encoder.width))
        likeliest = (self.head(there) @ words.T + self.head.bias).argmax(-1)
        seen = tokens.gather(1, places)
        return {"filled": tokens.scatter(1, places, torch.where(views["real"], likeliest, seen))}


def said_at(
    features_BLW: Tensor, head: WordHead, words_VD: Tensor, places_BK: Tensor, real_BK: Tensor, target_BL: Tensor
) -> Words:
    """What a head says of the words at some places of each row; see `parts/vocabulary.py`."""
    there = features_BLW.gather(1, places_BK[..., None].expand(-1, -1, features_BLW.shape[2]))
    goal = target_BL.gather(1, places_BK)
    return word_losses(head(there).flatten(0, 1), words_VD, head.bias, goal.flatten(), real_BK.flatten().float())
