"""SwAV: each view predicts to which prototypes the other was assigned, evenly over the batch (arXiv:2006.09882)."""

import torch
from torch import Tensor

from ..bounds import Fraction, NonNegativeInt, Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.heads import mlp
from ..parts.losses import perplexity, swapped_cross_entropy, unit
from ..parts.prototypes import Prototypes
from ..parts.queue import Queue
from ..parts.sinkhorn import sinkhorn
from ..train.distributed import rank, world
from .objective import Objective


class SwAV(Objective):
    """Swapped prediction of Sinkhorn assignments, over two large and any number of small crops.

    Args:
        temperature: Divides the scores that predict.
        epsilon: Divides the scores that are assigned; larger is softer.
        iterations: Sinkhorn iterations.
        prototypes: Their number; about ten for each kind of sample in the paper.
        hidden: Width of the projector's hidden layer.
        width: Width of projections and prototypes.
        queue_size: Older projections of each large crop that take part in the assignment; a batch much smaller than
            the number of prototypes needs them (3840 for a batch of 256 in the paper). 0 is none.
        queue_after: Share of the run before the queue takes part; 15 of 200 epochs in the paper's code.
        frozen: Share of the run in which prototypes do not move; the first epoch in the paper.
    """

    views = "multi_crop"

    queue_due: Tensor

    def __init__(
        self,
        encoder: Encoder,
        temperature: Positive = 0.1,
        epsilon: Positive = 0.05,
        iterations: PositiveInt = 3,
        prototypes: PositiveInt = 3000,
        hidden: PositiveInt = 2048,
        width: PositiveInt = 128,
        queue_size: NonNegativeInt = 0,
        queue_after: Fraction = 0.075,
        frozen: Fraction = 0.0025,
    ):
        super().__init__(encoder)
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.queue_after, self.frozen = queue_after, frozen
        self.projector = mlp([encoder.width, hidden, width])
        self.prototypes = Prototypes(width, prototypes, trained=frozen == 0)
        self.queue = Queue(queue_size, 2 * width) if queue_size else None  # both large crops in a row
        self.register_buffer("queue_due", torch.tensor(False))
        self._fresh: list[Tensor] = []

    def projection(self, embedding: Tensor) -> Tensor:
        """What the loss compares."""
        projected: Tensor = self.projector(embedding)
        return projected

    def assignments(self, embedding: Tensor) -> Tensor:
        """The prototype that is most alike."""
        return self.prototypes(unit(self.projector(embedding))).argmax(1)

    def loss(self, first: Tensor, second: Tensor, local: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of every other view's prediction with each large view's assignment."""
        embedding = self.encoder.embed(torch.cat([first, second]))
        if len(local):
            embedding = torch.cat([embedding, self.encoder.embed(local.flatten(0, 1))])
        projection = unit(self.projector(embedding)).unflatten(0, (2 + len(local), -1))
        scores = self.prototypes(projection)
        targets = torch.stack([self._assigned(crop, scores[crop].detach()) for crop in (0, 1)])
        if self.queue is not None:
            self._fresh.append(projection[:2].detach().transpose(0, 1).flatten(1))
        loss = swapped_cross_entropy(targets, scores / self.temperature)
        return loss, {"prototypes_used": perplexity((scores[0] / self.temperature).softmax(-1))}

    @torch.no_grad()
    def _assigned(self, crop: int, scores: Tensor) -> Tensor:
        if self.queue is None:
            return sinkhorn(scores, self.epsilon, self.iterations)
        mine = self.queue.rows.tensor_split(world())[rank()]  # all workers hold the same: each counts a part
        older = mine.chunk(2, dim=1)[crop]
        both = torch.cat([scores, self.prototypes(older)])
        counted = torch.cat([scores.new_ones(len(scores), dtype=torch.bool), self.queue_due.expand(len(older))])
        return sinkhorn(both, self.epsilon, self.iterations, counted)[: len(scores)]

    def after_step(self, progress: float) -> None:
        """Store this step's projections, and let prototypes and queue take part when it is time."""
        if self.queue is not None:
            for projections in self._fresh:
                self.queue.push(projections)
        self._fresh.clear()
        self.queue_due.fill_(progress >= self.queue_after)
        self.prototypes.train_when(progress >= self.frozen)

    def advice(self, rows: int, batch: int) -> list[str]:
        """An even assignment of few samples to many prototypes says little about any of them."""
        seen = batch + (len(self.queue.rows) if self.queue is not None else 0)
        count = len(self.prototypes.weight)
        if seen >= count / 3:
            return []
        return [
            f"objective.prototypes is {count:,} but only {seen:,} samples at a time are assigned to them; "
            "set queue_size, raise batch, or lower prototypes"
        ]
