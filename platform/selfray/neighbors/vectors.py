"""The vectors of a folder of embeddings, a batch at a time, and exact search through them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..corpus.work import SPLITS
from ..errors import UserError

NOTE = "_embedding.json"
"""Whose vectors a folder holds; readers of a folder of Parquet leave out names with an underscore."""
ROWS = 16_384  # read at once: 32 MiB of 512 numbers each

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]


def files(folder: Path) -> list[Path]:
    """The Parquet files, in the order of splits and shards.

    Raises:
        UserError: there are none.
    """
    found = [file for split in SPLITS for file in sorted((folder / split).glob("*.parquet"))]
    if not found:
        raise UserError(f"no embeddings in {folder}; `selfray embed MODEL CORPUS {folder}` writes them")
    return found


def size(folder: Path) -> tuple[int, int]:
    """Rows, and numbers of a vector."""
    listed = files(folder)
    width = int(pq.read_schema(listed[0]).field("embedding").type.list_size)
    return sum(pq.read_metadata(file).num_rows for file in listed), width


def batches(folder: Path, rows: int = ROWS) -> Iterator[tuple[Ids, Vectors]]:
    """Ids (n,) and unit vectors (n, width) of all rows, in the order of the files."""
    for file in files(folder):
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(rows, columns=["id", "embedding"]):
                flat = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
                yield batch.column("id").to_numpy(), unit(flat.reshape(len(batch), -1))


def unit(vectors_ND: Vectors) -> Vectors:
    """The vectors brought to length 1; one that is zero or not finite becomes zero, and is like nothing."""
    wide = np.asarray(vectors_ND, np.float32)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    usable = np.isfinite(length) & (length > 0)
    return np.divide(wide, length, out=np.zeros_like(wide), where=usable)


def nearest(folder: Path, queries_QD: Vectors, count: int) -> tuple[Ids, Vectors]:
    """The most similar rows of each query by exact search: ids and cosine similarities, (queries, count), best first.

    Memory holds one batch and the best so far. Where there are fewer rows than `count`, so are the columns.

    Args:
        folder: The embeddings.
        queries_QD: Unit vectors.
        count: How many for each query.
    """
    best_ids = np.empty((len(queries_QD), 0), np.int64)
    best = np.empty((len(queries_QD), 0), np.float32)
    for ids, vectors in batches(folder):
        best_ids, best = merged(best_ids, best, ids, queries_QD @ vectors.T, count)
    return best_ids, best


def merged(best_ids: Ids, best: Vectors, ids: Ids, similarity_QN: Vectors, count: int) -> tuple[Ids, Vectors]:
    """The best so far together with the rows of another batch, cut to `count`; of equal ones the earlier row wins."""
    if similarity_QN.shape[1] > count:
        part = np.argpartition(-similarity_QN, count - 1, axis=1)[:, :count]
        part.sort(axis=1)
    else:
        part = np.broadcast_to(np.arange(similarity_QN.shape[1]), similarity_QN.shape)
    all_ids = np.concatenate([best_ids, ids[part]], axis=1)
    both = np.concatenate([best, np.take_along_axis(similarity_QN, part, axis=1)], axis=1)
    order = np.argsort(-both, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(all_ids, order, axis=1), np.take_along_axis(both, order, axis=1)


def of_id(folder: Path, id: int) -> Vectors:
    """The unit vector of a row, (1, width).

    Raises:
        UserError: there is no such id.
    """
    found = _dataset(folder).to_table(columns=["embedding"], filter=ds.field("id") == id)
    if not found.num_rows:
        ids = _dataset(folder).to_table(columns=["id"])["id"].to_numpy()
        close = int(ids[np.abs(ids - id).argmin()])
        there = f"{len(ids):,} ids from {ids.min()} to {ids.max()}"
        raise UserError(f"{folder} has no id {id}; it holds {there}, the nearest of them is id:{close}")
    return unit(np.array(found["embedding"].to_pylist()[:1], np.float32))


def about(folder: Path, ids: Ids) -> dict[int, dict[str, object]]:
    """Label, group and source of some rows, by id."""
    columns = ["id", "label", "group", "source"]
    table = _dataset(folder).to_table(columns=columns, filter=ds.field("id").isin(ids.tolist()))
    return {int(row.pop("id")): row for row in table.to_pylist()}


def _dataset(folder: Path) -> ds.Dataset:
    return ds.dataset([str(file) for file in files(folder)])
