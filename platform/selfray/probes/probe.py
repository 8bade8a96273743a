"""What every probe says: how well a question is answered from frozen features."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..corpus.place import Place
from ..evaluation.frames import Frames
from ..evaluation.intervals import Interval, of_share
from ..evaluation.pairs import Vectors
from ..evaluation.steps import Steps, Windows


@dataclass(frozen=True)
class Features:
    """Vectors of samples with their labels."""

    vectors: NDArray[np.float32]  # (samples, width)
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """One number of a probe on the test split."""

    metric: str
    value: float
    interval: Interval  # 95 %
    part: str = ""  # tells the numbers of one probe apart; none for the first
    higher_is_better: bool = True
    beside: Mapping[str, float] = field(default_factory=dict)  # other simple answers to the same question, by name


class Probe:
    """Fits on one split and answers for another; its constructor's arguments are its settings.

    A probe of labels defines `correct`, or `scores` where right and wrong are not all there is to say. A probe of time
    steps sets `asks = "steps"` and defines `over_time`, one of pairs of texts `asks = "pairs"` and `over_pairs`, one of
    positions of recordings `asks = "frames"` and `over_frames`. All raise a UserError where they do not apply; the
    sentence is then part of the results.
    """

    metric: ClassVar[str] = "accuracy"
    protocol: ClassVar[str] = ""
    """One sentence that says what is done, with its source."""

    asks: ClassVar[Literal["labels", "steps", "pairs", "frames"]] = "labels"
    """What is asked for: labels of samples of the test split, values at the steps of its series, pairs of texts, or
    what is heard at positions of recordings."""

    usual_for: ClassVar[tuple[str, ...]] = ()
    """Data types for which it is run where nobody names probes; all of them if it is empty."""

    fits_labels: ClassVar[bool] = True
    """Whether `evaluate.labels` limits what it is fitted on."""

    raw: ClassVar[str] = ""
    """What is done without an encoder, if it is not the same with raw samples."""

    rocket: ClassVar[bool] = False
    """Whether MiniRocket's features of series stand beside those of raw values."""

    def correct(self, train: Features, test: Features) -> NDArray[np.bool_]:
        """Whether each test sample's label was predicted."""
        raise NotImplementedError(f"{type(self).__name__} must define correct")

    def scores(self, train: Features, test: Features) -> list[Score]:
        """The numbers of test samples, always the same ones in the same order."""
        right = self.correct(train, test)
        return [Score(self.metric, float(right.mean()), of_share(right))]

    def over_time(self, windows: Windows, steps: Steps | None) -> list[Score]:
        """The numbers of test windows; without `steps` from raw values, with other simple answers `beside` them."""
        raise NotImplementedError(f"{type(self).__name__} must define over_time")

    def over_pairs(self, corpus: Place, vectors: Vectors) -> list[Score]:
        """The numbers of a file of pairs; `vectors` makes a matrix (texts, width) of texts."""
        raise NotImplementedError(f"{type(self).__name__} must define over_pairs")

    def over_frames(self, frames: Frames) -> list[Score]:
        """The numbers of a file of named stretches; `frames` makes features of positions, and knows the corpus."""
        raise NotImplementedError(f"{type(self).__name__} must define over_frames")
