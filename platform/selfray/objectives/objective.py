"""The one thing a new method has to say: what to minimise on unlabeled data."""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from ..encoders.encoder import Encoder


class Objective(nn.Module):
    """An encoder, what the method adds to it, and a loss.

    The keyword arguments of `__init__` that have a default are the method's settings in a recipe; their types and
    bounds are checked from the signature. Whatever must survive a restart is a parameter or a buffer. Nothing here
    knows of optimizers, devices, logging or checkpoints; samples are coupled across workers only through
    `train/distributed.py`.
    """

    views: ClassVar[str] = "plain"
    """The kind of views it learns from: a method of `views/<data type>.py`, whose results are `loss`'s arguments."""

    synchronised_batch_norm: ClassVar[bool] = True
    """Whether batch statistics are those of all workers' samples, so that any number of workers learns the same."""

    loss: Callable[..., tuple[Tensor, dict[str, Tensor]]]
    """Takes the views by name; returns the mean loss over this worker's batch and named scalars to log, detached."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def after_step(self, progress: float) -> None:
        """Update what gradients do not, such as a momentum encoder or a queue; `progress` is in (0, 1]."""

    def advice(self, rows: int, batch: int) -> list[str]:
        """Sentences of warning about settings that do not suit a corpus of `rows` samples; none by default."""
        return []

    def forward(self, views: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """`loss` on the views; DistributedDataParallel hooks `forward`."""
        return self.loss(**views)
