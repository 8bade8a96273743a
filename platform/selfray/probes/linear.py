"""Linear probe: logistic regression on frozen features (arXiv:2103.00020, appendix A.3)."""

import numpy as np
from numpy.typing import NDArray

from ..bounds import PositiveInt
from .probe import Features, Probe


class Linear(Probe):
    """L2-regularised logistic regression on standardised features; its strength is chosen on a fifth of the labels.

    Args:
        strengths: Inverse regularisation strengths to choose from; smaller is stronger.
        iterations: Steps of L-BFGS at most.
        samples: Labelled samples used at most.
    """

    protocol = (
        "logistic regression by L-BFGS, strength chosen on held-out training samples (CLIP, arXiv:2103.00020, A.3)"
    )

    def __init__(
        self,
        strengths: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0),
        iterations: PositiveInt = 300,
        samples: PositiveInt = 20_000,
    ):
        self.strengths, self.iterations, self.samples = strengths, iterations, samples

    def correct(self, train: Features, test: Features) -> NDArray[np.bool_]:
        """Whether the predicted class is the label."""
        from sklearn.model_selection import train_test_split
        from sklearn.preprocessing import StandardScaler

        vectors, labels = train.vectors, train.labels
        if len(labels) > self.samples:  # a corpus may be sorted by class
            some = np.sort(np.random.default_rng(0).permutation(len(labels))[: self.samples])
            vectors, labels = vectors[some], labels[some]
        scaler = StandardScaler().fit(vectors)
        vectors, unseen = scaler.transform(vectors), scaler.transform(test.vectors)
        _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
        several = counts[place] > 1  # the only sample of a class cannot be held out
        held = max(int(several.sum()) // 5, int((counts > 1).sum()))  # one of each class at least
        if len(self.strengths) == 1 or not held:
            best = self.strengths[0]
        else:
            fit_x, try_x, fit_y, try_y = train_test_split(
                vectors[several], labels[several], test_size=held, random_state=0, stratify=labels[several]
            )
            fit_x, fit_y = np.concatenate([fit_x, vectors[~several]]), np.concatenate([fit_y, labels[~several]])
            best = max(self.strengths, key=lambda c: float((self._fit(c, fit_x, fit_y).predict(try_x) == try_y).mean()))
        found: NDArray[np.bool_] = self._fit(best, vectors, labels).predict(unseen) == test.labels
        return found

    def _fit(self, strength: float, vectors: NDArray[np.float32], labels: NDArray[np.int64]):  # type: ignore[no-untyped-def]
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        # Steps of L-BFGS are too short to share: two threads took 2.8 times as long, on busy cores 14 times
        with threadpool_limits(1, "blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # early stopping is a regulariser here
            return LogisticRegression(C=strength, max_iter=self.iterations, tol=1e-3).fit(vectors, labels)
