"""An n-gram model to compare with: interpolated Kneser-Ney smoothing (Chen and Goodman, 1999, equation 25)."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

Words = tuple[int, ...]


class KneserNey:
    """Counts of a training text; below the highest order those of the different words that came before.

    The discount of an order is n1 / (n1 + 2 n2), from the n-grams that were seen once and twice; under the words alone
    lies an equal share for each of the vocabulary.

    Args:
        rows: Rows of tokens; nothing is counted across two of them.
        vocabulary: How many different tokens there may be.
        order: Of the longest n-grams.
    """

    def __init__(self, rows: Iterable[Sequence[int]], vocabulary: int, order: int = 3):
        self.vocabulary, self.order = vocabulary, order
        counts: Counter[Words] = Counter()
        for row in rows:
            counts.update(tuple(row[at : at + order]) for at in range(len(row) - order + 1))
        self.counts = {order: counts}
        for shorter in range(order - 1, 0, -1):
            self.counts[shorter] = Counter(words[1:] for words in self.counts[shorter + 1])
        self.discount, self.total, self.kinds = {}, {}, {}
        for length, found in self.counts.items():
            once, twice = (sum(count == times for count in found.values()) for times in (1, 2))
            self.discount[length] = once / (once + 2 * twice)
            total, kinds = defaultdict[Words, int](int), defaultdict[Words, int](int)
            for words, count in found.items():
                total[words[:-1]] += count
                kinds[words[:-1]] += 1
            self.total[length], self.kinds[length] = total, kinds

    def probability(self, words: Words) -> float:
        """Of the last word after the others, as many of which count as the order allows."""
        share, weight = 0.0, 1.0
        for length in range(min(self.order, len(words)), 0, -1):
            ending = words[len(words) - length :]
            if total := self.total[length].get(ending[:-1]):
                share += weight * max(self.counts[length][ending] - self.discount[length], 0.0) / total
                weight *= self.discount[length] * self.kinds[length][ending[:-1]] / total
        return share + weight / self.vocabulary

    def perplexity(self, rows: Iterable[Sequence[int]]) -> float:
        """Of every word of the rows but their first ones."""
        logs = [
            math.log(self.probability(tuple(row[max(0, at + 1 - self.order) : at + 1])))
            for row in rows
            for at in range(1, len(row))
        ]
        return math.exp(-sum(logs) / len(logs))
