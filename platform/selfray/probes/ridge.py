"""Ridge classification of frozen features: least squares on -1 and 1 for each class, as after MiniRocket."""

import numpy as np
from numpy.typing import NDArray

from .probe import Features, Probe

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
PART = 2048


class Ridge(Probe):
    """Standardised features; the strength is chosen by leaving out one sample at a time, which has a closed form.

    Args:
        strengths: Strengths of the penalty to choose from.
    """

    protocol = "ridge classifier, strength by leave-one-out, as in MiniRocket (arXiv:2012.08791, section 3)"

    usual_for = ("series",)

    rocket = True

    def __init__(self, strengths: tuple[float, ...] = STRENGTHS):
        self.strengths = strengths

    def correct(self, train: Features, test: Features) -> NDArray[np.bool_]:
        """Whether the predicted class is the label."""
        from sklearn.linear_model import RidgeClassifierCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        fitted = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=self.strengths)).fit(
            train.vectors.astype(np.float64), train.labels
        )
        parts = range(0, len(test.vectors), PART)  # double precision of all at once would be much memory
        predicted = [fitted.predict(test.vectors[at : at + PART].astype(np.float64)) for at in parts]
        return np.asarray(np.concatenate(predicted) == test.labels)
