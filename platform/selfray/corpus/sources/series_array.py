"""Numpy files of time series: (series, time), (series, time, channels), or an `.npz` with one array a series."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...errors import UserError
from .. import arrays, columns, location
from ..arrays import Array
from ..bad import BadSample
from ..location import Location
from .source import File, Fragment, Sample, Source, pieces, printable, splits_of

SUFFIXES = frozenset((".npy", ".npz"))
_SPLIT = r"(?:^|[_\-.])(?P<split>train|training|test|testing|val|valid|validation)$"
_LABELS = re.compile(r"(.*[_\-.])?(y|label|labels|target|targets|class|classes)", re.IGNORECASE)
_VALUES = re.compile(r"(x|data|series|values)", re.IGNORECASE)


class _Part(NamedTuple):
    """An array of series: one series an entry, or the whole of it one (`single`), and its labels."""

    file: File
    array: Array
    split: str  # the word that names it, or ""
    single: bool
    labels: list[str] | None


class SeriesArray(Source):
    """Numpy files, sorted by path, nothing unpickled.

    An array of two axes is (series, time), of three (series, time, channels), of one a single series. An `.npz` whose
    arrays are not called `X`, `data`, `series` or `values` has one series an array: (time,) or (time, channels). Names
    that end in `train`, `test` or `validation` make splits, and `y`, `labels` or `target` of the same split are labels.
    """

    supports = "numpy arrays of time series (.npy, .npz)"
    kind = "series"

    def __init__(self, path: Location, files: list[File]):
        super().__init__(path, files)
        self._files = [file for file in files if _is_array(file)]
        listed = [(file, array) for file in self._files for array in arrays.found(self.root / file.path)]
        labels = {}
        values = []
        for file, array in listed:
            word, rest = _named(array.name)
            if _LABELS.fullmatch(rest) and (len(array.shape) == 1 or array.shape[1:] == [1]):
                labels[word, _place(file, array)] = (file, array)
            else:
                values.append((file, array, word, _VALUES.fullmatch(rest) is not None))
        if not values:
            raise UserError(f"{path} has no array of series, only {', '.join(a.name for _, a in listed) or 'nothing'}")
        self._parts = [
            _part(self.root, file, array, word, named, labels.get((word, _place(file, array))))
            for file, array, word, named in values
        ]
        splits = splits_of({part.split for part in self._parts if part.split})
        stray = [part.array.name for part in self._parts if part.split not in splits]
        if len(set(splits.values())) > 1 and stray:
            raise UserError(f"{path} has train and test arrays, but also {stray[0]}; move it")
        self._splits = splits
        distinct = {label for part in self._parts for label in part.labels or () if label}
        classes = columns.classes(distinct, "label", False, path)
        if classes is None:  # targets and no classes
            self._parts = [part._replace(labels=None) for part in self._parts]
        self.classes = classes or ()

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        return kind in (None, "series") and any(_is_array(file) for file in files)

    def used(self) -> set[str]:
        return {file.path for file in self._files}

    def fragments(self, rows: int) -> list[Fragment]:
        made, first = [], 0
        for split in ("train", "val", "test"):
            mine = [part for part in self._parts if self._splits.get(part.split, "train") == split]
            for group in _together(mine, rows):
                count = sum(size for _, _, size in group)
                where = {"pieces": [_plain(part, start, size) for part, start, size in group]}
                made.append(Fragment(self.name, str(self.root), split, first, count, where))
                first += count
        return made

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        id = fragment.first
        for piece in fragment.where["pieces"]:
            path, array = piece["file"][0], Array(*piece["array"])
            if piece["single"]:
                yield Sample(id, f"{path}#{array.name}", _single(location.under(fragment.root, path), array), None)
                id += 1
                continue
            found = arrays.rows(location.under(fragment.root, path), array, piece["start"], piece["count"])
            for number, data in enumerate(found):
                label = piece["labels"][number] or None if piece["labels"] else None
                yield Sample(id, f"{path}#{array.name}[{piece['start'] + number}]", data, label)
                id += 1


def _is_array(file: File) -> bool:
    return file.suffix in SUFFIXES and not file.hidden


def _named(name: str) -> tuple[str, str]:
    """The split's word in an array's name, and what is left of the name."""
    found = re.search(_SPLIT, name, re.IGNORECASE)
    return (found["split"].lower(), name[: found.start()]) if found else ("", name)


def _place(file: File, array: Array) -> str:
    """Where labels and values must be together: in one `.npz`, or in one folder."""
    return file.path if array.member else file.path.rpartition("/")[0]


def _part(root: Location, file: File, array: Array, word: str, named: bool, labels: tuple[File, Array] | None) -> _Part:
    axes = len(array.shape)
    single = axes == 1 or (bool(array.member) and not named and not word and axes == 2)
    if not 1 <= axes <= 3 or np.dtype(array.dtype).kind not in "fiub":
        raise UserError(
            f"{array.name} of {root / file.path} has shape {tuple(array.shape)} and type {np.dtype(array.dtype)}; "
            "series are numbers in (series, time) or (series, time, channels)"
        )
    if labels is None or single:
        return _Part(file, array, word, single, None)
    values = arrays.whole(root / labels[0].path, labels[1]).reshape(-1)
    if len(values) != array.shape[0]:
        raise UserError(
            f"{root} has {array.shape[0]} series in {array.name}, but {len(values)} labels in {labels[1].name}"
        )
    if values.dtype.kind == "f" and (values[~np.isnan(values)] % 1).any():
        return _Part(file, array, word, single, None)  # targets of a regression
    return _Part(file, array, word, single, [_text(value) for value in values.tolist()])


def _text(value: Any) -> str:
    """A label's name; whole numbers are written as such, and an empty text is no label."""
    if isinstance(value, float):
        return "" if np.isnan(value) else str(int(value)) if value.is_integer() else str(value)
    return printable(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))


def _together(parts: list[_Part], rows: int) -> Iterator[list[tuple[_Part, int, int]]]:
    """(part, first entry, entries) for each fragment: about `rows` series, single ones together."""
    singles: list[tuple[_Part, int, int]] = []
    for part in parts:
        if part.single:
            singles.append((part, 0, 1))
            if len(singles) == rows:
                yield singles
                singles = []
            continue
        if singles:
            yield singles
            singles = []
        for start, size in pieces(part.array.shape[0], rows):
            yield [(part, start, size)]
    if singles:
        yield singles


def _plain(part: _Part, start: int, size: int) -> dict[str, Any]:
    labels = part.labels[start : start + size] if part.labels else None
    array = [*part.array]
    return {
        "file": [*part.file],
        "array": array,
        "single": part.single,
        "start": start,
        "count": size,
        "labels": labels,
    }


def _single(path: Location, array: Array) -> np.ndarray | BadSample:
    """All of an array as one series."""
    alone = array._replace(shape=[1, *array.shape])
    return next(iter(arrays.rows(path, alone, 0, 1)))
