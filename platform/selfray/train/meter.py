"""What a run says about itself: sums stay on the device and are read once an interval, not once a step."""

import math
import time
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor

from . import distributed

T = TypeVar("T")
Row = dict[str, float]


class Meter:
    """Collects the scalars of steps and turns them into one row of numbers."""

    def __init__(self, batch: int):
        self.batch = batch
        self.begun = time.perf_counter()
        self._restart()

    def _restart(self) -> None:
        self.since, self.waited, self.steps = time.perf_counter(), 0.0, 0
        self.sums: dict[str, Tensor] = {}

    def timed(self, items: Iterator[T]) -> Iterator[T]:
        """The items, with the time spent waiting for them counted as data wait."""
        while True:
            before = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            self.waited += time.perf_counter() - before
            yield item

    def add(self, loss: Tensor, scalars: dict[str, Tensor], gradient_norm: Tensor) -> None:
        """Count a step; nothing is read back from the device."""
        # Gradients are averaged over workers, so their norm tells of the other workers' losses too.
        bad = ~(torch.isfinite(loss) & torch.isfinite(gradient_norm))
        seen = {"loss": loss, "gradient_norm": gradient_norm, **scalars, "not_finite": bad}
        for name, value in seen.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.steps += 1

    def bad(self) -> bool:
        """Whether a loss since the last row was not finite on any worker (waits for the device, not for workers)."""
        return bool(self.sums) and bool(self.sums["not_finite"] > 0)

    def row(self, done: int, steps_per_epoch: int, learning_rate: float) -> Row:
        """Means over the steps since the last row and over all workers; waits for the device."""
        names = list(self.sums)
        means = distributed.mean(torch.stack([self.sums[name] for name in names]) / self.steps).tolist()
        now = time.perf_counter()
        elapsed, samples = max(now - self.since, 1e-9), self.steps * self.batch
        row = {
            "step": done,
            "epoch": done / steps_per_epoch,
            "samples": done * self.batch,
            "seconds": now - self.begun,
            "train/learning_rate": learning_rate,
            **{f"train/{name}": value for name, value in zip(names, means, strict=True)},
            "speed/samples_per_second": samples / elapsed,
            "speed/data_wait_share": self.waited / elapsed,
        }
        self._restart()
        return row


def finite(row: Row) -> dict[str, float | None]:
    """The row with what JSON and MLflow cannot hold turned into None."""
    return {name: value if math.isfinite(value) else None for name, value in row.items()}
