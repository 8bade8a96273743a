"""Exact and near duplicates of a whole corpus, found from a few bytes a row."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ids = NDArray[np.int64]

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("exact", pa.binary(16), nullable=False),  # of the stored bytes
        pa.field("near", pa.list_(pa.uint64()), nullable=False),  # the keys of `Kind.near`
        pa.field("look", pa.binary(), nullable=False),  # its bytes
    ]
)
SKETCH_KEYS, SKETCH_BITS = 8, 16
COMPARED = 32  # earlier rows with the same key that a row is compared with
RANK = {"test": 0, "val": 1, "train": 2}  # which split keeps its copy: a test sample must not be trained on
LEVELS = 3.0  # by which the bytes of near duplicates may differ in the mean


def exact(data: bytes) -> bytes:
    """16 bytes that only equal data share."""
    return hashlib.blake2b(data, digest_size=16).digest()


def bands(signature: int) -> list[int]:
    """A 64-bit signature as four keys; two signatures that differ in at most three bits share one of them."""
    return [(band << 16) | ((signature >> (16 * band)) & 0xFFFF) for band in range(4)]


def sketch(vector: NDArray[np.floating[Any]], salt: int = 0) -> list[int]:
    """Keys that vectors of nearly one direction share: signs of fixed random projections (Charikar 2002).

    Vectors at an angle a share one of the 8 keys of 16 bits with probability 1 - (1 - (1 - a / pi)^16)^8: 0.99 at a
    cosine of 0.99, 0.5 at 0.9, and 1e-4 at 0.

    Args:
        vector: numbers (size).
        salt: vectors of different salts share no key.
    """
    codes = ((_planes(len(vector)) @ vector > 0) << np.arange(SKETCH_BITS)).sum(1)
    return [(salt << 32) | (number << SKETCH_BITS) | int(code) for number, code in enumerate(codes)]


@lru_cache(maxsize=4)
def _planes(size: int) -> NDArray[np.float64]:
    return np.random.default_rng(size).standard_normal((SKETCH_KEYS, SKETCH_BITS, size))


@dataclass(frozen=True)
class Duplicates:
    """What was found.

    Args:
        exact: rows whose data an earlier row has too -> the row that keeps it.
        near: rows that are nearly another row, but not exactly -> the row that keeps it.
        leaks: rows of the train split among both whose keeper is held out.
    """

    exact: dict[int, int]
    near: dict[int, int]
    leaks: int

    def dropped(self, which: str) -> dict[int, tuple[str, int]]:
        """Row -> (reason, keeper) of what is to be dropped: `exact`, `near` (which includes exact) or nothing."""
        found = {row: ("near_duplicate", keeper) for row, keeper in self.near.items()} if which == "near" else {}
        if which in ("exact", "near"):
            found |= {row: ("duplicate", keeper) for row, keeper in self.exact.items()}
        return found


def find(tables: list[pa.Table]) -> Duplicates:
    """Duplicates among the rows of tables of `SCHEMA`.

    Memory is some 300 bytes a row. Of each set of duplicates a held-out row is kept if there is one, else the row with
    the smallest id.
    """
    ids, ranks, digests, rows, keys, looks = _columns(tables)
    order = np.lexsort((ids, ranks))  # keepers come first
    place = np.empty(len(ids), np.int64)
    place[order] = np.arange(len(ids))

    same = list(_links(digests[order], np.arange(len(ids))))
    exact_to = {int(ids[order[row]]): int(ids[order[first]]) for row, first in same}
    gone = {row for row, _ in same}

    parent = np.arange(len(ids))
    for shared in _shared(keys, place[rows]):
        kept = [row for row in shared.tolist() if row not in gone]
        for at, row in enumerate(kept):
            for earlier in _alike(looks, order, row, kept[max(0, at - COMPARED) : at]):
                a, b = sorted((_root(parent, row), _root(parent, earlier)))
                parent[b] = a
    near_to = {
        int(ids[order[row]]): int(ids[order[root]])
        for row in range(len(ids))
        if row not in gone and (root := _root(parent, row)) != row
    }
    rank_of = dict(zip(ids.tolist(), ranks.tolist(), strict=True))
    leaks = sum(rank_of[row] == 2 and rank_of[keeper] < 2 for row, keeper in (*exact_to.items(), *near_to.items()))
    return Duplicates(exact_to, near_to, leaks)


def _columns(tables: list[pa.Table]) -> tuple[Ids, Ids, NDArray[Any], Ids, NDArray[np.uint64], list[bytes]]:
    """Ids, ranks of their splits and digests of all rows; of all near keys their row and value; and the looks."""
    table = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    near = table["near"].combine_chunks()
    counts = np.diff(near.offsets.to_numpy()) if len(near) else np.zeros(0, np.int64)
    ranks = np.array([RANK[split] for split in table["split"].to_pylist()], np.int64)
    digests = np.array([int.from_bytes(value[:8], "big") for value in table["exact"].to_pylist()], np.uint64)
    keys = near.flatten().to_numpy(zero_copy_only=False)
    return (
        table["id"].to_numpy(),
        ranks,
        digests,
        np.repeat(np.arange(len(table)), counts),
        keys,
        table["look"].to_pylist(),
    )


def _shared(values: NDArray[Any], places: Ids) -> Iterator[Ids]:
    """The places of each value that several have, in order and once each."""
    order = np.lexsort((places, values))
    values, places = values[order], places[order]
    if not len(values):
        return
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    ends = np.append(starts[1:], len(values))
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        if len(found := np.unique(places[start:end])) > 1:
            yield found


def _links(values: NDArray[Any], places: Ids) -> Iterator[tuple[int, int]]:
    """(place, first place with the same value) for each place that is not the first."""
    for shared in _shared(values, places):
        yield from ((int(place), int(shared[0])) for place in shared[1:])


def _alike(looks: list[bytes], order: Ids, row: int, others: list[int]) -> list[int]:
    """Those of the other rows that look like a row; without looks a shared key is enough."""
    own = looks[order[row]]
    same = [other for other in others if len(looks[order[other]]) == len(own)]
    if not own or not same:
        return same[:1]
    theirs = np.frombuffer(b"".join(looks[order[other]] for other in same), np.uint8).reshape(len(same), -1)
    distances = np.abs(theirs.astype(np.int16) - np.frombuffer(own, np.uint8)).mean(1)
    return [other for other, distance in zip(same, distances, strict=True) if distance <= LEVELS]


def _root(parent: Ids, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row
