"""Frames: whether what is heard at a moment, such as a phone, can be read from the features of that position."""

from typing import ClassVar, Literal

import numpy as np

from ..bounds import Positive, PositiveInt
from ..errors import UserError
from ..evaluation import frames, intervals
from ..evaluation.beside import FILES
from .linear import Linear
from .probe import Features, Probe, Score


class Frames(Probe):
    """A linear classifier of single positions, whose classes come from a file of named stretches of recordings.

    The file has the columns `source` (a recording, as the corpus calls it), `start` and `end` in seconds, and `name`. A
    position has the class that is heard at its centre. Positions are as long as the encoder's; where there is no
    encoder they are the MFCCs of 70 ms round the centre.

    Args:
        file: Parquet or CSV, in the corpus's folder or the working directory.
        positions: Of each split used at most.
        strength: Inverse regularisation strength; smaller is stronger.
        iterations: Steps of L-BFGS at most.
    """

    protocol = (
        "linear classification of single frames by logistic regression, as phones are in CPC (arXiv:1807.03748, 3.1)"
    )
    asks: ClassVar[Literal["labels", "steps", "pairs", "frames"]] = "frames"
    fits_labels = False
    raw = "MFCCs of 70 ms"

    def __init__(
        self,
        file: str = FILES["frames"],
        positions: PositiveInt = 20_000,
        strength: Positive = 0.1,
        iterations: PositiveInt = 100,
    ):
        self.file, self.positions = file, positions
        self._linear = Linear((strength,), iterations, samples=positions)

    def over_frames(self, heard: frames.Frames) -> list[Score]:
        """Accuracy over positions; the interval is over recordings, within which positions depend on each other.

        Raises:
            UserError: there is no such file, or too little of it is in the corpus.
        """
        stretches = frames.read(self.file, heard.corpus)
        splits = [heard.at(stretches, split, self.positions) for split in ("train", "test")]
        for split, found in zip(("train", "test"), splits, strict=True):
            if len(np.unique(found.labels)) < 2:
                raise UserError(
                    f"frames: recordings of the {split} split have fewer than two names in {self.file}; its column "
                    "source must have the recordings' paths as the corpus has them"
                )
        fitted, asked = (Features(found.vectors, found.labels) for found in splits)
        right = self._linear.correct(fitted, asked)
        beside = {}
        if not heard.encoded:
            alone = (heard.at(stretches, split, self.positions, around=0) for split in ("train", "test"))
            single = self._linear.correct(*(Features(found.vectors, found.labels) for found in alone))
            beside = {"MFCCs of 10 ms": float(single.mean())}
        recordings = splits[1].recordings
        sums = np.stack([np.bincount(recordings, right), np.bincount(recordings)], axis=1).astype(np.float64)
        interval = intervals.of_sums(sums[sums[:, 1] > 0], intervals.mean)
        return [Score(self.metric, float(right.mean()), interval, beside=beside)]
