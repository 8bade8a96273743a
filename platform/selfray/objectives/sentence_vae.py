"""Variational autoencoder of sentences: a code with a prior that says a row word by word (Bowman et al. 2016).

Generating Sentences from a Continuous Space, CoNLL 2016, arXiv:1511.06349.
"""

import torch
from torch import Tensor, nn

from ..bounds import Fraction, NonNegative, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.schedules import linear_rise
from ..parts.vocabulary import Words, mean_of_all
from ..parts.word_decoder import WordDecoder
from ..parts.words import ordinary, word_embeddings
from ..train.distributed import all_sum, rows_of_all
from ..views.random import OBJECTIVE, normal, uniform
from .objective import Objective
from .vae import ACTIVE_NATS, LARGEST_LOG_VARIANCE, divergence, free_bits, sampled


class SentenceVAE(Objective):
    """Minus the evidence lower bound, divided by the number of words of all workers.

    A decoder that is good at guessing a word from those before has no need of the code: the divergence goes to 0 and
    the code says nothing (posterior collapse). Against it there are words hidden from the decoder, a divergence that
    costs nothing at first, and free bits; `kl` shows whether they help.

    Args:
        latent: Dimensions of the code.
        beta: Factor of the divergence; 1 is the bound.
        rise: Share of the run over which that factor rises along a line from 0 (section 3.1); 0 for none.
        free_nats: Divergence of each dimension, averaged over the batch of all workers, below which it costs a
            constant (free bits, Kingma et al. 2016, arXiv:1606.04934, appendix C.8); 0 for none.
        hidden: Share of the words before that the decoder sees as [UNK] (word dropout, section 3.1).
        layers: Layers of the decoder.
    """

    views = "single"
    factor: Tensor

    def __init__(
        self,
        encoder: Encoder,
        latent: PositiveInt = 32,
        beta: NonNegative = 1.0,
        rise: Fraction = 0.25,
        free_nats: NonNegative = 0.0,
        hidden: Fraction = 0.25,
        layers: PositiveInt = 2,
    ):
        super().__init__(encoder)
        self.beta, self.rise, self.free_nats, self.hidden = beta, rise, free_nats, hidden
        self.decoder = WordDecoder(encoder, "sentence_vae", layers)
        self.posterior = nn.Linear(encoder.width, 2 * latent)
        self.spread = nn.Linear(latent, encoder.width)
        self.register_buffer("factor", torch.tensor(linear_rise(0.0, beta, rise, 0.0)))

    def loss(self, tokens: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The bound for each word; logged in nats a row, and as a bound of the perplexity."""
        mean, log_variance = self._posterior(tokens)
        code = self.spread(sampled(mean, log_variance, normal(keys, OBJECTIVE, mean.shape[1])))
        said, count = self.decoder.said(code, tokens, self._words, self._facts["pad"], self._given(tokens, keys))
        divergence_BD = divergence(mean, log_variance)
        priced = divergence_BD.sum(1).mean() if not self.free_nats else free_bits(divergence_BD, self.free_nats)
        words_of_a_row = all_sum(count.to(priced.dtype)) / sum(rows_of_all(len(tokens)))
        loss = mean_of_all(said.loss, count) + self.factor * priced / words_of_a_row
        return loss, _scalars(said, count, divergence_BD.detach())

    def after_step(self, progress: float) -> None:
        """The divergence costs more."""
        self.factor.fill_(linear_rise(0.0, self.beta, self.rise, progress))

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the mean code of each row says, and codes drawn from the prior: the likeliest word after word."""
        mean, _ = self._posterior(views["tokens"])
        drawn = normal(views["keys"], OBJECTIVE, mean.shape[1]).to(mean.dtype)
        ends = [self._facts[name] for name in ("cls", "sep", "pad")]
        codes = {"rebuilt": mean, "drawn from the prior": drawn}
        return {name: self.decoder.written(self.spread(code), self._words, *ends) for name, code in codes.items()}

    @property
    def _words(self) -> nn.Embedding:
        return word_embeddings(self.encoder, "sentence_vae", causal=False)

    @property
    def _facts(self) -> dict[str, int]:
        return {"pad": 0, **self.encoder.facts}

    def _posterior(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(self.encoder.embed(tokens)).chunk(2, dim=1)
        return mean, log_variance.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)

    def _given(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Rows with a share of their words hidden."""
        if not self.hidden:
            return tokens
        hidden = uniform(keys, OBJECTIVE + 1, tokens.shape[1]) < self.hidden
        return torch.where(hidden & ordinary(tokens, self._facts), self._facts["unk"], tokens)


def _scalars(said: Words, count: Tensor, divergence_BD: Tensor) -> dict[str, Tensor]:
    """Both terms of this worker's rows in nats a row, and what they say of words."""
    some, each = count.clamp(min=1), divergence_BD.mean(0)
    misfit, kl = said.loss.detach(), divergence_BD.sum()
    return {
        "misfit_nats": misfit / len(divergence_BD),
        "kl": kl / len(divergence_BD),
        "active_dimensions": (each > ACTIVE_NATS).float().mean(),
        "perplexity": ((misfit + kl) / some).exp(),
        "word_accuracy": said.right / some,
    }
