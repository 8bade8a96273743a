"""How far two partitions of the same samples agree, from the counts of their cells.

scikit-learn has both numbers from labels; an interval needs them a thousand times, for which counts are enough.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cells:
    """The cells of a contingency table that hold samples."""

    row: NDArray[np.int64]  # class of each cell
    column: NDArray[np.int64]  # cluster of each cell
    counts: NDArray[np.int64]  # samples in each cell


def cells(classes: NDArray[np.int64], clusters: NDArray[np.int64]) -> Cells:
    """Count the samples of every pair of class and cluster that occurs."""
    pairs, counts = np.unique(np.stack([classes, clusters]), axis=1, return_counts=True)
    return Cells(pairs[0], pairs[1], counts)


def mutual_information(table: Cells, counts: NDArray[np.int64]) -> float:
    """Mutual information by the mean of both entropies: 1 for equal partitions, near 0 for independent ones.

    Args:
        table: where the cells are.
        counts: samples in each of them.
    """
    total = counts.sum()
    shares = counts / total
    rows, columns = _margins(table, shares)
    there = shares > 0
    expected = rows[table.row] * columns[table.column]
    shared = float((shares[there] * np.log(shares[there] / expected[there])).sum())
    entropy = (_entropy(rows) + _entropy(columns)) / 2
    return shared / entropy if entropy > 0 else 1.0


def rand_index(table: Cells, counts: NDArray[np.int64]) -> float:
    """Pairs of samples that both partitions treat alike, with chance at 0 and equality at 1 (Hubert & Arabie 1985)."""
    rows, columns = (_pairs(margin) for margin in _margins(table, counts))
    together, every = _pairs(counts.astype(np.float64)), _pairs(np.array([counts.sum()], np.float64))
    chance, most = rows * columns / every, (rows + columns) / 2
    return (together - chance) / (most - chance) if most > chance else 1.0


def _margins(table: Cells, counts: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = (np.bincount(of, weights=counts).astype(np.float64) for of in (table.row, table.column))
    return rows, columns


def _entropy(shares: NDArray[np.float64]) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def _pairs(counts: NDArray[np.float64]) -> float:
    return float((counts * (counts - 1) / 2).sum())
