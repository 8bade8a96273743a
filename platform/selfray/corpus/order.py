"""Who reads which sample when: pure arithmetic, the same for any number of workers.

An epoch is laid out in three moves, each a keyed permutation that is computed, never stored:

1. The corpus is cut into chunks of `chunk` consecutive rows (a Parquet row group each, so that a read is a read of
   whole row groups). The chunks are permuted.
2. The permuted rows are cut into `lanes` equal ranges. Step t takes `batch / lanes` rows from every lane, in lane
   order, so the global batch of a step is the same set of samples, in the same order, for any number of workers up to
   the number of lanes: a worker owns consecutive lanes and reads only their chunks.
3. Within a lane, rows are permuted inside windows of `window` steps.

The position in the data is one integer, the step. The last `rows mod batch` rows of an epoch's permuted order are
left out of that epoch; another epoch leaves out others.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

Rows = NDArray[np.int64]

_MASK64 = 0xFFFFFFFFFFFFFFFF


def mix(*words: int) -> int:
    """Mix integers into 64 bits (the finaliser of splitmix64, Steele et al. 2014, after each word)."""
    state = 0x9E3779B97F4A7C15
    for word in words:
        state = (state + (word & _MASK64) + 0x9E3779B97F4A7C15) & _MASK64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK64
        state ^= state >> 31
    return state


class Permutation:
    """A keyed permutation of 0 ... size - 1 that answers for any element without storing the others.

    A balanced Feistel network over the next even number of bits, walked until the result is below `size`
    (Black and Rogaway 2002). Time and memory do not depend on `size`.
    """

    rounds = 6

    def __init__(self, size: int, *key: int):
        self.size = size
        self.half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
        self.mask = np.uint64((1 << self.half) - 1)
        self.keys = [np.uint64(mix(*key, i)) for i in range(self.rounds)]

    def __call__(self, elements: Rows) -> Rows:
        """Where each element goes."""
        return self._walk(elements, self.keys, forward=True)

    def inverse(self, places: Rows) -> Rows:
        """Which element went to each place."""
        return self._walk(places, self.keys[::-1], forward=False)

    def _walk(self, elements: Rows, keys: list[np.uint64], *, forward: bool) -> Rows:
        if self.size <= 1:
            return np.zeros_like(elements)
        values = self._network(elements.astype(np.uint64), keys, forward)
        while (outside := values >= self.size).any():
            values[outside] = self._network(values[outside], keys, forward)
        return values.astype(np.int64)

    def _network(self, values: NDArray[np.uint64], keys: list[np.uint64], forward: bool) -> NDArray[np.uint64]:
        half = np.uint64(self.half)
        left, right = values >> half, values & self.mask
        for key in keys:
            if forward:
                left, right = right, left ^ self._scramble(right, key)
            else:
                left, right = right ^ self._scramble(left, key), left
        return (left << half) | right

    def _scramble(self, half: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
        with np.errstate(over="ignore"):
            value = (half + key) * np.uint64(0xBF58476D1CE4E5B9)
            value = (value ^ (value >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
        return (value >> np.uint64(32)) & self.mask


@dataclass(frozen=True)
class Walk:
    """Pass after pass over a corpus, chunk by chunk, the chunks in another order each time.

    Args:
        rows: Samples of the corpus.
        chunk: Rows that stay together in a read.
        seed: Another seed gives another order.
    """

    rows: int
    chunk: int
    seed: int

    def row_at(self, number: int, places: Rows) -> Rows:
        """The rows at places 0 ... rows - 1 of a pass."""
        chunks = -(-self.rows // self.chunk)
        permutation = Permutation(chunks, self.seed, number, 1)
        missing = chunks * self.chunk - self.rows  # rows that the corpus's last chunk lacks
        short = int(permutation.inverse(np.array([chunks - 1]))[0])  # where that chunk comes in this pass
        shifted = places + np.where(places >= (short + 1) * self.chunk - missing, missing, 0)
        place, within = np.divmod(shifted, self.chunk)
        return permutation(place) * self.chunk + within


class Layout:
    """Steps, windows and lanes: all that a stream asks of an order, be it of one corpus or of several."""

    batch: int
    lanes: int
    window: int

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        raise NotImplementedError

    @property
    def per_lane(self) -> int:
        """Samples that a lane gives to a step."""
        return self.batch // self.lanes

    @property
    def windows(self) -> int:
        """Windows of an epoch."""
        return -(-self.steps // self.window)

    def steps_in(self, window: int) -> int:
        """Steps of a window; an epoch's last one may be shorter."""
        return min(self.window, self.steps - window * self.window)

    def lanes_of(self, rank: int, world: int) -> range:
        """The consecutive lanes of a worker; the first workers have one more where the division leaves a rest.

        Raises:
            UserError: there are more workers than lanes.
        """
        if world > self.lanes:
            raise UserError(f"workers {world} are more than lanes {self.lanes}; set lanes to {world} or more")
        share, rest = divmod(self.lanes, world)
        first = rank * share + min(rank, rest)
        return range(first, first + share + (rank < rest))

    def window_samples(self, epoch: int, window: int, lanes: range) -> tuple[Rows, Rows]:
        """Which corpus, by its place in the list, and which row of it, each as (steps, lanes x per_lane)."""
        raise NotImplementedError


def check_batch(batch: int, lanes: int, rows: int, limit: int | None) -> None:
    """Raise a UserError unless a corpus of `rows` samples fills a batch that lanes can share equally."""
    if batch > rows:
        raise UserError(f"batch is {batch} but the corpus has only {rows} samples; lower batch")
    if limit is not None and batch > limit:
        raise UserError(f"max_samples is {limit}, less than one batch of {batch}; raise max_samples or lower batch")
    if batch % lanes:
        raise UserError(f"batch {batch} is not a multiple of lanes {lanes}; change one of them")


@dataclass(frozen=True)
class Order(Layout):
    """The order of a corpus of `rows` samples in global batches of `batch`.

    Args:
        rows: Samples of the corpus.
        batch: Samples of a step over all workers.
        seed: Another seed gives another order.
        lanes: Parallel sequences that make up the order; at least the number of workers.
        chunk: Rows that stay together in a read.
        window: Steps within which a lane's rows are mixed.
        limit: Samples after which an epoch ends. Epochs then are consecutive parts of a pass over the corpus, so
            that they share no sample until the pass is over.

    Raises:
        UserError: a batch is larger than the corpus or the limit, or not a multiple of `lanes`.
    """

    rows: int
    batch: int
    seed: int
    lanes: int = 8
    chunk: int = 256
    window: int = 64
    limit: int | None = None

    def __post_init__(self) -> None:
        check_batch(self.batch, self.lanes, self.rows, self.limit)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return (self.rows if self.limit is None else min(self.rows, self.limit)) // self.batch

    def window_rows(self, epoch: int, window: int, lanes: range) -> Rows:
        """The rows of the corpus that the given lanes feed to a window's steps: (steps, lanes x per_lane)."""
        size = self.steps * self.batch
        number, part = divmod(epoch, self.rows // size)
        steps, lane_size = self.steps_in(window), self.steps * self.per_lane
        length, first = steps * self.per_lane, part * size + window * self.window * self.per_lane
        walk = Walk(self.rows, self.chunk, self.seed)
        columns = []
        for lane in lanes:
            inside = Permutation(length, self.seed, epoch, 2, lane, window)(np.arange(length, dtype=np.int64))
            columns.append(walk.row_at(number, first + lane * lane_size + inside).reshape(steps, self.per_lane))
        return np.concatenate(columns, axis=1)

    def window_samples(self, epoch: int, window: int, lanes: range) -> tuple[Rows, Rows]:
        """The rows of `window_rows`, all of corpus 0."""
        rows = self.window_rows(epoch, window, lanes)
        return np.zeros_like(rows), rows
