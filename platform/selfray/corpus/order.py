"""Who reads which sample when: pure arithmetic, the same for any number of workers.

An epoch is laid out in three moves, each a keyed permutation that is computed, never stored:

1. The corpus is cut into chunks of `chunk` consecutive rows (a Parquet row group each, so that a read is a read of
   whole row groups). The chunks are permuted.
2. The permuted rows are cut into `lanes` equal ranges. Step t takes `batch / lanes` rows from every lane, in lane
   order, so the global batch of a step is the same set of samples, in the same order, for any number of workers that
   divides the lanes: a worker owns consecutive lanes and reads only their chunks.
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
class Order:
    """The order of a corpus of `rows` samples in global batches of `batch`.

    Args:
        rows: Samples of the corpus.
        batch: Samples of a step over all workers.
        seed: Another seed gives another order.
        lanes: Parallel sequences that make up the order; a multiple of every number of workers to be used.
        chunk: Rows that stay together in a read.
        window: Steps within which a lane's rows are mixed.

    Raises:
        UserError: a batch is larger than the corpus, or not a multiple of `lanes`.
    """

    rows: int
    batch: int
    seed: int
    lanes: int = 8
    chunk: int = 256
    window: int = 64

    def __post_init__(self) -> None:
        if self.batch > self.rows:
            raise UserError(f"batch is {self.batch} but the corpus has only {self.rows} samples; lower batch")
        if self.batch % self.lanes:
            raise UserError(f"batch {self.batch} is not a multiple of lanes {self.lanes}; change one of them")

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.rows // self.batch

    @property
    def per_lane(self) -> int:
        """Rows that a lane gives to a step."""
        return self.batch // self.lanes

    @property
    def windows(self) -> int:
        """Windows of an epoch."""
        return -(-self.steps // self.window)

    def lanes_of(self, rank: int, world: int) -> range:
        """The lanes of a worker."""
        if self.lanes % world:
            raise UserError(f"workers {world} does not divide lanes {self.lanes}; set lanes to a multiple of {world}")
        share = self.lanes // world
        return range(rank * share, (rank + 1) * share)

    def window_rows(self, epoch: int, window: int, lanes: range) -> Rows:
        """The rows of the corpus that the given lanes feed to a window's steps: (steps, lanes x per_lane)."""
        first = window * self.window
        steps = min(self.window, self.steps - first)
        length = steps * self.per_lane
        columns = []
        for lane in lanes:
            inside = Permutation(length, self.seed, epoch, 2, lane, window)(np.arange(length, dtype=np.int64))
            flat = lane * self.steps * self.per_lane + first * self.per_lane + inside
            columns.append(self._row_at(epoch, flat).reshape(steps, self.per_lane))
        return np.concatenate(columns, axis=1)

    def _row_at(self, epoch: int, flat: Rows) -> Rows:
        """The row at places of the epoch's permuted-chunk order."""
        chunks = -(-self.rows // self.chunk)
        permutation = Permutation(chunks, self.seed, epoch, 1)
        missing = chunks * self.chunk - self.rows  # rows that the corpus's last chunk lacks
        short = int(permutation.inverse(np.array([chunks - 1]))[0])  # where that chunk comes in this epoch
        shifted = flat + np.where(flat >= (short + 1) * self.chunk - missing, missing, 0)
        place, within = np.divmod(shifted, self.chunk)
        return permutation(place) * self.chunk + within
