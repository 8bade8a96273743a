"""The one thing a new method has to say: what to minimise on unlabeled data."""

from collections.abc import Callable, Iterator
from typing import ClassVar

from torch import Tensor, nn

from ..encoders.encoder import Encoder

Embeddings = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Starts a walk over the corpus: ids (batch,) and embeddings (batch, width) of all workers, a batch at a time."""


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

    adversarial: ClassVar[bool] = False
    """Whether its parts minimise losses against each other, so that their sum need not fall."""

    loss: Callable[..., tuple[Tensor, dict[str, Tensor]]]
    """Takes the views by name; returns the mean loss over this worker's batch and named scalars to log, detached.

    An argument `ids` gets the samples' numbers in the corpus, int64 (batch,).
    """

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def after_step(self, progress: float) -> None:
        """Update what gradients do not, such as a momentum encoder or a queue; `progress` is in (0, 1]."""

    def projection(self, embedding: Tensor) -> Tensor | None:
        """What the loss compares, of the encoder's embeddings: a head may collapse long before the encoder shows it.

        (batch, width) -> (batch, width of the projection); None where nothing of the kind can collapse.
        """
        return None

    def assignments(self, embedding: Tensor) -> Tensor | None:
        """The number of the cluster that each embedding belongs to, (batch, width) -> int64 (batch,); None without."""
        return None

    def before_epoch(self, epoch: int, embeddings: Embeddings) -> list[nn.Parameter]:
        """Look at the whole corpus before an epoch's first step; called on all workers, with equal random numbers.

        It is not called when a run resumes within an epoch: what it finds out must be in buffers. Every worker must
        take equally many batches from `embeddings()`, which costs a pass over the corpus each time it is called.

        Returns:
            Parameters that were made anew, so that what the optimizer remembers of them is dropped.
        """
        return []

    def advice(self, rows: int, batch: int) -> list[str]:
        """Sentences of warning about settings that do not suit a corpus of `rows` samples; none by default."""
        return []

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the method makes of views, in the form of its data type's views; none by default.

        Images in [0, 1], (rows, channels, height, width); waveforms and series, (rows, time, ...); tokens, int64
        (rows, length of the corpus's rows). The report shows them, and plays what can be heard.
        """
        return {}

    def forward(self, views: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """`loss` on the views; DistributedDataParallel hooks `forward`."""
        return self.loss(**views)
