"""BERT's two tasks: hidden words, and whether one segment follows another (arXiv:1810.04805, section 3.1)."""

from typing import Annotated

from annotated_types import Gt, Lt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..bounds import Fraction
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.pairs import pairs
from ..parts.precision import full_precision
from ..parts.token_masks import choose, hide, most_chosen
from ..parts.vocabulary import WordHead, mean_of_all, word_scalars
from ..parts.words import ordinary, word_embeddings
from ..views.random import OBJECTIVE
from .mlm import said_at
from .objective import Objective


class NSP(Objective):
    """Next-sentence prediction beside the masked language model, on segments of tokens.

    Rows must hold one document each (`pack=false`). A segment ends anywhere, not with a sentence.

    Args:
        mask_ratio: Share of the tokens of a pair that are hidden, 80 % by [MASK] and 10 % by random words.
        order: Whether the two segments are exchanged instead (sentence-order prediction, arXiv:1909.11942).
        words: Factor of the masked language model's loss; 0 leaves it out.
    """

    views = "single"

    def __init__(
        self,
        encoder: Encoder,
        mask_ratio: Annotated[float, Gt(0), Lt(1)] = 0.15,
        order: bool = False,
        words: Fraction = 1.0,
    ):
        super().__init__(encoder)
        embeddings = word_embeddings(encoder, "nsp", causal=False)
        if encoder.facts.get("pack", False):
            raise UserError("objective 'nsp' needs rows of one document each; prepare the corpus with pack=false")
        self.mask_ratio, self.order, self.words = mask_ratio, order, words
        self.pooler, self.judge = nn.Linear(encoder.width, encoder.width), nn.Linear(encoder.width, 2)
        if words:
            self.head = WordHead(encoder.width, embeddings.embedding_dim, embeddings.num_embeddings)

    def loss(self, tokens: Tensor, keys: Tensor, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over pairs, and that over hidden words; label 0 is a pair that belongs together."""
        facts = self.encoder.facts
        made = pairs(tokens, keys, ids, facts, OBJECTIVE, self.order)
        seen = made.tokens
        if self.words:
            most = most_chosen(seen.shape[1], self.mask_ratio)
            chosen = choose(keys, OBJECTIVE + 2, ordinary(seen, facts), self.mask_ratio)
            masked = hide(seen, keys, OBJECTIVE + 3, chosen, most, facts)
            seen = masked.tokens
        features = self.encoder(seen)
        logits = self.judge(self.pooler(features[:, 0]).tanh())
        loss = following(logits, made.wrong.long())
        right = (logits.detach().argmax(1) == made.wrong).float().mean()
        scalars = {"pair_loss": loss.detach(), "pair_accuracy": right, "wrong_pairs": made.wrong.float().mean()}
        if self.words:
            weight = word_embeddings(self.encoder, "nsp", causal=False).weight
            said = said_at(features, self.head, weight, masked.places, masked.real, made.tokens)
            loss = loss + self.words * mean_of_all(said.loss, masked.real.sum())
            scalars |= word_scalars(said, masked.real.sum())
        return loss, scalars


@full_precision
def following(logits_B2: Tensor, wrong_B: Tensor) -> Tensor:
    """Cross entropy of the two classes."""
    return cross_entropy(logits_B2, wrong_B)
