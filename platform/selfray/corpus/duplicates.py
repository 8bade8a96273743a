"""Exact and near duplicates of a whole corpus, found from a few bytes a row."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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
RANK = {"test": 0, "val": 1, "train": 2}  # which split keeps its copy: a test sample must not be trained on
LEVELS = 3.0  # by which the bytes of near duplicates may differ in the mean


def exact(data: bytes) -> bytes:
    """16 bytes that only equal data share."""
    return hashlib.blake2b(data, digest_size=16).digest()


def bands(signature: int) -> list[int]:
    """A 64-bit signature as four keys; two signatures that differ in at most three bits share one of them."""
    return [(band << 16) | ((signature >> (16 * band)) & 0xFFFF) for band in range(4)]


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


def find(files: list[Path]) -> Duplicates:
    """Duplicates among the rows of signature files.

    Memory is some 300 bytes a row. Of each set of duplicates a held-out row is kept if there is one, else the row with
    the smallest id. `files` are Parquet files of `SCHEMA`.
    """
    ids, ranks, digests, rows, keys, looks = _columns(files)
    order = np.lexsort((ids, ranks))  # keepers come first
    place = np.empty(len(ids), np.int64)
    place[order] = np.arange(len(ids))

    same = list(_links(digests[order], np.arange(len(ids))))
    exact_to = {int(ids[order[row]]): int(ids[order[first]]) for row, first in same}
    gone = {row for row, _ in same}

    parent = np.arange(len(ids))
    for row, first in _links(keys, place[rows]):
        if row in gone or first in gone:
            continue
        if not _alike(looks[order[row]], looks[order[first]]):
            continue
        a, b = sorted((_root(parent, row), _root(parent, first)))
        parent[b] = a
    near_to = {
        int(ids[order[row]]): int(ids[order[root]])
        for row in range(len(ids))
        if row not in gone and (root := _root(parent, row)) != row
    }
    rank_of = dict(zip(ids.tolist(), ranks.tolist(), strict=True))
    leaks = sum(rank_of[row] == 2 and rank_of[keeper] < 2 for row, keeper in (*exact_to.items(), *near_to.items()))
    return Duplicates(exact_to, near_to, leaks)


def _columns(files: list[Path]) -> tuple[Ids, Ids, NDArray[Any], Ids, NDArray[np.uint64], list[bytes]]:
    """Ids, ranks of their splits and digests of all rows; of all near keys their row and value; and the looks."""
    tables = [pq.read_table(file) for file in files]
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


def _links(values: NDArray[Any], places: Ids) -> Iterator[tuple[int, int]]:
    """(place, first place with the same value) for each place that is not the first."""
    order = np.lexsort((places, values))
    values, places = values[order], places[order]
    if not len(values):
        return
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    for start, end in zip(starts, [*starts[1:], len(values)], strict=True):
        for other in range(start + 1, end):
            if places[other] != places[start]:
                yield int(places[other]), int(places[start])


def _alike(one: bytes, other: bytes) -> bool:
    a, b = (np.frombuffer(look, np.uint8).astype(np.int16) for look in (one, other))
    return len(a) == len(b) and (not len(a) or float(np.abs(a - b).mean()) <= LEVELS)


def _root(parent: Ids, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row
