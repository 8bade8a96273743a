"""Pairs: whether texts that belong together are found and judged to be alike, by the cosine of their embeddings."""

from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..bounds import PositiveInt
from ..corpus.place import Place
from ..errors import UserError
from ..evaluation import intervals
from ..evaluation.beside import FILES
from ..evaluation.pairs import Pairs as Given
from ..evaluation.pairs import Vectors, read
from .probe import Probe, Score

CHUNK = 512  # queries at once


class Pairs(Probe):
    """Two columns of texts, `a` and `b`, from a file; nothing is fitted.

    Without a `score` a pair belongs together: each text of `a` looks for its partners among all texts of `b` of such
    pairs but itself. What is equally similar counts as if the wrong texts came first. Pairs with a `score` are ranked
    by their cosine similarity and by their score, and the two orders are compared.

    Args:
        file: Parquet or CSV, in the corpus's folder or the working directory.
        within: The numbers of nearest texts among which a partner counts as found.
        queries: Texts that look for partners at most.
    """

    protocol = (
        "cosine similarity of held-out pairs: place of a text's partner among all partners, as in BEIR "
        "(arXiv:2104.08663), and Spearman's correlation with given scores, as in Sentence-BERT (arXiv:1908.10084)"
    )
    asks: ClassVar[Literal["labels", "steps", "pairs"]] = "pairs"
    fits_labels = False
    raw = "TF-IDF of all tokens"

    def __init__(
        self, file: str = FILES["pairs"], within: tuple[PositiveInt, ...] = (1, 10), queries: PositiveInt = 5000
    ):
        self.file, self.within, self.queries = file, within, queries

    def over_pairs(self, corpus: Place, vectors: Vectors) -> list[Score]:
        """Mean reciprocal rank and recall of partners, then the correlation with scores: what the file allows.

        Raises:
            UserError: there is no such file, or it has too few pairs of either kind.
        """
        pairs = read(self.file, corpus)
        features, found = vectors(pairs.texts), list[Score]()
        together, graded = np.isnan(pairs.score), ~np.isnan(pairs.score)
        if len(np.unique(pairs.b[together])) > 1:
            found += self._found(ranks(features, pairs.a[together], pairs.b[together], self.queries))
        if len(np.unique(pairs.score[graded])) > 1:
            found.append(_correlation(features, pairs, graded))
        if not found:
            raise UserError(
                f"pairs: {self.file} has neither two texts to choose from nor two different scores; add more pairs"
            )
        return [replace(found[0], part=""), *found[1:]]

    def _found(self, rank: NDArray[np.int64]) -> list[Score]:
        inverse = 1 / rank
        interval = intervals.of_sums(np.stack([inverse, np.ones(len(rank))], axis=1), intervals.mean)
        shares = [(k, rank <= k) for k in self.within]
        recall = [Score(f"recall@{k}", float(hit.mean()), intervals.of_share(hit), f"recall{k}") for k, hit in shares]
        return [Score("MRR", float(inverse.mean()), interval), *recall]


def ranks(features: Any, a: NDArray[np.int64], b: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The place of the most similar partner, from 1, of every text of `a`, or of `most` of them in a seeded choice.

    Args:
        features: of all texts, (texts, width), dense or sparse.
        a: which text, (pairs).
        b: which text belongs to it, (pairs); it may have several.
        most: texts that look for partners.
    """
    from sklearn.metrics.pairwise import cosine_similarity

    asking, query = np.unique(a, return_inverse=True)
    texts, place = np.unique(b, return_inverse=True)
    chosen = np.sort(np.random.default_rng(0).permutation(len(asking))[:most])
    found = []
    for part in np.split(chosen, range(CHUNK, len(chosen), CHUNK)):
        number = np.full(len(asking), -1)
        number[part] = np.arange(len(part))
        mine = number[query] >= 0
        right = np.zeros((len(part), len(texts)), bool)
        right[number[query[mine]], place[mine]] = True
        itself = asking[part, None] == texts
        similarity = cosine_similarity(features[asking[part]], features[texts])
        best = np.where(right, similarity, -2.0).max(1, keepdims=True)
        found.append(1 + (~right & ~itself & (similarity >= best)).sum(1))
    return np.concatenate(found)


def _correlation(features: Any, pairs: Given, graded: NDArray[np.bool_]) -> Score:
    """Pearson's correlation of ranks; draws keep the ranks that pairs have among all."""
    from scipy.stats import rankdata
    from sklearn.metrics.pairwise import paired_cosine_distances

    distance = paired_cosine_distances(features[pairs.a[graded]], features[pairs.b[graded]])
    x, y = (rank / len(rank) - 0.5 for rank in (rankdata(-distance), rankdata(pairs.score[graded])))
    sums = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)
    interval = intervals.of_sums(sums, correlation)
    return Score("Spearman", float(correlation(sums.sum(0)[None])[0]), interval, "similarity")


def correlation(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """From sums of 1, x, y, xx, yy and xy, (draws, 6), to Pearson's correlation; 0 where one does not vary."""
    n, x, y, xx, yy, xy = sums.T
    spread = np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0))
    found: NDArray[np.float64] = np.where(spread > 1e-9, (n * xy - x * y) / np.maximum(spread, 1e-9), 0.0)
    return found
