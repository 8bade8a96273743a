"""Imputation: whether values that were hidden can be read from the features at their steps by one linear layer."""

import numpy as np
from numpy.typing import NDArray

from ..bounds import PositiveInt, Share
from ..errors import UserError
from ..evaluation.regression import errors, predictions
from ..evaluation.steps import Array, Steps, Windows, ends, interpolated
from .probe import Probe, Score


class Imputation(Probe):
    """Runs of steps are hidden from the encoder; ridge regression tells their values from the features there.

    Hidden steps are missing values to the encoder, and both sides of a gap may be seen. The same steps are hidden for
    all that is compared. Errors are of hidden values that are known, in units of the corpus's variance and deviation.

    Args:
        share: Of the steps that is hidden.
        run: Mean number of steps in a hidden run.
        neighbours: Steps on both sides of a hidden one whose interpolated values the regression without an encoder
            gets.
        change: Predict the difference from the interpolation, for encoders that take a series' level off.
        windows: Windows of each split used at most.
        samples: Hidden steps that the regression is fitted on at most.
    """

    protocol = (
        "ridge regression from features at hidden steps to their values; errors at hidden values only, as in TimesNet "
        "(arXiv:2210.02186), in runs as TST hides them (arXiv:2010.02803)"
    )
    asks = "steps"
    raw = "ridge on neighbours"

    def __init__(
        self,
        share: Share = 0.25,
        run: PositiveInt = 3,
        neighbours: PositiveInt = 8,
        change: bool = False,
        windows: PositiveInt = 500,
        samples: PositiveInt = 10_000,
    ):
        self.share, self.run, self.neighbours, self.change = share, run, neighbours, change
        self.windows, self.samples = windows, samples

    def over_time(self, windows: Windows, steps: Steps | None) -> list[Score]:
        """Mean squared and mean absolute error at hidden values, beside interpolation and the channel's mean."""
        if steps is not None:
            steps.needs_every_step("imputation")
        windows = windows.few(self.windows)
        known, targets, lines, window = self._rows(windows.train, steps, 0)
        complete = np.flatnonzero(~np.isnan(targets).any(1))
        if len(complete) > self.samples:
            complete = np.sort(np.random.default_rng(0).permutation(complete)[: self.samples])
        unseen, truth, straight, asked = self._rows(windows.test, steps, 1)
        if not len(complete) or np.isnan(truth).all():
            raise UserError(
                "imputation finds no known value to hide within the windows of a split; they need four steps or more"
            )
        base, start = (lines[complete], straight) if self.change else (np.float32(0), np.float32(0))
        predicted = predictions(known[complete], targets[complete] - base, window[complete], unseen) + start
        squared, absolute = errors(predicted, truth, asked, len(windows.test))
        beside: tuple[dict[str, float], dict[str, float]] = ({}, {})
        if steps is None:
            missed = {"interpolation": straight - truth, "channel mean": -truth}
            beside = (
                {name: float(np.nanmean(np.square(of))) for name, of in missed.items()},
                {name: float(np.nanmean(np.abs(of))) for name, of in missed.items()},
            )
        return [
            Score("MSE of hidden values", *squared, higher_is_better=False, beside=beside[0]),
            Score("MAE of hidden values", *absolute, "mae", higher_is_better=False, beside=beside[1]),
        ]

    def _rows(self, values: Array, steps: Steps | None, seed: int) -> tuple[Array, Array, Array, NDArray[np.int64]]:
        """Features, true values, interpolated values and window of each hidden step."""
        hidden = gaps(ends(values), values.shape[1], self.share, self.run, seed)
        left = np.where(hidden[:, :, None], np.float32(np.nan), values)
        window, step = np.nonzero(hidden)
        lines = interpolated(left)
        if steps is not None:
            return steps.every(left)[window, step], values[window, step], lines[window, step], window
        near = step[:, None] + np.arange(-self.neighbours, self.neighbours + 1)
        around = lines[window[:, None], near.clip(0, values.shape[1] - 1)]
        width = around.shape[1] * around.shape[2]
        return around.reshape(len(window), width), values[window, step], lines[window, step], window


def gaps(length: NDArray[np.int64], steps: int, share: float, run: int, seed: int) -> NDArray[np.bool_]:
    """Steps to hide: runs whose lengths are geometric, as are those between them. (windows, steps)

    The first and the last step of a series stay, so that its length does and every gap has two sides.

    Args:
        length: of each window.
        steps: of a window with its padding.
        share: of the steps, on average.
        run: mean length of a hidden run.
        seed: fixes the draw.
    """
    random = np.random.default_rng(seed)
    start = share / (1 - share) / run  # so that hidden and shown runs have lengths in the ratio of their shares
    state, found = random.random(len(length)) < share, np.zeros((len(length), steps), bool)
    for step in range(1, steps):
        draw = random.random(len(length))
        state = np.where(state, draw >= 1 / run, draw < start)
        found[:, step] = state & (step < length - 1)
    return found
