"""Alarms in a stream, as TS2Vec judges them (arXiv:2106.10466, section 4.3, and its code's `eval_ad_result`).

N: windows, T: steps. A score is NaN where there is none.
"""

import warnings

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Marks = NDArray[np.bool_]


def adjusted(score: Scores, smooth: int) -> Scores:
    """How far a score is above the mean of the `smooth` scores before it, in units of that mean: (N, T).

    There is none for the first steps, nor where the scores before are all 0 or unknown.
    """
    found = np.full(score.shape, np.nan)
    if score.shape[1] <= smooth:
        return found
    before = np.lib.stride_tricks.sliding_window_view(score[:, :-1], smooth, axis=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice", category=RuntimeWarning)
        mean = np.nanmean(before, axis=2)
    mean[mean <= 0] = np.nan
    found[:, smooth:] = (score[:, smooth:] - mean) / mean
    return found


def threshold(score: Scores, deviations: float) -> float:
    """Above which a score is an alarm: the mean of the scores of what is normal and so many deviations."""
    return float(np.nanmean(score) + deviations * np.nanstd(score))


def alarms(score: Scores, above: float, delay: int) -> Marks:
    """Steps whose score is above the threshold, without those within `delay` steps of an alarm before: (N, T)."""
    found = score > above  # false where there is none
    for step in range(found.shape[1]):
        found[:, step] &= ~found[:, max(0, step - delay) : step].any(axis=1)
    return found


def credited(alarm: Marks, truth: Marks, delay: int) -> Marks:
    """Alarms as they count: all of an anomaly if one came within `delay` steps of its begin, else none of it. (N, T)"""
    found = alarm.copy()
    for marks, true in zip(found, truth, strict=True):
        edges = np.flatnonzero(np.diff(true.astype(np.int8), prepend=0, append=0))
        for begin, end in edges.reshape(-1, 2):
            marks[begin:end] = marks[begin : min(begin + delay + 1, end)].any()
    return found


def counts(found: Marks, truth: Marks) -> NDArray[np.float64]:
    """True alarms, false alarms and missed steps of each window: (N, 3)."""
    return np.stack([(found & truth).sum(1), (found & ~truth).sum(1), (~found & truth).sum(1)], axis=1).astype(float)


def f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of sums of `counts`, (draws, 3)."""
    true, false, missed = sums.T
    found: NDArray[np.float64] = 2 * true / np.maximum(2 * true + false + missed, 1)
    return found


def precision(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the alarms that are true; 0 without any."""
    found: NDArray[np.float64] = sums[:, 0] / np.maximum(sums[:, 0] + sums[:, 1], 1)
    return found


def recall(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the anomalous steps that are found."""
    found: NDArray[np.float64] = sums[:, 0] / np.maximum(sums[:, 0] + sums[:, 2], 1)
    return found
