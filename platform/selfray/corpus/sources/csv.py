"""A CSV file of pixel values: one greyscale square image a line, and its label."""

from collections.abc import Iterator
from itertools import islice
from math import isqrt
from typing import BinaryIO

import numpy as np

from ...errors import UserError
from .. import location
from ..bad import BadSample
from ..location import Location
from .source import File, Fragment, Sample, Source, pieces

_LABELS = ("label", "class", "target", "y")


class Csv(Source):
    """Comma-separated integers 0 to 255, row by row, and a label.

    The label is the column that a header line calls `label`, `class`, `target` or `y`; without a header, the last.
    """

    supports = "one CSV file of pixel values with a label column (.csv, .csv.gz)"

    def __init__(self, path: Location, files: list[File], classes: tuple[str, ...] = ()):
        super().__init__(path, files)
        self._file = next(file for file in files if file.suffix in (".csv", ".csv.gz"))
        with _open(self.root / self._file.path) as lines:
            first = next(lines, b"").strip().split(b",")
            self._header = not all(_is_integer(field) for field in first)
            names = [field.decode("utf-8", "replace").strip().strip('"').lower() for field in first]
            found = [names.index(label) for label in _LABELS if label in names]
            if self._header and not found:
                raise UserError(f"{self._file.path} has no column {' or '.join(_LABELS)}; its first is {names[0]!r}")
            self._column = found[0] if self._header else len(first) - 1
            self._side = isqrt(len(first) - 1)
            if not self._side or self._side**2 != len(first) - 1:
                raise UserError(f"{self._file.path} has {len(first) - 1} pixel columns, which is no square image")
            labels = [_label(line, self._column, len(first)) for line in lines]
        if not self._header:
            labels.insert(0, _label(b",".join(first), self._column, len(first)))
        self._rows, distinct = len(labels), {label for label in labels if label is not None}
        integers = all(_is_integer(label.encode()) for label in distinct)
        ordered = sorted(distinct, key=int) if integers else sorted(distinct)
        if classes and (not integers or not all(0 <= int(label) < len(classes) for label in distinct)):
            raise UserError(f"{self._file.path} has labels other than 0 to {len(classes) - 1}")
        self.classes = tuple(classes) or tuple(ordered)
        self._named = bool(classes)

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        return kind in (None, "image") and len(files) == 1 and files[0].suffix in (".csv", ".csv.gz")

    def used(self) -> set[str]:
        return {self._file.path}

    def fragments(self, rows: int) -> list[Fragment]:
        where = {"file": [*self._file], "header": self._header, "column": self._column, "side": self._side}
        where["classes"] = list(self.classes) if self._named else None
        return [
            Fragment(self.name, str(self.root), "train", start, count, {**where})
            for start, count in pieces(self._rows, rows)
        ]

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        where, side = fragment.where, fragment.where["side"]
        skip = fragment.first + where["header"]
        with _open(location.under(fragment.root, where["file"][0])) as lines:
            for id, line in enumerate(islice(lines, skip, skip + fragment.rows), fragment.first):
                label = _label(line, where["column"], side * side + 1)
                if where["classes"] and label is not None:
                    label = where["classes"][int(label)]
                yield Sample(id, f"{where['file'][0]}#{id}", _pixels(line, where["column"], side), label)


def _open(path: Location) -> BinaryIO:
    return location.unzipped(path) if path.suffix == ".gz" else path.open("rb")


def _is_integer(field: bytes) -> bool:
    return field.strip().removeprefix(b"-").isdigit()


def _label(line: bytes, column: int, columns: int) -> str | None:
    """The label of a whole line; a line of another length has none, and its pixels are quarantined."""
    fields = line.strip().split(b",")
    return fields[column].decode("utf-8", "replace").strip().strip('"') if len(fields) == columns else None


def _pixels(line: bytes, column: int, side: int) -> np.ndarray | BadSample:
    fields = line.strip().split(b",")
    if len(fields) != side * side + 1:
        return BadSample("undecodable", f"{len(fields)} columns instead of {side * side + 1}")
    del fields[column]
    try:
        pixels = np.array([int(field) for field in fields])
    except ValueError as error:
        return BadSample("undecodable", str(error))
    if pixels.min() < 0 or pixels.max() > 255:
        return BadSample("undecodable", "pixel values outside 0 to 255")
    return pixels.astype(np.uint8).reshape(side, side)
