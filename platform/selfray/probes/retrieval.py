"""Retrieval: whether the most similar samples are of the same class, as a search by example needs it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from ..bounds import PositiveInt
from ..errors import UserError
from ..evaluation import intervals
from .probe import Features, Probe, Score

CHUNK = 512  # queries at once


class Retrieval(Probe):
    """Every test sample looks for others of its class among all other test samples, by cosine similarity.

    Nothing is fitted. Equally similar samples count as if the wrong ones came first, so that features which are all
    alike find nothing. Samples whose class has no other test sample are left out.

    Args:
        within: The numbers of nearest samples among which one of the same class counts as found.
        queries: Samples that look for others at most.
    """

    protocol = (
        "nearest test samples by cosine similarity, without the query itself; recall@k is the share of queries with "
        "one of their class among k, as in arXiv:1511.06452"
    )
    fits_labels = False

    def __init__(self, within: tuple[PositiveInt, ...] = (1, 5, 10), queries: PositiveInt = 5000):
        self.within, self.queries = within, queries

    def scores(self, train: Features, test: Features) -> list[Score]:
        """Mean reciprocal rank of the first sample of the same class, and recall at each number."""
        rank = self.ranks(test)
        ones, inverse = np.ones(len(rank)), 1 / rank
        interval = intervals.of_sums(np.stack([inverse, ones], axis=1), intervals.mean)
        found = [Score("MRR", float(inverse.mean()), interval)]
        for k in self.within:
            hit = rank <= k
            found.append(Score(f"recall@{k}", float(hit.mean()), intervals.of_share(hit), f"recall{k}"))
        return found

    def ranks(self, test: Features) -> NDArray[np.int64]:
        """The place of the first sample of the same class, from 1, for every query."""
        labels, vectors = torch.from_numpy(test.labels), normalize(torch.from_numpy(test.vectors).float(), dim=1)
        (asking,) = np.nonzero(np.bincount(test.labels)[test.labels] > 1)
        if not len(asking):
            raise UserError("retrieval needs a class with two test samples or more; this corpus has none")
        if len(asking) > self.queries:
            asking = np.sort(np.random.default_rng(0).permutation(asking)[: self.queries])
        found = []
        for query in torch.from_numpy(asking).split(CHUNK):
            similarity = vectors[query] @ vectors.T
            same = labels[query, None] == labels
            own = torch.zeros_like(same).scatter_(1, query[:, None], True)
            best = similarity.masked_fill(~same | own, -2.0).amax(1, keepdim=True)
            found.append(1 + (~same & (similarity >= best)).sum(1))
        return torch.cat(found).numpy()
