"""An index of a folder of embeddings, by FAISS: exact up to a size, above it an inverted file whose recall is measured.

`_index.faiss` is the index and `_index.json` says what it is, and what it was made from. The second is written last:
without it there is no index.
"""

import hashlib
import json
import math
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..storage import Storage
from . import vectors
from .vectors import Ids, Vectors

INDEX, NOTE = "_index.faiss", "_index.json"  # readers of a folder of Parquet leave out names with an underscore
EXACT_UP_TO = 100_000
"""Rows of an exact index: of 256 numbers each, it answers in 50 ms on two cores; an inverted file took 12 s to make."""
PER_LIST = 39
"""Vectors for each cluster below which FAISS warns that it has too few; 50 are sampled."""
SAMPLED = 50
QUERIES = 256
"""Rows that recall is measured with; as many others choose how many lists are searched."""
RECALL_AT = 10
WANTED_RECALL = 0.95
SEED = 0


def needed() -> None:
    """Raise a UserError if FAISS is not installed; nothing is imported."""
    if find_spec("faiss") is None:
        raise UserError("an index needs the package faiss-cpu; install it with: pip install 'selfray[index]'")


def refresh(folder: Path, exact_up_to: int = EXACT_UP_TO) -> dict[str, Any]:
    """Make the index of the vectors that are in a folder, unless it is there; returns what `_index.json` says.

    The files are read in batches, never as a whole: only the index holds all vectors, and lets its memory grow by
    doubling, as FAISS does.

    Args:
        folder: The embeddings.
        exact_up_to: Rows above which the index is approximate.

    Raises:
        UserError: FAISS is not installed, or there are no embeddings.
    """
    needed()
    known, checksum = _read(folder), _checksum(folder)
    if known.get("vectors_sha256") == checksum and _whole(folder, known) and known["exact_up_to"] == exact_up_to:
        if known["files"] != _files(folder):  # the same bytes, copied or written again
            _note(folder, known | {"files": _files(folder)})
        return known
    import faiss

    rows, width = vectors.size(folder)
    remove(folder)
    said: dict[str, Any] = {"metric": "cosine", "rows": rows, "width": width, "exact_up_to": exact_up_to}
    if rows <= exact_up_to:
        made = faiss.index_factory(width, "IDMap2,Flat", faiss.METRIC_INNER_PRODUCT)
        for ids, batch in vectors.batches(folder):
            made.add_with_ids(batch, ids)
        said |= {"index": "Flat", "exact": True}
    else:
        made, measured = _inverted(folder, rows, width)
        said |= {"exact": False, **measured}
    aside = folder / f".{INDEX}.writing"
    faiss.write_index(made, str(aside))
    said |= {"faiss": faiss.__version__, "bytes": aside.stat().st_size}
    os.replace(aside, folder / INDEX)
    _note(folder, said | {"vectors_sha256": checksum, "files": _files(folder)})
    return _read(folder)


def _inverted(folder: Path, rows: int, width: int) -> tuple[Any, dict[str, Any]]:
    """An inverted file of exact vectors that searches as few lists as give the wanted recall, and what was measured.

    Four lists for each square root of the rows, as FAISS's guidelines say ("Guidelines to choose an index", K is
    4*sqrt(N) to 16*sqrt(N)). The rows that measure are not among those that the lists are made from, and a query does
    not count as its own neighbor.
    """
    import faiss

    measuring = 2 * min(QUERIES, rows // 8)
    lists = max(1, min(round(4 * math.sqrt(rows)), (rows - measuring) // PER_LIST))
    drawn = np.random.default_rng(SEED).permutation(rows)
    asked, sample = np.sort(drawn[:measuring]), np.sort(drawn[measuring:][: SAMPLED * lists])
    query_ids, queries = _taken(folder, asked)
    made: Any = faiss.index_factory(width, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    made.cp.seed = SEED
    made.train(_taken(folder, sample)[1])
    truth_ids, truth = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    for ids, batch in vectors.batches(folder):
        made.add_with_ids(batch, ids)
        truth_ids, truth = vectors.merged(truth_ids, truth, ids, queries @ batch.T, RECALL_AT + 1)
    mixed = np.random.default_rng(SEED).permutation(len(queries))  # asked is sorted, and the halves should be alike
    tuned, held = np.array_split(mixed, 2)
    made.nprobe = 1
    while made.nprobe < lists and _recall(made, queries, query_ids, truth_ids, tuned) < WANTED_RECALL:
        made.nprobe = min(2 * made.nprobe, lists)
    recall = {"at": RECALL_AT, "value": _recall(made, queries, query_ids, truth_ids, held), "queries": len(held)}
    return made, {"index": f"IVF{lists},Flat", "lists": lists, "searched_lists": int(made.nprobe), "recall": recall}


def _recall(made: Any, queries: Vectors, query_ids: Ids, truth_ids: Ids, some: Ids) -> float:
    """The share of the ten nearest others that the index finds, over some of the queries."""
    _, found = made.search(queries[some], RECALL_AT + 1)
    shares = []
    for own, mine, right in zip(query_ids[some], found, truth_ids[some], strict=True):
        expected = right[right != own][:RECALL_AT]
        shares.append(len(np.intersect1d(mine[mine != own][:RECALL_AT], expected)) / len(expected))
    return float(np.mean(shares))


def _taken(folder: Path, rows: Ids) -> tuple[Ids, Vectors]:
    """Ids and vectors of some rows, given by their sorted numbers."""
    ids, taken, first = [], [], 0
    for batch_ids, batch in vectors.batches(folder):
        low, high = np.searchsorted(rows, [first, first + len(batch_ids)])
        here = rows[low:high] - first
        ids.append(batch_ids[here])
        taken.append(batch[here])
        first += len(batch_ids)
    return np.concatenate(ids), np.concatenate(taken)


def current(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """What is noted of an index that can be used, or None and a sentence that says why there is none."""
    known = _read(folder)
    if not known:
        return None, "there is no index"
    if find_spec("faiss") is None:
        return None, "the index needs faiss-cpu (pip install 'selfray[index]')"
    if not _whole(folder, known):
        return None, "the index is damaged; `selfray embed` with --index makes it again"
    if known["files"] != _files(folder) and known["vectors_sha256"] != _checksum(folder):
        return None, "the index is of other vectors; `selfray embed` with --index makes it again"
    return known, ""


def search(folder: Path, queries_QD: Vectors, count: int) -> tuple[Ids, Vectors]:
    """As `vectors.nearest`, by the index.

    Raises:
        UserError: the file of the index is damaged.
    """
    import faiss

    known = _read(folder)
    flags = 0 if known["exact"] else faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY  # then only some lists are read
    try:
        opened = faiss.read_index(str(folder / INDEX), flags)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"{folder / INDEX} is damaged ({reason}); remove it, `selfray embed` makes it again") from None
    similarity, ids = opened.search(queries_QD, min(count, known["rows"]))
    return ids, similarity


def remove(folder: Path) -> None:
    """Remove the index, its note first."""
    for name in (NOTE, INDEX):
        (folder / name).unlink(missing_ok=True)


def _read(folder: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return known


def _note(folder: Path, said: dict[str, Any]) -> None:
    Storage.at(folder).write(NOTE, json.dumps(said, indent=1).encode())


def _whole(folder: Path, known: dict[str, Any]) -> bool:
    return (folder / INDEX).is_file() and (folder / INDEX).stat().st_size == known.get("bytes")


def _files(folder: Path) -> dict[str, list[int]]:
    """Bytes and time of the last change of each Parquet file: if they are as noted, the vectors are."""
    found = {file.relative_to(folder).as_posix(): file.stat() for file in vectors.files(folder)}
    return {name: [status.st_size, status.st_mtime_ns] for name, status in found.items()}


def _checksum(folder: Path) -> str:
    """SHA-256 of the names and contents of the Parquet files."""
    digest = hashlib.sha256()
    for file in vectors.files(folder):
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()
