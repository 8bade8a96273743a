"""Support vector machine on frozen features: the protocol of T-Loss and TS2Vec (arXiv:1901.10738, 2106.10466)."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bounds import PositiveInt
from .probe import Features, Probe

FEW = 50  # training samples below which nothing is chosen
FEW_EACH = 5  # and the same for each class
FOLDS = 5
PENALTIES = (*(10.0**power for power in range(-4, 5)), float("inf"))


class SVM(Probe):
    """Radial basis functions of width 1 / (features x variance), without standardising.

    The penalty is chosen by 5-fold cross-validation; with fewer than 50 samples, or 5 a class, it is infinite.

    Args:
        iterations: Steps of the solver at most. The papers' ten million never end on features that do not separate
            the classes.
        samples: Labelled samples used at most: the first ones; 10,000 in the papers.
    """

    protocol = "RBF SVM, penalty by 5-fold cross-validation, as in T-Loss and TS2Vec (arXiv:2106.10466, section 4.1)"

    usual_for = ("series",)

    def __init__(self, iterations: PositiveInt = 100_000, samples: PositiveInt = 10_000):
        self.iterations, self.samples = iterations, samples

    def correct(self, train: Features, test: Features) -> NDArray[np.bool_]:
        """Whether the predicted class is the label."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.model_selection import GridSearchCV
        from sklearn.svm import SVC

        vectors, labels = train.vectors[: self.samples], train.labels[: self.samples]
        machine: Any = SVC(C=float("inf"), gamma="scale", max_iter=self.iterations)
        counts = np.unique(labels, return_counts=True)[1]
        if len(labels) >= FEW and len(labels) // len(counts) >= FEW_EACH:
            machine = GridSearchCV(machine, {"C": PENALTIES}, cv=FOLDS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of the largest penalties on what cannot be separated
            warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
            found: NDArray[np.bool_] = machine.fit(vectors, labels).predict(test.vectors) == test.labels
        return found
