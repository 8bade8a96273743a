"""The samples of a folder of embeddings that are most like a query."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import index, vectors
from .query import embedded, id_of


@dataclass(frozen=True)
class Neighbor:
    """A sample that is like the query; `similarity` is the cosine."""

    rank: int
    similarity: float
    id: int
    label: str | None  # its class's name
    group: str | None
    source: str | None


@dataclass(frozen=True)
class Found:
    """The neighbors, best first, of so many `rows`, and how they were found.

    Args:
        index: What kind of index answered; None if all vectors were read.
        exact: Whether these are the nearest for certain.
        recall: Share of the ten nearest that the index finds, as measured when it was made; 1 if it is exact.
        why: Why there is no index, where none answered.
    """

    neighbors: list[Neighbor]
    rows: int
    index: str | None
    exact: bool
    recall: float
    why: str

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def search(folder: str | Path, asked: str, count: int = 10, model: str | None = None) -> Found:
    """Find the samples most like a query: by the index if there is one of these vectors, else through all of them.

    Args:
        folder: What `selfray embed` wrote.
        asked: `id:42`, a sample of the folder, which is not its own neighbor; a file as the corpus was made from; or
            of text a text.
        count: How many.
        model: The encoder, where it is not where it was when the folder was written.

    Raises:
        UserError: no embeddings, no such sample or file, or the encoder is not there or another one.
    """
    folder = Path(folder)
    rows, _ = vectors.size(folder)
    note = _note(folder)
    own = id_of(asked)
    wanted = embedded(asked, note, folder, model) if own is None else vectors.of_id(folder, own)
    known, why = index.current(folder)
    look = count if own is None else count + 1
    ids, similarity = index.search(folder, wanted, look) if known else vectors.nearest(folder, wanted, look)
    kept = (ids[0] >= 0) & (ids[0] != (-1 if own is None else own))  # an inverted file may find fewer, and says -1
    ids, values = ids[0][kept][:count], similarity[0][kept][:count]
    facts = vectors.about(folder, ids)
    classes = note.get("classes", [])
    found = [
        Neighbor(rank, _plain(value), int(id), _class(facts[int(id)]["label"], classes), *_said(facts[int(id)]))
        for rank, (id, value) in enumerate(zip(ids, values, strict=True), 1)
    ]
    if known is None:
        return Found(found, rows, None, True, 1.0, why)
    exact = known["exact"]
    return Found(found, rows, known["index"], exact, 1.0 if exact else known["recall"]["value"], "")


def _note(folder: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads((folder / vectors.NOTE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return note


def _class(label: Any, classes: list[str]) -> str | None:
    if label is None:
        return None
    return classes[label] if label < len(classes) else str(label)


def _said(row: dict[str, Any]) -> tuple[str | None, str | None]:
    return row["group"], row["source"]


def _plain(value: np.float32) -> float:
    return float(np.clip(value, -1, 1))
