"""DINO: a student meets its own momentum teacher's distribution over prototypes (arXiv:2104.14294)."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..bounds import Fraction, Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.heads import mlp
from ..parts.losses import swapped_cross_entropy, unit
from ..parts.momentum import Embed, Momentum, cosine_momentum
from ..parts.precision import full_precision
from ..parts.prototypes import Prototypes
from ..parts.schedules import linear_rise
from ..parts.sinkhorn import sinkhorn
from ..train.distributed import mean
from .objective import Objective


class DINO(Objective):
    """Self-distillation over several crops; the teacher sees the two large ones.

    Collapse to one prototype is prevented by centring, collapse to all of them alike by the teacher's low temperature.

    Args:
        temperature: Divides the student's scores.
        teacher_temperature: Divides the teacher's scores in the first step.
        teacher_temperature_end: The same after the warm-up; above 0.07 the paper finds training unstable.
        teacher_warmup: Share of the run in which the teacher's temperature rises; 30 of 300 epochs in the paper.
        prototypes: Width of the last layer; small corpora need fewer.
        hidden: Width of the projector's two hidden layers.
        width: Width of the projection that prototypes are compared with.
        centring: `mean` subtracts a moving average from the teacher's scores, `sinkhorn` balances prototypes over the
            samples of all workers, as in SwAV and DINOv2 (arXiv:2304.07193).
        centre_momentum: Share of its old value that the moving average keeps each step.
        sinkhorn_iterations: Iterations with `centring: sinkhorn`.
        momentum: Share of its old weights that the teacher keeps in the first step.
        momentum_end: The same in the last step, along half a cosine.
        frozen: Share of the run in which prototypes do not move; the first epoch in the paper.
    """

    views = "multi_crop"

    centre: Tensor
    sharpness: Tensor

    def __init__(
        self,
        encoder: Encoder,
        temperature: Positive = 0.1,
        teacher_temperature: Positive = 0.04,
        teacher_temperature_end: Positive = 0.07,
        teacher_warmup: Fraction = 0.1,
        prototypes: PositiveInt = 65536,
        hidden: PositiveInt = 2048,
        width: PositiveInt = 256,
        centring: Literal["mean", "sinkhorn"] = "mean",
        centre_momentum: Fraction = 0.9,
        sinkhorn_iterations: PositiveInt = 3,
        momentum: Fraction = 0.996,
        momentum_end: Fraction = 1.0,
        frozen: Fraction = 0.01,
    ):
        super().__init__(encoder)
        self.temperature, self.teacher_warmup, self.frozen = temperature, teacher_warmup, frozen
        self.teacher_temperature, self.teacher_temperature_end = teacher_temperature, teacher_temperature_end
        self.centring, self.centre_momentum, self.sinkhorn_iterations = centring, centre_momentum, sinkhorn_iterations
        self.momentum, self.momentum_end = momentum, momentum_end
        self.projector = mlp([encoder.width, hidden, hidden, width], norm=False, activation=nn.GELU)
        for layer in self.projector:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = Prototypes(width, prototypes, trained=frozen == 0)
        self.teacher_encoder = Momentum(Embed(encoder))
        self.teacher_projector, self.teacher_prototypes = Momentum(self.projector), Momentum(self.prototypes)
        self.register_buffer("centre", torch.zeros(prototypes))
        self.register_buffer("sharpness", torch.tensor(self._teacher_temperature(0.0)))
        self._fresh_centres: list[Tensor] = []
        self._late = False

    def projection(self, embedding: Tensor) -> Tensor | None:
        """What the loss compares, in the second half of a run.

        Without batch normalisation projections begin nearly alike: that is collapse only if it stays so.
        """
        return self.projector(embedding) if self._late else None

    def assignments(self, embedding: Tensor) -> Tensor:
        """The student's most probable prototype."""
        return self.prototypes(unit(self.projector(embedding))).argmax(1)

    def loss(self, first: Tensor, second: Tensor, local: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of every other view's distribution with the teacher's for each large view."""
        large, views = torch.cat([first, second]), 2 + len(local)
        embedding = self.encoder.embed(large)
        if len(local):
            embedding = torch.cat([embedding, self.encoder.embed(local.flatten(0, 1))])
        scores = self.prototypes(unit(self.projector(embedding)))
        targets = self._targets(large)
        loss = swapped_cross_entropy(targets.unflatten(0, (2, -1)), scores.unflatten(0, (views, -1)) / self.temperature)
        return loss, {"teacher_entropy": torch.special.entr(targets).sum(-1).mean()}

    @torch.no_grad()
    def _targets(self, large: Tensor) -> Tensor:
        projection = unit(self.teacher_projector(self.teacher_encoder(large)))
        scores = self.teacher_prototypes(projection)
        if self.centring == "sinkhorn":
            return sinkhorn(scores, self.sharpness, self.sinkhorn_iterations)
        self._fresh_centres.append(scores.mean(0))
        return centred(scores, self.centre, self.sharpness)

    def _teacher_temperature(self, progress: float) -> float:
        return linear_rise(self.teacher_temperature, self.teacher_temperature_end, self.teacher_warmup, progress)

    def after_step(self, progress: float) -> None:
        """Move the teacher, and the centre by what was not yet part of it when it was subtracted."""
        if self._fresh_centres:
            seen = mean(torch.stack(self._fresh_centres).mean(0))
            self.centre.lerp_(seen.to(self.centre.dtype), 1 - self.centre_momentum)
            self._fresh_centres.clear()
        momentum = cosine_momentum(self.momentum, self.momentum_end, progress)
        self.teacher_encoder.follow(self.encoder, momentum)
        self.teacher_projector.follow(self.projector, momentum)
        self.teacher_prototypes.follow(self.prototypes, momentum)
        self.sharpness.fill_(self._teacher_temperature(progress))
        self.prototypes.train_when(progress >= self.frozen)
        self._late = progress > 0.5


@full_precision
def centred(scores_BK: Tensor, centre_K: Tensor, temperature: float | Tensor) -> Tensor:
    """The teacher's distribution, softmax((scores - centre) / temperature) (section 3.1)."""
    return ((scores_BK - centre_K) / temperature).softmax(dim=-1)
