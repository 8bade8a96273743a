"""Tables of numbers, CSV or Parquet, read in batches of a few MiB: rows of a span, and numbers out of any column."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from ..errors import UserError
from . import location
from .location import Address, Location

BLOCK_BYTES = 4 << 20  # of CSV text parsed at once; a longer line is refused
BATCH_ROWS = 4096
_MISSING = ("", "?", "na", "n/a", "nan", "null", "none", "-")
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[iI]nf(inity)?)$"


class Table(NamedTuple):
    """What a table's columns are, by name and in order; the names of a CSV file without a header are f0, f1, ..."""

    numbers: list[str]
    lists: list[str]  # of numbers, or of lists of them
    others: list[str]
    headless: bool = False

    @property
    def names(self) -> list[str]:
        """All columns."""
        return [*self.numbers, *self.lists, *self.others]


def look(path: Location) -> Table:
    """The columns; a CSV column is one of numbers if most values of its first block are.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        if _is_parquet(path):
            with location.parquet(path) as parquet:
                schema = parquet.schema_arrow
            numbers = [field.name for field in schema if _is_numeric(field.type)]
            lists = [field.name for field in schema if _is_list(field.type)]
            rest = [name for name in schema.names if name not in numbers and name not in lists]
            return Table(numbers, lists, rest)
        headless = _headless(path)
        with _csv(path, None, headless) as reader:
            names, first = reader.schema.names, next(iter(reader), None)
        if first is None or not first.num_rows:
            raise UserError(f"{path} has no rows")
        if len(set(names)) < len(names):
            raise UserError(f"{path} has two columns of one name; rename one of {', '.join(names[:50])}")
        mostly = [name for name in names if 2 * _bad(first.column(name)).sum() < len(first)]
        return Table(mostly, [], [name for name in names if name not in mostly], headless)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a table: {error}") from None


def batches(
    path: Location, columns: list[str], start: int = 0, stop: int | None = None, headless: bool = False
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of its first row, batch) of the rows from `start` to `stop`; all columns of a CSV file are text."""
    at = 0
    if _is_parquet(path):
        with location.parquet(path) as parquet:
            sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
            for group, size in enumerate(sizes):
                if at + size > start and (stop is None or at < stop):
                    here = at
                    for batch in parquet.iter_batches(BATCH_ROWS, [group], columns, use_threads=False):
                        yield from _within(here, batch, start, stop)
                        here += len(batch)
                at += size
        return
    with _csv(path, columns, headless) as reader:
        for batch in reader:
            yield from _within(at, batch, start, stop)
            at += len(batch)
            if stop is not None and at >= stop:
                return


def numbers(column: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values with NaN where one is missing, and where text is no number; both (rows,)."""
    wrong = _bad(column)
    if _is_text(column.type):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pa.array(wrong | _absent(column)), pa.scalar(None, column.type), column)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64), wrong


def moments_in_time(column: pa.Array) -> NDArray[Any]:
    """Times as numbers that grow with them: float64 numbers, or int64 nanoseconds of ISO 8601 dates.

    A missing one is NaN, or the smallest integer.

    Raises:
        ValueError: they are neither.
    """
    if pa.types.is_temporal(column.type):
        ticks = column.cast(pa.timestamp("ns")) if pa.types.is_date(column.type) else column
        found: NDArray[Any] = pc.fill_null(ticks.cast(pa.int64()), np.iinfo(np.int64).min).to_numpy()
        return found
    values, wrong = numbers(column)
    if not wrong.any():
        return values
    try:
        return moments_in_time(pc.utf8_trim_whitespace(column).cast(pa.timestamp("ns")))
    except pa.ArrowException:
        raise ValueError(f"{column[int(np.argmax(wrong))].as_py()!r} is neither a number nor an ISO date") from None


def rows_of(path: Location, table: Table) -> int:
    """How many rows there are."""
    if _is_parquet(path):
        with location.parquet(path) as parquet:
            return int(parquet.metadata.num_rows)
    return sum(len(batch) for _, batch in batches(path, table.names[:1], headless=table.headless))


def _csv(path: Location, columns: list[str] | None, headless: bool) -> pacsv.CSVStreamingReader:
    tabs = ".tsv" in path.suffixes
    names = _fields(path, tabs)
    if headless:
        names = [f"f{number}" for number in range(len(names))]
    return pacsv.open_csv(
        _text(path),
        pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, autogenerate_column_names=headless),
        pacsv.ParseOptions(delimiter="\t" if tabs else ","),
        pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), include_columns=columns, strings_can_be_null=False
        ),
    )


def _text(path: Location) -> Any:
    """What pyarrow reads CSV from; of a path it sees by itself whether it is packed."""
    if not isinstance(path, Address):
        return path
    return location.unzipped(path) if path.suffix.lower() == ".gz" else path.open()


def _fields(path: Location, tabs: bool) -> list[str]:
    """The fields of the first line."""
    with location.unzipped(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        line = file.readline(BLOCK_BYTES).decode("utf-8-sig").rstrip("\r\n")
    read = pacsv.read_csv(
        pa.BufferReader(line.encode() + b"\n"),
        pacsv.ReadOptions(use_threads=False, autogenerate_column_names=True, block_size=2 * BLOCK_BYTES),
        pacsv.ParseOptions(delimiter="\t" if tabs else ","),
        pacsv.ConvertOptions(column_types={}, check_utf8=True, null_values=[], strings_can_be_null=False),
    )
    return [str(column[0].as_py()) for column in read.columns] if read.num_rows else []


def _headless(path: Location) -> bool:
    """Whether the first line holds numbers only."""
    return not _bad(pa.array(_fields(path, ".tsv" in path.suffixes) or ["x"])).any()


def _within(at: int, batch: pa.RecordBatch, start: int, stop: int | None) -> Iterator[tuple[int, pa.RecordBatch]]:
    low = max(start - at, 0)
    high = len(batch) if stop is None else min(stop - at, len(batch))
    if low < high:
        yield at + low, batch.slice(low, high - low)


def _bad(column: pa.Array) -> NDArray[np.bool_]:
    """Where text is neither a number nor a word for a missing one."""
    if not _is_text(column.type):
        return np.zeros(len(column), bool)
    trimmed = pc.utf8_trim_whitespace(column)
    number = pc.fill_null(pc.match_substring_regex(trimmed, _NUMBER), True).to_numpy(zero_copy_only=False)
    bad: NDArray[np.bool_] = ~(number | _absent(trimmed))
    return bad


def _absent(trimmed: pa.Array) -> NDArray[np.bool_]:
    words = pc.is_in(pc.utf8_lower(trimmed), pa.array(_MISSING, trimmed.type))
    found: NDArray[np.bool_] = pc.fill_null(words, True).to_numpy(zero_copy_only=False)
    return found


def _is_parquet(path: Location) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def _is_text(type: pa.DataType) -> bool:
    return pa.types.is_string(type) or pa.types.is_large_string(type)


def _is_numeric(type: pa.DataType) -> bool:
    return (
        pa.types.is_integer(type)
        or pa.types.is_floating(type)
        or pa.types.is_decimal(type)
        or pa.types.is_boolean(type)
    )


def _is_list(type: pa.DataType) -> bool:
    nested = pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type)
    return nested and (_is_numeric(type.value_type) or _is_list(type.value_type))
