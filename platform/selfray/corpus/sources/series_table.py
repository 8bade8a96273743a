"""Tables of time series, CSV or Parquet: long, with one row a step, or wide, with one row a series."""

import re
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ...errors import UserError
from .. import columns, location, tables
from ..bad import BadSample
from ..location import Location
from .series_ucr import is_archive
from .source import File, Fragment, Sample, Source, by_split, completed, file_splits, pieces, printable

_TABLES = (".csv", ".csv.gz", ".tsv", ".parquet", ".pq")
_SERIES = ("series", "series_id", "unique_id", "item_id")
_TIMES = ("time", "timestamp", "date", "datetime", "ds")
_LABELS = ("label", "labels", "class", "category")  # a `target` or `y` is a value more often than a class
MAX_CELLS = 1 << 24  # of a fragment of a long table: 64 MiB
MAX_SERIES_CELLS = 1 << 26
MAX_CUTS = 8  # of a file: text has to be read from its beginning for every piece


class SeriesTable(Source):
    """One table, or a folder of them with the same columns, sorted by path. Say kind=series: tables can be anything.

    A long table has a column that names the series, sorted by it (each file is one series without such a column), and
    often one of times, which must increase within a series. Its rows may be in any order of series; a table whose rows
    are sorted by series is read once, and any other once for every piece of work. A wide table has a row a series:
    columns of numbers are its steps, and columns of lists of numbers its channels. Files or folders that start with
    `train`, `test` or `validation` make splits.

    Args:
        data_column: columns of values, separated by commas; by default all numbers that are nothing else.
        label_column: the class of a series; by default a column called label, labels, class or category.
        group_column: of a long table what names the series, by default a column called series, series_id, unique_id or
            item_id; of a wide table what must stay on one side of a split.
        time_column: of a long table; by default a column called time, timestamp, date, datetime or ds.
        layout: long or wide; by default long if there is a column of times or of names of series.
    """

    supports = "tables of time series (.csv, .tsv or .parquet, with kind series)"
    kind = "series"

    def __init__(
        self,
        path: Location,
        files: list[File],
        data_column: str | None = None,
        label_column: str | None = None,
        group_column: str | None = None,
        time_column: str | None = None,
        layout: Literal["long", "wide"] | None = None,
    ):
        super().__init__(path, files)
        self._parts = [file for file in files if _is_table(file)]
        table = self._table = tables.look(self.root / self._parts[0].path)
        for file in self._parts[1:]:
            if (other := tables.look(self.root / file.path)).names != table.names:
                raise UserError(f"{self.root / file.path} has other columns than {self._parts[0].path}: {other.names}")
        if layout not in (None, "long", "wide"):
            raise UserError(f"layout is {layout!r}; it must be long or wide")
        group = self._one(group_column, "group_column", _SERIES if layout != "wide" else ())
        time = self._one(time_column, "time_column", _TIMES if layout != "wide" and not table.lists else ())
        label = self._one(label_column, "label_column", _LABELS)
        self._long = layout == "long" or (
            layout is None and not table.lists and (time is not None or group is not None)
        )
        self._columns: dict[str, Any] = {
            "label": label,
            "group": group,
            "time": time,
            "data": self._data(data_column, label, group, time),
        }
        if self._long and time is not None and not self._times_are_known(time):
            if time_column is not None:
                raise UserError(f"{path}: times in column {time!r} are neither numbers nor ISO dates; leave it out")
            self._columns["time"] = None
        self._index: dict[File, dict[str, tuple[int, int, int]]] = {}
        self._rows: dict[File, int] = {}
        labels = [self._indexed(file) for file in self._parts]
        found = columns.classes(set().union(*labels), label or "", label_column is not None, path)
        if found is None:
            self._columns["label"] = None
        self.classes = found or ()
        self._splits = file_splits(self.root, self._parts)

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        return kind == "series" and any(_is_table(file) for file in files)

    def used(self) -> set[str]:
        return {file.path for file in self._parts}

    def fragments(self, rows: int) -> list[Fragment]:
        made, first = [], 0
        for split, file in by_split(self._parts, self._splits):
            common = {"file": [*file], "columns": self._columns, "headless": self._table.headless}
            for count, where in self._long_pieces(file, rows) if self._long else self._wide_pieces(file, rows):
                made.append(Fragment(self.name, str(self.root), split, first, count, {**common, **where}))
                first += count
        return made

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        path = fragment.where["file"][0]
        samples = _long(fragment) if "series" in fragment.where else _wide(fragment)
        return completed(fragment, samples, lambda number: f"{path}#{number}", (pa.ArrowException, OSError, EOFError))

    def _one(self, given: str | None, key: str, names: tuple[str, ...]) -> str | None:
        every = self._table.names
        if given is not None and given not in every:
            raise UserError(f"{self.path} has no column {given!r} for {key}; its columns are {', '.join(every[:50])}")
        return given if given is not None else next((name for name in every if name.lower() in names), None)

    def _data(self, given: str | None, *others: str | None) -> list[str]:
        table = self._table
        if given is not None:
            return [self._one(name.strip(), "data_column", ()) or "" for name in given.split(",")]
        found = table.lists or [name for name in table.numbers if name not in others]
        if not found:
            raise UserError(f"{self.path} has no column of numbers; its columns are {', '.join(table.names[:50])}")
        return found

    def _times_are_known(self, time: str) -> bool:
        found = tables.batches(self.root / self._parts[0].path, [time], 0, 1000, self._table.headless)
        try:
            return all(len(tables.moments_in_time(batch.column(0))) for _, batch in found)
        except (ValueError, pa.ArrowException):
            return False

    def _indexed(self, file: File) -> set[str | None]:
        """Find the series of a long table, or count the rows of a wide one; its labels."""
        path, label, group = self.root / file.path, self._columns["label"], self._columns["group"]
        wanted = [name for name in dict.fromkeys((label, group if self._long else None)) if name]
        labels: set[str | None] = set()
        index: dict[str, tuple[int, int, int]] = {}
        total = 0
        try:
            for at, batch in tables.batches(path, wanted or self._table.names[:1], headless=self._table.headless):
                total += len(batch)
                if label:
                    labels.update(columns.label(value) for value in batch.column(label).unique().to_pylist())
                if self._long and group:
                    for name, places in _grouped(batch.column(group)):
                        low, _, count = index.get(name, (at + int(places[0]), 0, 0))
                        index[name] = (low, at + int(places[-1]) + 1, count + len(places))
        except (pa.ArrowException, OSError, EOFError) as error:
            raise UserError(f"{path} cannot be read as a table: {error}") from None
        self._rows[file] = total
        self._index[file] = index if group else {file.path: (0, total, total)}
        return labels

    def _long_pieces(self, file: File, rows: int) -> Iterator[tuple[int, dict[str, Any]]]:
        index, wide = self._index[file], len(self._columns["data"])
        whole = all(re.fullmatch(r"-?\d{1,18}", name) for name in index)
        taken: list[str] = []
        cells = 0
        for name in sorted(index, key=(lambda n: (int(n), n)) if whole else None):
            more = index[name][2] * wide
            if taken and (len(taken) == rows or cells + more > MAX_CELLS):
                yield len(taken), _span(index, taken, wide)
                taken, cells = [], 0
            taken.append(name)
            cells += more
        if taken:
            yield len(taken), _span(index, taken, wide)

    def _wide_pieces(self, file: File, rows: int) -> Iterator[tuple[int, dict[str, Any]]]:
        total = self._rows[file]
        for start, count in pieces(total, max(rows, -(-total // MAX_CUTS))):
            yield count, {"span": [start, start + count]}


def _is_table(file: File) -> bool:
    return file.suffix in _TABLES and not file.hidden and not is_archive(file, None)


def _span(index: dict[str, tuple[int, int, int]], names: list[str], wide: int) -> dict[str, Any]:
    """Where a fragment's series are, and which are too long to be read."""
    low, high = min(index[name][0] for name in names), max(index[name][1] for name in names)
    long = [name for name in names if index[name][2] * wide > MAX_SERIES_CELLS]
    return {"span": [low, high], "series": names, "too_long": long}


def _grouped(column: pa.Array) -> Iterator[tuple[str, np.ndarray]]:
    """(series, its rows in their order) in a batch."""
    coded = column.cast(pa.string()).fill_null("").dictionary_encode()
    codes = coded.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(coded.dictionary)))
    yield from zip(coded.dictionary.to_pylist(), np.split(order, starts[1:]), strict=True)


def _long(fragment: Fragment) -> Iterator[Sample]:
    """The series of a fragment, gathered from the rows between their first and last."""
    where, named = fragment.where, fragment.where["columns"]
    (path, *_), (start, stop), single = where["file"], where["span"], named["group"] is None
    held: dict[str, list[Any]] = {name: [] for name in where["series"] if name not in where["too_long"]}
    wanted = list(dict.fromkeys(name for key in ("group", "time", "label") if (name := named[key])))
    wanted += [name for name in named["data"] if name not in wanted]
    for _, batch in tables.batches(location.under(fragment.root, path), wanted, start, stop, where["headless"]):
        values, wrong = _matrix(batch, named["data"])
        groups = [(path, np.arange(len(batch)))] if single else _grouped(batch.column(named["group"]))
        for name, places in groups:
            if name in held:
                part = batch.take(pa.array(places))
                labels = part.column(named["label"]).unique().to_pylist() if named["label"] else []
                times = part.column(named["time"]) if named["time"] else None
                held[name].append((values[places], wrong[places], times, labels))
    for id, name in enumerate(where["series"], fragment.first):
        group = None if single else printable(name)
        source = path if single else f"{path}#{printable(name)}"
        if name not in held:
            yield Sample(id, source, BadSample("too_long", f"more than {MAX_SERIES_CELLS:,} values"), None, group)
            continue
        data, label = _joined(held.pop(name), named["data"])
        yield Sample(id, source, data, label, group)


def _joined(parts: list[Any], names: list[str]) -> tuple[np.ndarray | BadSample, str | None]:
    """The values (time, channels) of a series in the order of the rows, and its label."""
    if not parts:
        return BadSample("unreadable", "its rows are gone"), None
    labels = {columns.label(value) for *_, found in parts for value in found if value is not None}
    label = next(iter(labels), None) if len(labels) == 1 else None
    if len(labels) > 1:
        return BadSample("mixed_labels", f"the labels {', '.join(sorted(map(str, labels)))[:200]}"), None
    wrong = np.concatenate([part[1] for part in parts])
    if wrong.any():
        step, channel = (int(place[0]) for place in np.nonzero(wrong))
        return BadSample("undecodable", f"step {step} of column {names[channel]} is no number"), label
    if parts[0][2] is not None:
        try:
            times = np.concatenate([tables.moments_in_time(part[2]) for part in parts])
        except ValueError as error:
            return BadSample("undecodable", f"the time {error}"), label
        later = times[1:] > times[:-1]
        if not later.all():
            step = int(np.argmin(later)) + 1
            return BadSample("non_monotonic", f"step {step} is not later than the one before"), label
    return np.concatenate([part[0] for part in parts]), label


def _wide(fragment: Fragment) -> Iterator[Sample]:
    where, named = fragment.where, fragment.where["columns"]
    (path, *_), (start, stop), id = where["file"], where["span"], fragment.first
    wanted = list(dict.fromkeys([*(name for key in ("group", "label") if (name := named[key])), *named["data"]]))
    for at, batch in tables.batches(location.under(fragment.root, path), wanted, start, stop, where["headless"]):
        nested = pa.types.is_nested(batch.schema.field(named["data"][0]).type)
        values, wrong = _matrix(batch, named["data"]) if not nested else (None, None)
        labels = batch.column(named["label"]).to_pylist() if named["label"] else [None] * len(batch)
        groups = batch.column(named["group"]).to_pylist() if named["group"] else [None] * len(batch)
        for row in range(len(batch)):
            data: np.ndarray | BadSample
            if values is None or wrong is None:
                data = _lists([batch.column(name)[row].as_py() for name in named["data"]])
            elif wrong[row].any():
                data = BadSample("undecodable", f"column {named['data'][int(np.argmax(wrong[row]))]} is no number")
            else:
                data = values[row][:, None]
            yield Sample(id, f"{path}#{at + row}", data, columns.label(labels[row]), columns.group(groups[row]))
            id += 1


def _matrix(batch: pa.RecordBatch, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Float32 values and where text is no number; both (rows, columns)."""
    found = [tables.numbers(batch.column(name)) for name in names]
    with np.errstate(over="ignore"):
        values = np.stack([value for value, _ in found], axis=1).astype(np.float32)
    return values, np.stack([wrong for _, wrong in found], axis=1)


def _lists(cells: list[Any]) -> np.ndarray | BadSample:
    """One list a channel, or one list of steps with a list of channels each."""
    try:
        with np.errstate(over="ignore"):
            arrays = [np.array(cell if cell is not None else [], np.float64).astype(np.float32) for cell in cells]
        return arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)
    except ValueError:
        return BadSample("ragged", "its lists are of different lengths")
