"""What it takes to find a step in corpora of ten thousand to ten billion samples, and how well the order mixes.

    python benchmarks/bench_order.py

A full shuffle of ten billion samples cannot be held or read; the order reads whole chunks and mixes rows inside
windows. The first table is the time and the memory to know the samples of a step chosen at random, in any epoch; the
second is what the windows cost in mixing, for a corpus sorted by class. Nothing is read and nothing is written.
"""

import time
import tracemalloc
from dataclasses import dataclass
from statistics import median

import numpy as np
import results
from numpy.typing import NDArray

from selfray.corpus.order import Order

ROWS, BATCH, CLASSES, LANES = 1_000_000, 256, 100, 8
SETTINGS = ((256, 64), (256, 16), (256, 4), (64, 64), (64, 16), (16, 16), (1, 64))
"""Rows of a chunk, steps of a window."""

SIZES = tuple(10**power for power in range(4, 11))
LOOKS = 200  # steps that are looked for in each corpus


@dataclass(frozen=True)
class Mixing:
    """What is left of the corpus's own order in a sequence of its rows."""

    correlation: float  # of the places of neighbours in the corpus: 0 for a full shuffle, 1 for none
    mean_run: float  # neighbours of one class: 1 / (1 - 1 / classes) for a full shuffle
    longest_run: int
    chi_square: float  # of the class counts of a batch, over its degrees of freedom: 1 for a full shuffle


def main() -> None:
    """Print the tables."""
    found = [[f"{rows:,}", *_found(rows)] for rows in SIZES]
    print(f"one step at random of {LOOKS}, with its whole window of 64 steps; batch {BATCH}, {LANES} lanes\n")
    print(results.table(["samples", "median, ms", "slowest, ms", "peak memory, KiB"], found) + "\n")
    rows = [_row("full shuffle", measured(np.random.default_rng(0).permutation(ROWS), ROWS, BATCH, CLASSES))]
    for chunk, window in SETTINGS:
        order = Order(ROWS, BATCH, 0, LANES, chunk, window)
        lanes = range(LANES)
        epoch = np.concatenate([order.window_rows(0, number, lanes).ravel() for number in range(order.windows)])
        name = f"chunk {chunk}, window {window}: {window * BATCH / chunk:,.0f} chunks"
        rows.append(_row(name, measured(epoch, ROWS, BATCH, CLASSES)))
    rows.append(_row("not shuffled", measured(np.arange(ROWS), ROWS, BATCH, CLASSES)))
    print(f"{ROWS:,} rows, {CLASSES} classes, sorted; batch {BATCH}, {LANES} lanes, one epoch\n")
    print(results.table(["order", "correlation", "mean run", "longest run", "chi-square"], rows))


def _found(rows: int) -> list[str]:
    """Milliseconds and memory to find the samples of steps at random in a corpus of so many."""
    order, draw = Order(rows, BATCH, 0, LANES), np.random.default_rng(0)
    steps = [(int(epoch), int(step)) for epoch, step in draw.integers(0, (1000, order.steps), (LOOKS, 2))]

    def look(epoch: int, step: int) -> None:
        window, within = divmod(step, order.window)
        order.window_rows(epoch, window, range(LANES))[within]

    look(0, 0)
    times = []
    for epoch, step in steps:
        begun = time.perf_counter()
        look(epoch, step)
        times.append(1000 * (time.perf_counter() - begun))
    tracemalloc.start()
    for epoch, step in steps:
        look(epoch, step)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return [f"{median(times):.2f}", f"{max(times):.2f}", f"{peak / 1024:,.0f}"]


def measured(rows: NDArray[np.int64], total: int, batch: int, classes: int) -> Mixing:
    """Measure a sequence of the rows of a corpus of `total`, sorted by class, with classes of one size."""
    kinds = rows * classes // total
    changes = np.flatnonzero(np.diff(kinds))
    runs = np.diff(changes, prepend=-1, append=len(kinds) - 1)
    batches = kinds[: len(kinds) // batch * batch].reshape(-1, batch)
    counts = np.stack([np.bincount(kinds_of_batch, minlength=classes) for kinds_of_batch in batches])
    expected = batch / classes
    chi_square = ((counts - expected) ** 2 / expected).sum(1).mean() / (classes - 1)
    correlation = np.corrcoef(rows[:-1], rows[1:])[0, 1]
    return Mixing(float(correlation), float(runs.mean()), int(runs.max()), float(chi_square))


def _row(name: str, found: Mixing) -> list[str]:
    figures = [f"{found.correlation:.3f}", f"{found.mean_run:.2f}", str(found.longest_run), f"{found.chi_square:.2f}"]
    return [name, *figures]


if __name__ == "__main__":
    main()
