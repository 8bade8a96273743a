"""How well the order mixes a corpus that is sorted by class, beside a full shuffle.

    python benchmarks/bench_order.py

A full shuffle of ten billion samples cannot be held or read; the order reads whole chunks and mixes rows inside
windows. This prints what that costs, for some sizes of chunk and window. Nothing is read and nothing is written.
"""

from dataclasses import dataclass

import numpy as np
import results
from numpy.typing import NDArray

from selfray.corpus.order import Order

ROWS, BATCH, CLASSES, LANES = 1_000_000, 256, 100, 8
SETTINGS = ((256, 64), (256, 16), (256, 4), (64, 64), (64, 16), (16, 16), (1, 64))
"""Rows of a chunk, steps of a window."""


@dataclass(frozen=True)
class Mixing:
    """What is left of the corpus's own order in a sequence of its rows."""

    correlation: float  # of the places of neighbours in the corpus: 0 for a full shuffle, 1 for none
    mean_run: float  # neighbours of one class: 1 / (1 - 1 / classes) for a full shuffle
    longest_run: int
    chi_square: float  # of the class counts of a batch, over its degrees of freedom: 1 for a full shuffle


def main() -> None:
    """Print the table."""
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
