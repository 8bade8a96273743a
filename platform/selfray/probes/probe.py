"""What every probe says: how well labels can be read from frozen features."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Features:
    """Vectors of samples with their labels."""

    vectors: NDArray[np.float32]  # (samples, width)
    labels: NDArray[np.int64]


class Probe:
    """Fits on the features of one split and answers for another; its constructor's arguments are its settings."""

    metric: ClassVar[str] = "accuracy"
    protocol: ClassVar[str] = ""
    """One sentence that says what is done, with its source."""

    def correct(self, train: Features, test: Features) -> NDArray[np.bool_]:
        """Whether each test sample's label was predicted."""
        raise NotImplementedError(f"{type(self).__name__} must define correct")
