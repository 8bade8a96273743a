"""HuBERT: hidden positions tell the unit, a cluster of sounds, that was there (Hsu et al. 2021, arXiv:2106.07447)."""

from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..bounds import Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.clustering import StreamingKMeans
from ..parts.losses import classified
from ..parts.mel import one_channel
from ..parts.precision import full_precision
from ..parts.spans import random_spans
from ..parts.spectrum import LogMel, deltas, mfcc
from ..views.random import OBJECTIVE, uniform
from .objective import Objective

COEFFICIENTS, BANDS, WINDOW = 13, 40, 0.025  # of the units' MFCCs; a window in seconds


class HuBERT(Objective):
    """Cross-entropy of cosine similarities with the units of hidden positions.

    In the first part of a run units are clusters of MFCCs and their first and second differences. In the second they
    are clusters of features of one layer of the network as it was when the part began. The paper clusters the corpus
    between two runs; here k-means learns from the batches as they come, and one run has both parts.

    Args:
        share: Share of the positions where a hidden span starts; 0.08 in the paper.
        span: Positions of a span; 10 in the paper.
        clusters: Number of units; 100 in the first and 500 in the second iteration of the paper.
        layer: The layer of the encoder whose features become units; the middle one, as in the paper, if left out.
        second: Share of the run after which they do; 1 is never.
        temperature: Divides the cosine similarities; 0.1 in the paper.
        width: Width in which positions and units are compared; 256 in the paper.
    """

    views = "single"

    part: Tensor

    def __init__(
        self,
        encoder: Encoder,
        share: Annotated[float, Gt(0), Le(1)] = 0.08,
        span: PositiveInt = 10,
        clusters: PositiveInt = 100,
        layer: PositiveInt | None = None,
        second: Annotated[float, Gt(0), Le(1)] = 0.4,
        temperature: Positive = 0.1,
        width: PositiveInt = 256,
    ):
        super().__init__(encoder)
        encoder.needs_local("hubert")
        self.share, self.span, self.second, self.temperature = share, span, second, temperature
        self.teacher = encoder.shortened(layer).requires_grad_(False)
        rate = int(encoder.facts.get("rate", 16_000))
        if encoder.stride > round(rate * WINDOW):
            raise UserError(
                f"a position of the encoder covers more than {WINDOW} s; objective hubert needs a finer one"
            )
        self.front = LogMel(rate, round(rate * WINDOW), encoder.stride, BANDS)
        self.of_sound = StreamingKMeans(clusters, 3 * COEFFICIENTS)
        self.of_features = StreamingKMeans(clusters, self.teacher.width)
        self.token = nn.Parameter(torch.empty(encoder.width).uniform_())
        self.project = nn.Linear(encoder.width, width)
        self.units = nn.Parameter(torch.randn(clusters, width))
        self.register_buffer("part", torch.tensor(1))
        self._known_part = 0  # read from the buffer once, since reading it waits for the device
        self.register_load_state_dict_post_hook(lambda module, _: module.forget())

    def forget(self) -> None:
        """Look up again which part of the run this is."""
        self._known_part = 0

    def train(self, mode: bool = True) -> "HuBERT":
        """The teacher stays as it is used: without dropout."""
        super().train(mode)
        self.teacher.eval()
        return self

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over all workers' hidden positions."""
        local, counted = self.encoder.local(images)
        hidden = random_spans(keys, OBJECTIVE, counted, self.share, self.span)
        codes = self._codes(images, counted, keys)
        context = self.encoder.context(local, counted, hidden, self.token)
        logits = similarities(self.project(context), self.units) / self.temperature
        loss, right = classified(logits, codes, hidden)
        used = torch.zeros(len(self.units), device=codes.device)
        share = used.index_add(0, codes.flatten(), hidden.float().flatten()) / hidden.sum().clamp_min(1)
        perplexity = torch.special.entr(share).sum().exp()
        return loss, {"accuracy": right.detach(), "code_perplexity": perplexity, "part": self.part.float()}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Begin the second part of the run where it is due."""
        if self.second < 1 and progress >= self.second and self._part() == 1:
            state = self.encoder.state_dict()
            self.teacher.load_state_dict({name: state[name] for name in self.teacher.state_dict()})
            self.part.fill_(2)
            self.forget()

    @torch.no_grad()
    def _codes(self, images: Tensor, counted: Tensor, keys: Tensor) -> Tensor:
        """The unit of each position: int64 (batch, positions)."""
        if self._part() == 1:
            rows, means = described(self.front, images), self.of_sound
        else:
            rows, means = self.teacher(images).float(), self.of_features
        draws = uniform(keys, OBJECTIVE + 1, counted.shape[1])
        return means(rows.flatten(0, 1), counted.flatten(), draws.flatten()).view_as(counted)

    def _part(self) -> int:
        self._known_part = self._known_part or int(self.part)
        return self._known_part


def described(front: LogMel, waves: Tensor) -> Tensor:
    """MFCCs with their first and second differences over time: (batch, positions, 3 x coefficients)."""
    values = mfcc(front(one_channel(waves)), COEFFICIENTS)
    slopes = deltas(values)
    return torch.cat([values, slopes, deltas(slopes)], dim=2)


@full_precision
def similarities(rows_BPD: Tensor, units_KD: Tensor) -> Tensor:
    """Cosines of each row with each unit: (B, P, K)."""
    return normalize(rows_BPD, dim=2) @ normalize(units_KD, dim=1).T
