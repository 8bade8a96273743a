"""MoCo: a query finds its sample's key among many others (v1 to v3: arXiv:1911.05722, 2003.04297, 2104.02057)."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..bounds import Fraction, NonNegativeInt, Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.heads import mlp
from ..parts.losses import info_nce_in_batch, info_nce_with_queue, unit
from ..parts.momentum import Embed, Momentum, cosine_momentum
from ..parts.queue import Queue
from ..train.distributed import shuffle, unshuffle
from .objective import Objective


class MoCo(Objective):
    """Keys come from a momentum encoder; negatives from a queue of older keys, or from the batch (`queue_size: 0`).

    | version | temperature | projector | predictor | queue_size | symmetric | momentum, momentum_end |
    |---|---|---|---|---|---|---|
    | v1 | 0.07 | linear | false | 65536 | false | 0.999 |
    | v2 (default) | 0.2 | mlp | false | 65536 | false | 0.999 |
    | v3 | 0.2 (ViT), 1.0 (ResNet-50) | mlp3 | true | 0 | true | 0.99, 1.0 |

    Args:
        temperature: Divides the cosine similarities.
        momentum: Share of its old weights that the momentum encoder keeps each step; smaller corpora need less
            (0.99 for some thousands of steps).
        momentum_end: Final momentum of a cosine schedule; constant if left out.
        queue_size: Keys in the queue, any number; 0 takes the other keys of the batch as negatives, as v3 does.
        projector: `linear` (v1), `mlp` (v2: one hidden layer, no normalisation) or `mlp3` (v3: three layers with
            batch normalisation).
        predictor: A further network after the projector on the query side (v3).
        hidden: Width of hidden layers; the encoder's own width if left out.
        width: Width of queries and keys.
        symmetric: Each view is query once and key once (v3).
        batch_norm: What keeps batch statistics from telling the query its key: `shuffle` exchanges key samples
            between workers (v1, v2), `synchronise` takes statistics over all workers (v3), `local` does nothing.
    """

    views = "pair"

    def __init__(
        self,
        encoder: Encoder,
        temperature: Positive = 0.2,
        momentum: Fraction = 0.999,
        momentum_end: Fraction | None = None,
        queue_size: NonNegativeInt = 65536,
        projector: Literal["linear", "mlp", "mlp3"] = "mlp",
        predictor: bool = False,
        hidden: PositiveInt | None = None,
        width: PositiveInt = 128,
        symmetric: bool = False,
        batch_norm: Literal["shuffle", "synchronise", "local"] = "shuffle",
    ):
        super().__init__(encoder)
        self.temperature, self.symmetric, self.batch_norm = temperature, symmetric, batch_norm
        self.momentum, self.momentum_end = momentum, momentum if momentum_end is None else momentum_end
        self.synchronised_batch_norm = batch_norm == "synchronise"  # type: ignore[misc]
        inner = hidden or encoder.width
        self.projector = {
            "linear": lambda: mlp([encoder.width, width]),
            "mlp": lambda: mlp([encoder.width, inner, width], norm=False),
            "mlp3": lambda: mlp([encoder.width, inner, inner, width], last_norm=True),
        }[projector]()
        self.predictor = mlp([width, inner, width], last_norm=True) if predictor else nn.Identity()
        self.key_encoder, self.key_projector = Momentum(Embed(encoder)), Momentum(self.projector)
        self.queue = Queue(queue_size, width) if queue_size else None
        self._fresh_keys: list[Tensor] = []

    def projection(self, embedding: Tensor) -> Tensor:
        """What the loss compares."""
        projected: Tensor = self.projector(embedding)
        return projected

    def loss(self, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """InfoNCE of the first view's query with the second view's key, and the other way round if symmetric."""
        loss, accuracy = self._one_way(first, second)
        if self.symmetric:
            other, other_accuracy = self._one_way(second, first)
            loss, accuracy = (loss + other) / 2, (accuracy + other_accuracy) / 2
        if self.queue is None and self.symmetric:
            loss = loss * 4 * self.temperature  # v3 adds both directions, each times 2 x temperature
        return loss, {"contrastive_accuracy": accuracy}

    def _one_way(self, query_view: Tensor, key_view: Tensor) -> tuple[Tensor, Tensor]:
        query = self.predictor(self.projector(self.encoder.embed(query_view)))
        key = self._keys(key_view)
        if self.queue is None:
            return info_nce_in_batch(query, key, self.temperature)
        self._fresh_keys.append(key)
        return info_nce_with_queue(query, key, self.queue.rows, self.temperature)

    @torch.no_grad()
    def _keys(self, view: Tensor) -> Tensor:
        if self.batch_norm == "shuffle":
            view, restore = shuffle(view)
        key = unit(self.key_projector(self.key_encoder(view)))
        return unshuffle(key, restore) if self.batch_norm == "shuffle" else key

    def advice(self, rows: int, batch: int) -> list[str]:
        """A queue longer than the corpus holds older keys of the query's own sample as negatives."""
        size = len(self.queue.rows) if self.queue is not None else 0
        if size <= rows:
            return []
        return [
            f"objective.queue_size is {size:,} but the corpus has {rows:,} samples, so a query's own older keys count "
            "as negatives; lower queue_size"
        ]

    def after_step(self, progress: float) -> None:
        """Enqueue this step's keys (never before they were negatives to themselves), then move the key encoder."""
        if self.queue is not None:
            for key in self._fresh_keys:
                self.queue.push(key)
        self._fresh_keys.clear()
        momentum = cosine_momentum(self.momentum, self.momentum_end, progress)
        self.key_encoder.follow(self.encoder, momentum)
        self.key_projector.follow(self.projector, momentum)
