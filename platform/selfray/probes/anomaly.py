"""Anomaly detection in a stream: how much the newest value changes the representation of a series."""

import numpy as np
from numpy.typing import NDArray

from ..bounds import NonNegativeInt, Positive, PositiveInt
from ..errors import UserError
from ..evaluation import alarms, intervals
from ..evaluation.steps import Array, Steps, Windows, carried, ends, known
from .probe import Probe, Score

MEASURES = (("F1", "", alarms.f1), ("precision", "precision", alarms.precision), ("recall", "recall", alarms.recall))


class Anomaly(Probe):
    """The difference of the newest step's feature with its value seen and hidden; large is unexpected.

    A corpus does not say which steps are anomalous, so one is planted into every test window: for some steps all
    channels are moved up or down. Each step is judged by what was before it, the threshold comes from training windows,
    and an anomaly is found if an alarm comes soon enough. False alarms are steps outside of planted ones, even if
    the data itself is odd there.

    Args:
        size: Of a planted anomaly, in deviations of each channel over the corpus.
        steps: Length of a planted anomaly.
        context: Steps that are seen with the newest one.
        smooth: Scores before a step that say what is usual; 21 in TS2Vec.
        deviations: Of the training windows' scores, above their mean, that make an alarm; 4 in TS2Vec.
        delay: Steps after its begin in which an anomaly must be found, and after an alarm in which no other one counts;
            7 in TS2Vec for values of minutes, 3 for those of hours.
        windows: Windows of each split used at most.
    """

    protocol = (
        "difference of the last step's feature with its value seen and hidden, threshold from training windows, delay "
        "rule, as in TS2Vec (arXiv:2106.10466, 4.3); anomalies are planted into test windows"
    )
    asks = "steps"
    raw = "change of value"

    def __init__(
        self,
        size: Positive = 3.0,
        steps: PositiveInt = 5,
        context: PositiveInt = 64,
        smooth: PositiveInt = 21,
        deviations: Positive = 4.0,
        delay: NonNegativeInt = 7,
        windows: PositiveInt = 64,
    ):
        self.size, self.steps, self.context, self.smooth = size, steps, context, smooth
        self.deviations, self.delay, self.windows = deviations, delay, windows

    def over_time(self, windows: Windows, steps: Steps | None) -> list[Score]:
        """F1, precision and recall over steps."""
        if steps is not None:
            steps.needs_every_step("anomaly")
        windows = windows.few(self.windows)
        changed, truth = self.planted(windows.test)
        usual = alarms.adjusted(self.unexpected(windows.train, steps), self.smooth)
        if np.isnan(usual).all():
            raise UserError(
                f"anomaly needs training windows that vary and have more than {self.smooth} known steps; lower "
                "anomaly.smooth"
            )
        above = alarms.threshold(usual, self.deviations)
        found = alarms.alarms(alarms.adjusted(self.unexpected(changed, steps), self.smooth), above, self.delay)
        counts = alarms.counts(alarms.credited(found, truth, self.delay), truth)
        return [
            Score(name, float(function(counts.sum(0)[None])[0]), intervals.of_sums(counts, function), part)
            for name, part, function in MEASURES
        ]

    def planted(self, values: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Windows with one anomaly each, and where it is; shorter windows than one takes are left out."""
        random, length = np.random.default_rng(0), ends(values)
        (long,) = np.nonzero(length >= self.smooth + 1 + 2 * self.steps)
        if not len(long):
            raise UserError(
                f"anomaly needs test windows of {self.smooth + 1 + 2 * self.steps} steps, and the longest has "
                f"{int(length.max())}; lower anomaly.smooth or anomaly.steps, or prepare with a larger length"
            )
        changed, truth = values[long].copy(), np.zeros((len(long), values.shape[1]), bool)
        for window, marks, until in zip(changed, truth, length[long], strict=True):
            begin = int(random.integers(self.smooth + 1, until - self.steps + 1))
            marks[begin : begin + self.steps] = True
            window[marks] += np.float32(self.size * random.choice([-1, 1]))
        return changed, truth

    def unexpected(self, values: Array, steps: Steps | None) -> alarms.Scores:
        """How much every step says that those before it did not: (windows, steps); NaN where nothing is known."""
        judged = known(values)
        if steps is None:
            found = np.abs(np.diff(carried(values), axis=1, prepend=np.float32(0))).sum(2)
        else:
            found = np.zeros(judged.shape, np.float32)
            for step in range(1, values.shape[1]):
                seen = values[:, max(0, step + 1 - self.context) : step + 1]
                found[:, step] = np.abs(steps.last(seen) - steps.last(seen, hide=True)).sum(1)
        judged[:, 0] = False  # nothing was before it
        return np.where(judged, found.astype(np.float64), np.nan)
