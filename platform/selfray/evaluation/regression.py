"""Ridge regression from features to values, as TS2Vec forecasts with (arXiv:2106.10466, section 4.2)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import intervals

STRENGTHS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
"""Of TS2Vec's code; the one with the least root of the mean squared error plus mean absolute error is taken."""
HELD = 5  # every fifth training window chooses the strength


def predictions(
    known: NDArray[np.float32], values: NDArray[np.float32], window: NDArray[np.int64], unseen: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What ridge regression says of unseen features, (rows, outputs).

    Args:
        known: features of training rows, (rows, width).
        values: what they answer to, (rows, outputs), none missing.
        window: of each training row; windows stay on one side of the choice of the strength.
        unseen: features of test rows.
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(known)
    # neighbouring values and features nearly repeat each other, which float32 cannot solve for
    known_64, unseen_64 = (scaler.transform(part.astype(np.float64)) for part in (known, unseen))
    held = window % HELD == HELD - 1
    best = STRENGTHS[len(STRENGTHS) // 2]
    if held.any() and not held.all():

        def error(strength: float) -> float:
            missed = _fitted(strength, known_64[~held], values[~held], known_64[held]) - values[held]
            return float(np.sqrt(np.square(missed).mean()) + np.abs(missed).mean())

        best = min(STRENGTHS, key=error)
    return _fitted(best, known_64, values, unseen_64)


def _fitted(
    strength: float, known: NDArray[np.float64], values: NDArray[np.float32], unseen: NDArray[np.float64]
) -> NDArray[np.float32]:
    from sklearn.linear_model import Ridge

    machine: Any = Ridge(alpha=strength).fit(known, values)
    found: NDArray[np.float32] = machine.predict(unseen).astype(np.float32)
    return found.reshape(len(unseen), -1)  # the prediction of one output has no second axis


def errors(
    predicted: NDArray[np.float32], values: NDArray[np.float32], window: NDArray[np.int64], windows: int
) -> tuple[tuple[float, intervals.Interval], tuple[float, intervals.Interval]]:
    """The mean squared and the mean absolute error over known values, each with an interval over test windows.

    Args:
        predicted: (rows, outputs).
        values: the same shape, NaN where nothing is known.
        window: of each row, below `windows`.
        windows: how many there are; one without rows counts for nothing.
    """
    missed = (predicted - values).astype(np.float64)
    known = (~np.isnan(missed)).sum(1)
    squared, absolute = (np.nansum(of, axis=1) for of in (np.square(missed), np.abs(missed)))

    def measured(sums: NDArray[np.float64]) -> tuple[float, intervals.Interval]:
        parts = np.stack([np.bincount(window, of, windows) for of in (sums, known)], axis=1).astype(np.float64)
        parts = parts[parts[:, 1] > 0]
        return float(intervals.mean(parts.sum(0)[None])[0]), intervals.of_sums(parts, intervals.mean)

    return measured(squared), measured(absolute)
