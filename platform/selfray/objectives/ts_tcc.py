"""TS-TCC: each view's past predicts the other view's future (Eldele et al. 2021, arXiv:2106.14112)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..bounds import NonNegative, Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.heads import mlp
from ..parts.losses import nt_xent
from ..parts.precision import full_precision
from ..parts.ragged import masked_mean
from ..parts.transformer import Transformer
from ..train.distributed import gather, gather_detached, rows_before
from ..views.random import OBJECTIVE, uniform
from .objective import Objective


class TSTCC(Objective):
    """Temporal contrast across a weak and a strong view, and contextual contrast of their contexts.

    The views' settings make the first one weak (jitter and scaling) and the second one strong (permutation and
    jitter). A context token summarises the positions up to a random one, at the same share of each series' length;
    linear layers predict the next positions of the other view from it.

    Args:
        ahead: Positions that are predicted; as many as there are, less one, if that is fewer. The paper has 40 % of
            the positions.
        width: Width of the Transformer that makes contexts; 64 in the paper's code.
        layers: Its layers; 4 in the paper's code.
        temporal: Weight of the two temporal losses.
        contextual: Weight of the contextual loss.
        temperature: Divides the cosine similarities of contexts.
    """

    views = "pair"

    key: Tensor

    def __init__(
        self,
        encoder: Encoder,
        ahead: PositiveInt = 6,
        width: PositiveInt = 64,
        layers: PositiveInt = 4,
        temporal: NonNegative = 1.0,
        contextual: NonNegative = 0.7,
        temperature: Positive = 0.2,
    ):
        super().__init__(encoder)
        encoder.needs_rows("ts_tcc")
        if encoder.grid[0] < 2:
            raise UserError("objective 'ts_tcc' needs two positions or more; lower the encoder's stride")
        self.ahead = min(ahead, encoder.grid[0] - 1)
        self.temporal, self.contextual, self.temperature = temporal, contextual, temperature
        self.enter = nn.Linear(encoder.width, width)
        self.token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.transformer = Transformer(width, layers)
        self.predict = nn.Linear(width, self.ahead * encoder.width)
        # views come without keys; the same on all workers, and continued after a restart
        self.register_buffer("key", torch.randint(1 << 62, (1,)))
        self.projector = mlp([width, encoder.width // 2, max(1, encoder.width // 4)])

    def loss(self, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation 6."""
        features = [self._features(view) for view in (first, second)]
        counts = [(one != 0).any(2).sum(1) for one in features]
        common = torch.minimum(*counts)  # a view may be shorter than the other
        now = self._now(common)
        contexts = [self._context(one, now) for one in features]
        terms = []
        for view, other in ((0, 1), (1, 0)):
            predicted = self.predict(contexts[view]).unflatten(1, (self.ahead, -1))
            terms.append(future_contrast(predicted, *future(features[other], now, common, self.ahead)))
        temporal = terms[0] + terms[1]
        one, other_one = (self.projector(context) for context in contexts)
        contextual, accuracy = nt_xent(one, other_one, self.temperature)
        loss = self.temporal * temporal + self.contextual * contextual
        return loss, {"temporal": temporal.detach(), "contextual": contextual.detach(), "context_accuracy": accuracy}

    def _features(self, view: Tensor) -> Tensor:
        return unit_rows(self.encoder(view)[:, self.encoder.extra :])

    def _now(self, count: Tensor) -> Tensor:
        """The last position of the past: the same share of each series, on all workers."""
        room = (count - self.ahead).clamp_min(1)
        return (uniform(self.key, OBJECTIVE, 1)[0] * room).floor().long().minimum(room - 1)

    def _context(self, features: Tensor, now: Tensor) -> Tensor:
        tokens = self.enter(features)
        token = self.token.to(tokens.dtype).expand(len(tokens), 1, -1)
        later = torch.arange(features.shape[1], device=now.device) > now[:, None]
        hidden = torch.cat([later.new_zeros(len(later), 1), later], dim=1)
        context: Tensor = self.transformer(torch.cat([token, tokens], dim=1), hidden)[:, 0]
        return context

    def after_step(self, progress: float) -> None:
        """Draw another end of the past in the next step."""
        self.key.add_(1)


@full_precision
def unit_rows(features_BPD: Tensor) -> Tensor:
    """Features of length 1."""
    return normalize(features_BPD, dim=2)


def future(features_BPD: Tensor, now_B: Tensor, count_B: Tensor, ahead: int) -> tuple[Tensor, Tensor]:
    """The features of the next positions, (B, ahead, D), and whether there are such: bool, (B, ahead)."""
    places = now_B[:, None] + 1 + torch.arange(ahead, device=now_B.device)
    index = places.clamp_max(features_BPD.shape[1] - 1)[:, :, None].expand(-1, -1, features_BPD.shape[2])
    return features_BPD.gather(1, index), places < count_B[:, None]


@full_precision
def future_contrast(predicted_BKD: Tensor, future_BKD: Tensor, there_BK: Tensor) -> Tensor:
    """A future finds the prediction from its own series' past among those of all workers' (equations 2 and 3)."""
    logits = torch.einsum("bkd,nkd->kbn", future_BKD, gather(predicted_BKD))
    absent = ~gather_detached(there_BK).T[:, None] & there_BK.T[:, :, None]
    own = rows_before(len(there_BK)) + torch.arange(len(there_BK), device=logits.device)
    right = logits.gather(2, own[None, :, None].expand(len(logits), -1, 1))[:, :, 0]
    return masked_mean(logits.masked_fill(absent, float("-inf")).logsumexp(2) - right, there_BK.T)
