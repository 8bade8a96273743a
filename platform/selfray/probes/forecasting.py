"""Forecasting: whether the next values of a series can be read from the features of its past by one linear layer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..bounds import PositiveInt
from ..errors import UserError
from ..evaluation.regression import errors, predictions
from ..evaluation.steps import Array, Steps, Windows, carried, ends
from .probe import Probe, Score


@dataclass(frozen=True)
class _Pasts:
    """Pasts of windows: those of all windows that end at the first step, then those that end at the next, ..."""

    end: NDArray[np.int64]  # (rows,), the first step that is not past
    window: NDArray[np.int64]  # (rows,)


class Forecasting(Probe):
    """Ridge regression from the feature of a past's last step to the next values, each horizon by itself.

    The encoder gets nothing but the past, so that no encoder can look ahead. Errors are in units of the corpus's
    variance and deviation. Missing values are no targets in the test split; in the training split they are the last
    known value.

    Args:
        horizons: Numbers of steps that are predicted.
        past: Fewest steps of a past.
        context: Last steps of a past that are seen, by the encoder and by the regression without one.
        pasts: Pasts of each split used at most; windows have several, spread evenly.
        period: Steps after which the series repeats itself, such as 24 for hours of days; adds the value of the same
            time in the last period to the comparison.
        change: Predict the difference from the last known value, for encoders that take a series' level off.
    """

    protocol = "ridge regression from the feature of the last known step to the next values (arXiv:2106.10466, 4.2)"
    asks = "steps"
    raw = "ridge on the last values"

    def __init__(
        self,
        horizons: tuple[PositiveInt, ...] = (1, 4, 16),
        past: PositiveInt = 16,
        context: PositiveInt = 200,
        pasts: PositiveInt = 4000,
        period: PositiveInt | None = None,
        change: bool = False,
    ):
        if not horizons:
            raise UserError("forecasting.horizons is empty; name at least one, such as [1, 4]")
        self.horizons, self.past, self.context = tuple(horizons), past, context
        self.pasts, self.period, self.change = pasts, period, change

    def over_time(self, windows: Windows, steps: Steps | None) -> list[Score]:
        """Mean squared and mean absolute error at each horizon, beside the last value and the last period's."""
        self._check(windows.train.shape[1])
        windows = windows.few(self.pasts)
        known, asked = (
            self._pasts(values, split) for values, split in ((windows.train, "train"), (windows.test, "test"))
        )
        features, unseen = (
            self._features(values, pasts, steps) for values, pasts in ((windows.train, known), (windows.test, asked))
        )
        level = [_last(values, pasts) for values, pasts in ((windows.train, known), (windows.test, asked))]
        squared, absolute = list[Score](), list[Score]()
        for horizon in self.horizons:
            targets = self._next(carried(windows.train), known, horizon)
            truth = self._next(windows.test, asked, horizon)
            if np.isnan(truth).all():
                raise UserError(
                    f"forecasting finds no known value within {horizon} steps of any past in the test split"
                )
            base, start = (np.tile(of, (1, horizon)) if self.change else np.float32(0) for of in level)
            predicted = predictions(features, targets - base, known.window, unseen) + start
            found = errors(predicted, truth, asked.window, len(windows.test))
            beside = self._beside(windows.test, asked, truth, horizon) if steps is None else ({}, {})
            at = f"at {horizon} step{'s' if horizon > 1 else ''}"
            for rows, name, (value, interval), others in zip(
                (squared, absolute), ("MSE", "MAE"), found, beside, strict=True
            ):
                part = "" if name == "MSE" and not squared else f"{name.lower()}{horizon}"
                rows.append(Score(f"{name} {at}", value, interval, part, higher_is_better=False, beside=others))
        return squared + absolute

    def _check(self, length: int) -> None:
        needed = self.past + max(self.horizons)
        if length < needed:
            raise UserError(
                f"forecasting needs windows of {needed} steps for a past of {self.past} and a horizon of "
                f"{max(self.horizons)}, these have {length}; lower horizons or past, or prepare the corpus with a "
                "larger length"
            )
        if self.period and self.period > self.past:
            raise UserError(
                f"forecasting.period {self.period} is longer than forecasting.past {self.past}; raise past to "
                f"{self.period} or more"
            )

    def _pasts(self, values: Array, split: str) -> _Pasts:
        """All pasts that are followed by the longest horizon within their window."""
        furthest = values.shape[1] - max(self.horizons)
        each = max(1, self.pasts // len(values))
        origins = np.unique(np.linspace(self.past, furthest, each).astype(np.int64))
        length = ends(values)
        window = [np.flatnonzero(length >= origin + max(self.horizons)) for origin in origins]
        if not any(len(of) for of in window):
            raise UserError(
                f"forecasting needs series of {self.past + max(self.horizons)} steps, and no window of the {split} "
                "split has as many known ones; lower horizons or past"
            )
        return _Pasts(np.repeat(origins, [len(of) for of in window]), np.concatenate(window))

    def _features(self, values: Array, pasts: _Pasts, steps: Steps | None) -> Array:
        """Of every past, (rows, width); a past is cut out before anything looks at it."""
        found = []
        for end in np.unique(pasts.end):
            past = values[pasts.window[pasts.end == end], max(0, end - self.context) : end]
            if steps is not None:
                found.append(steps.last(past))
            else:
                lags, short = carried(past), min(self.context, values.shape[1]) - past.shape[1]
                found.append(np.pad(lags, ((0, 0), (short, 0), (0, 0)), mode="edge").reshape(len(lags), -1))
        return np.concatenate(found)

    def _next(self, values: Array, pasts: _Pasts, horizon: int) -> Array:
        """The values behind each past, (rows, horizon x channels)."""
        index = pasts.end[:, None] + np.arange(horizon)
        return values[pasts.window[:, None], index].reshape(len(index), -1)

    def _beside(
        self, values: Array, pasts: _Pasts, truth: Array, horizon: int
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Squared and absolute errors of forecasts that need no regression."""
        told = {"last value": np.tile(_last(values, pasts), (1, horizon))}
        if self.period:
            back = self.period * (1 + np.arange(horizon) // self.period)
            index = pasts.end[:, None] + np.arange(horizon) - back
            # filled from the past only: what is read lies before the past's end
            told["last period"] = carried(values)[pasts.window[:, None], index].reshape(len(index), -1)
        missed = {name: predicted - truth for name, predicted in told.items()}
        squared = {name: float(np.nanmean(np.square(of))) for name, of in missed.items()}
        return squared, {name: float(np.nanmean(np.abs(of))) for name, of in missed.items()}


def _last(values: Array, pasts: _Pasts) -> Array:
    """Each past's last known values: (rows, channels)."""
    return carried(values)[pasts.window, pasts.end - 1]
