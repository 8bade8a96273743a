"""Clustering: whether k-means on frozen features finds the classes without seeing one label."""

import numpy as np
from numpy.typing import NDArray

from ..bounds import PositiveInt
from ..errors import UserError
from ..evaluation import intervals
from ..evaluation.agreement import cells, mutual_information, rand_index
from .probe import Features, Probe, Score


class Clustering(Probe):
    """k-means on training features of unit length; test samples belong to the nearest center.

    Args:
        clusters: How many; as many as there are classes if left out.
        starts: Random starts of k-means, of which the best fit is taken.
        samples: Training samples used at most.
    """

    protocol = (
        "k-means on training features, its clusters compared with the classes of test samples, as in DeepCluster "
        "(arXiv:1807.05520, section 4.1)"
    )
    fits_labels = False

    def __init__(self, clusters: PositiveInt | None = None, starts: PositiveInt = 4, samples: PositiveInt = 10_000):
        self.clusters, self.starts, self.samples = clusters, starts, samples

    def scores(self, train: Features, test: Features) -> list[Score]:
        """Normalised mutual information, and the adjusted Rand index."""
        found = self.assigned(train, test)
        table = cells(test.labels, found)
        information = intervals.of_cells(table.counts, lambda counts: mutual_information(table, counts), (0, 1))
        index = intervals.of_cells(table.counts, lambda counts: rand_index(table, counts), (-1, 1))
        return [
            Score("NMI", mutual_information(table, table.counts), information),
            Score("ARI", rand_index(table, table.counts), index, "ari"),
        ]

    def assigned(self, train: Features, test: Features) -> NDArray[np.int64]:
        """The cluster of each test sample."""
        import warnings

        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.preprocessing import normalize

        known = train.vectors
        if len(known) > self.samples:  # a corpus may be sorted by class
            known = known[np.sort(np.random.default_rng(0).permutation(len(known))[: self.samples])]
        count = self.clusters or len(np.unique(train.labels))
        if count > len(known):
            raise UserError(f"clustering.clusters is {count}, but there are {len(known)} training samples; lower it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # collapsed features have fewer points than clusters
            fitted = KMeans(count, n_init=self.starts, random_state=0).fit(normalize(known))
        found: NDArray[np.int64] = fitted.predict(normalize(test.vectors)).astype(np.int64)
        return found
