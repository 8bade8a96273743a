"""ELECTRA: which tokens has a small generator put in the place of others? (Clark et al. 2020, arXiv:2003.10555)."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu

from ..bounds import NonNegative
from ..encoders.encoder import Encoder
from ..parts.precision import full_precision
from ..parts.vocabulary import WordHead, mean_of_all, word_losses
from ..parts.words import first_deviation, layout, word_embeddings
from ..views.random import OBJECTIVE, uniform
from .objective import Objective

HEAD = 64  # width of an attention head of the generator, where it divides its width


class Electra(Objective):
    """The encoder is the discriminator, which judges every token; the generator is a narrow masked language model.

    They share the word embeddings. What the generator draws carries no gradient, and a token that it guesses right
    counts as original. The paper hides all tokens that are chosen: `views: {random_share: 0, kept_share: 0}`.

    Args:
        generator: Width of the generator, as a share of the encoder's; 1/4 in the paper's small model, 1/3 in its base.
        weight: Factor of the discriminator's loss, 50 in the paper.
        adversary: Factor of the generator's loss.
    """

    views = "masked"

    def __init__(
        self,
        encoder: Encoder,
        generator: Annotated[float, Gt(0), Le(1)] = 0.25,
        weight: NonNegative = 50.0,
        adversary: NonNegative = 1.0,
    ):
        super().__init__(encoder)
        words = word_embeddings(encoder, "electra", causal=False)
        self.weight, self.adversary = weight, adversary
        self.generator = _Generator(encoder, max(1, round(generator * encoder.width)))
        self.head = WordHead(self.generator.width, words.embedding_dim, words.num_embeddings)
        self.dense, self.judge = nn.Linear(encoder.width, encoder.width), nn.Linear(encoder.width, 1)

    def loss(
        self, tokens: Tensor, places: Tensor, real: Tensor, target: Tensor, keys: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The generator's mean over masked places, and `weight` times the discriminator's over all tokens."""
        words = word_embeddings(self.encoder, "electra", causal=False)
        features = self.generator(words(tokens), tokens, self.encoder.facts)
        there = features.gather(1, places[..., None].expand(-1, -1, features.shape[2]))
        goal, draws = target.gather(1, places), uniform(keys, OBJECTIVE, places.shape[1])
        counts = real.flatten().float()
        said = word_losses(
            self.head(there).flatten(0, 1), words.weight, self.head.bias, goal.flatten(), counts, draws.flatten()
        )
        seen = target.scatter(1, places, torch.where(real, said.drawn.view_as(goal), goal))
        replaced, valid = seen != target, target != self.encoder.facts.get("pad", 0)
        judged = self.judged(self.encoder(seen))
        wrong = judgement(judged, replaced, valid)
        generator = mean_of_all(said.loss, real.sum())
        discriminator = mean_of_all(wrong, valid.sum())
        found = (judged.detach() > 0) == replaced
        return self.adversary * generator + self.weight * discriminator, {
            "perplexity": (said.loss.detach() / real.sum().clamp(min=1)).exp(),
            "discriminator": wrong.detach() / valid.sum(),
            "replaced": (replaced & valid).sum() / valid.sum(),
            "judged_right": (found & valid).sum() / valid.sum(),
        }

    def judged(self, features: Tensor) -> Tensor:
        """(batch, length, width) -> (batch, length): above 0 where a token seems to be replaced."""
        return self.judge(gelu(self.dense(features)))[..., 0]


@full_precision
def judgement(judged_BL: Tensor, replaced_BL: Tensor, valid_BL: Tensor) -> Tensor:
    """Binary cross entropy summed over the tokens that are not padding (section 2)."""
    errors = binary_cross_entropy_with_logits(judged_BL, replaced_BL.to(judged_BL.dtype), reduction="none")
    return (errors * valid_BL).sum()


class _Generator(nn.Module):
    """A masked language model's body on another's word embeddings, as deep as its encoder and as long."""

    def __init__(self, encoder: Encoder, width: int):
        from transformers import ElectraConfig, ElectraModel

        super().__init__()
        like: Any = encoder.get_submodule("network").config
        self.width = width
        self.body = ElectraModel(
            ElectraConfig(
                vocab_size=1,
                embedding_size=like.hidden_size,
                hidden_size=width,
                num_hidden_layers=like.num_hidden_layers,
                num_attention_heads=width // HEAD if width % HEAD == 0 else 1,
                intermediate_size=4 * width,
                max_position_embeddings=encoder.size[0],
                hidden_dropout_prob=like.hidden_dropout_prob,
                attention_probs_dropout_prob=like.hidden_dropout_prob,
                initializer_range=first_deviation(width),
            )
        )
        self.body.embeddings.word_embeddings = nn.Identity()  # type: ignore[assignment]  # the encoder's are used

    def forward(self, embedded: Tensor, tokens: Tensor, facts: Mapping[str, Any]) -> Tensor:
        """(batch, length, wide) and the tokens they stand for -> (batch, length, width)."""
        how = layout(tokens, facts)
        features: Tensor = self.body(
            inputs_embeds=embedded,
            attention_mask=how.seen,
            token_type_ids=how.segments,
            position_ids=how.places,
        ).last_hidden_state
        return features
