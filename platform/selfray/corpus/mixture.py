"""Several corpora in every batch, in proportion to their weights: pure arithmetic, as in `order.py`.

Which corpus a sample comes from is decided for slots, numbered through step after step. Before step t, the corpora up
to the j-th have had `floor(t x batch x W_j)` slots, W_j being the sum of their shares, so no corpus is ever a whole
sample away from its exact proportion. A step's slots are handed out corpus by corpus along a golden-ratio stride over
the lanes, and over the places of a lane (a Weyl sequence), so that workers and parts of a batch have the proportions
too.

Within `floor(x)` and `floor(x) + 1` slots a step there are only two patterns for each W_j. What a lane has had of a
corpus before any step is therefore two products, for the first step as for the ten billionth.

Every corpus is walked by itself, pass after pass. A pass begins where the slots of all lanes together have used up the
pass before, and is cut into one range for each lane, as long as that lane's slots of the pass are many. Each sample
occurs once in a pass before any occurs again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from math import ceil, gcd

import numpy as np

from ..errors import UserError
from .order import Layout, Permutation, Rows, Walk, check_batch, mix


@dataclass(frozen=True)
class Component:
    """A corpus of a mixture.

    Args:
        name: What errors call it.
        rows: Samples of the corpus.
        weight: Its share of every batch, relative to the other weights; taken as the decimal number it is written as.
        chunk: Rows that stay together in a read.
    """

    name: str
    rows: int
    weight: float
    chunk: int = 256


@dataclass(frozen=True)
class Mixture(Layout):
    """The order of several corpora in global batches of `batch`.

    An epoch is as many samples as all corpora hold together, or `limit` if that is less. It is a unit of counting: a
    corpus whose weight is above its share of the samples occurs more than once in it, another less than once, and
    each goes on in the next epoch where it was.

    Args:
        corpora: What is mixed; their places in this list are the corpus numbers of `window_samples`.
        batch: Samples of a step over all workers.
        seed: Another seed gives other orders of the corpora.
        lanes: Parallel sequences that make up the order; at least the number of workers.
        window: Steps within which a lane's rows of a corpus are mixed.
        limit: Samples after which an epoch ends.

    Raises:
        UserError: a weight is not positive, gives a corpus less than one sample of a batch or more than the corpus
            has, or the batch does not suit the lanes, the samples or the limit.
    """

    corpora: tuple[Component, ...]
    batch: int
    seed: int
    lanes: int = 8
    window: int = 64
    limit: int | None = None

    def __post_init__(self) -> None:
        check_batch(self.batch, self.lanes, self._rows, self.limit)
        for corpus in self.corpora:
            if not 0 < corpus.weight < float("inf"):
                raise UserError(f"weight of corpus {corpus.name!r} is {corpus.weight}; it must be a positive number")
        for corpus, share in zip(self.corpora, self._shares, strict=True):
            if share * self.batch < 1:
                raise UserError(
                    f"weight {corpus.weight} of corpus {corpus.name!r} gives it less than one sample of a batch of "
                    f"{self.batch}; raise the weight or batch"
                )
            if ceil(share * self.batch) > corpus.rows:
                raise UserError(
                    f"corpus {corpus.name!r} has {corpus.rows} samples but its weight {corpus.weight} takes "
                    f"{ceil(share * self.batch)} of them for a batch; lower its weight or batch"
                )

    @property
    def _rows(self) -> int:
        return sum(corpus.rows for corpus in self.corpora)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return (self._rows if self.limit is None else min(self._rows, self.limit)) // self.batch

    @cached_property
    def _shares(self) -> list[Fraction]:
        weights = [Fraction(str(corpus.weight)) for corpus in self.corpora]
        return [weight / sum(weights) for weight in weights]

    @cached_property
    def _rates(self) -> list[Fraction]:
        """Slots that the corpora up to each take of a step, in the long run."""
        return [self.batch * share for share in accumulate(self._shares)]

    @cached_property
    def _turns(self) -> Rows:
        """Where the stride over the lanes comes to each lane."""
        return np.arange(self.lanes) * _stride(self.lanes) % self.lanes

    @cached_property
    def _ranks(self) -> Rows:
        """How many slots of a step are handed out before each: (lanes, per_lane)."""
        inner = np.arange(self.per_lane) * _stride(self.per_lane) % self.per_lane
        return self._turns[:, None] + self.lanes * inner

    def window_samples(self, epoch: int, window: int, lanes: range) -> tuple[Rows, Rows]:
        """Which corpus, by its place in the list, and which row of it, each as (steps, lanes x per_lane)."""
        begin = epoch * self.steps + window * self.window
        end = begin + self.steps_in(window)
        edges = np.array([self._edges(step) for step in range(begin, end)])  # (steps, corpora)
        which = (self._ranks[None, lanes.start : lanes.stop, :, None] >= edges[:, None, None, :]).sum(-1)
        rows = np.empty_like(which)
        first, last = self._before(begin), self._before(end)
        for number in range(len(self.corpora)):
            for i, own in enumerate(self._window_of(number, first[number], last[number], (epoch, window), lanes)):
                rows[:, i][which[:, i] == number] = own
        return which.reshape(end - begin, -1), rows.reshape(end - begin, -1)

    def _window_of(self, number: int, first: Rows, last: Rows, key: tuple[int, int], lanes: range) -> list[Rows]:
        """For each of the lanes, the rows of one corpus for its slots first[lane] ... last[lane] - 1 of that corpus."""
        corpus, seed = self.corpora[number], mix(self.seed, number)
        walk, found = Walk(corpus.rows, corpus.chunk, seed), [np.empty(0, np.int64)] * len(lanes)
        for turn in range(int(first.sum()) // corpus.rows, -(-int(last.sum()) // corpus.rows)):
            start, stop = self._pass_start(number, turn), self._pass_start(number, turn + 1)
            offsets = np.cumsum(stop - start) - (stop - start)  # a pass is cut into one range for each lane
            for i, lane in enumerate(lanes):
                low, high = max(first[lane], start[lane]), min(last[lane], stop[lane])
                if low < high:
                    inside = Permutation(int(high - low), seed, turn, 2, lane, *key)(np.arange(high - low))
                    rows = walk.row_at(turn, offsets[lane] + low - start[lane] + inside)
                    found[i] = np.concatenate([found[i], rows])
        return found

    def _taken(self, number: int, step: int) -> int:
        """Slots of all corpora up to one, before a step."""
        return step * self._rates[number].numerator // self._rates[number].denominator if number >= 0 else 0

    def _edges(self, step: int) -> list[int]:
        """How many slots of a step belong to the corpora up to each."""
        return [self._taken(j, step + 1) - self._taken(j, step) for j in range(len(self.corpora))]

    def _spread(self, edges: Sequence[int]) -> Rows:
        """How many of the first `edges` slots of a step are in each lane: (corpora, lanes)."""
        return (np.array(edges, dtype=np.int64)[:, None] - self._turns + self.lanes - 1) // self.lanes

    def _before(self, step: int) -> Rows:
        """Slots of each corpus in each lane before a step: (corpora, lanes)."""
        floors = [int(rate) for rate in self._rates]
        more = np.array([self._taken(j, step) - step * floor for j, floor in enumerate(floors)], np.int64)[:, None]
        upto = (step - more) * self._spread(floors) + more * self._spread([floor + 1 for floor in floors])
        return np.diff(upto, axis=0, prepend=0)

    def _pass_start(self, number: int, turn: int) -> Rows:
        """Slots of a corpus that each lane has had when a pass over that corpus begins."""
        target = turn * self.corpora[number].rows

        def taken(step: int) -> int:
            return self._taken(number, step) - self._taken(number - 1, step)

        step = int(target / (self._shares[number] * self.batch))  # within two steps, as `taken` is within one sample
        while taken(step) > target:
            step -= 1
        while taken(step + 1) <= target:
            step += 1
        in_step = np.diff(self._spread(self._edges(step)), axis=0, prepend=0)[number]
        earlier_lanes = np.cumsum(in_step) - in_step
        return self._before(step)[number] + np.clip(target - taken(step) - earlier_lanes, 0, in_step)


def _stride(size: int) -> int:
    """The step nearest to the golden ratio of `size` that visits all of 0 ... size - 1."""
    golden = size * (5**0.5 - 1) / 2
    return min((n for n in range(1, size + 1) if gcd(n, size) == 1), key=lambda n: abs(n - golden))
