"""Corpora that are indexed in place: the samples stay in Parquet files of a lake, and are read and checked there."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import UserError
from . import location
from .bad import BadSample
from .location import Location

if TYPE_CHECKING:
    from .kinds import Kind, Row
    from .manifest import Manifest
    from .shards import ShardWriter
    from .sources import Fragment

ROW = pa.field("row", pa.int32(), nullable=False)  # of a shard: the sample's row in its row group of the lake
MAX_GROUP_BYTES = 512 << 20  # of the column in a row group: a read takes all of it

Cell = bytes | NDArray[Any] | None


@dataclass(frozen=True)
class Part:
    """The row groups of a lake's file that a shard's row groups stand for."""

    file: str  # relative to the lake's root
    row_bytes: int  # of a cell, on the average
    groups: tuple[int, ...]  # one for each row group of the shard
    digests: tuple[str, ...]  # of what the column holds there


@dataclass(frozen=True)
class Lake:
    """Where the samples of a corpus are, and how they become what it holds."""

    root: str
    column: str
    settings: dict[str, Any]  # of the data type
    settled: dict[str, Any]
    parts: dict[str, Part]  # shard -> where its samples are

    @property
    def row_bytes(self) -> float:
        """Bytes of a cell, on the average of the files."""
        return sum(part.row_bytes for part in self.parts.values()) / len(self.parts)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Lake":
        """From the plain values of a manifest."""
        parts = {
            name: Part(**{**part, "groups": tuple(part["groups"]), "digests": tuple(part["digests"])})
            for name, part in plain["parts"].items()
        }
        return cls(**{**plain, "parts": parts})


class Pointer:
    """Where the samples of a fragment are in the lake, and which of its row groups each shard stands for."""

    def __init__(self, fragment: "Fragment"):
        self._where = location.under(fragment.root, fragment.where["file"][0])
        self._path: str = fragment.where["file"][0]
        self._column = fragment.where["columns"]["data"]
        self._groups: list[int] = fragment.where["groups"]
        self._taken: dict[str, list[int]] = {}
        with location.parquet(self._where) as parquet:
            sizes = [parquet.metadata.row_group(group).num_rows for group in self._groups]
        self._edges = np.cumsum([0, *sizes])

    def row(self, split: str, number: int, writer: "ShardWriter") -> int:
        """The row in its row group of the fragment's sample `number`; a new one begins a new row group of the shard."""
        at = int(np.searchsorted(self._edges, number, side="right")) - 1
        taken = self._taken.setdefault(split, [])
        if taken[-1:] != [self._groups[at]]:
            writer.flush()
            taken.append(self._groups[at])
        return number - int(self._edges[at])

    def noted(self) -> dict[str, dict[str, Any]]:
        """Split -> the plain values of a `Part`."""
        with location.parquet(self._where) as parquet:
            every = sorted({group for taken in self._taken.values() for group in taken})
            digests, total, rows = {}, 0, 0
            for group in every:
                held = column(parquet, self._column, group)
                digests[group], total, rows = digest(held), total + held.nbytes, rows + len(held)
        common = {"file": self._path, "row_bytes": -(-total // (rows or 1))}
        return {
            split: {**common, "groups": taken, "digests": [digests[group] for group in taken]}
            for split, taken in self._taken.items()
        }


def check(kind: "Kind", data: Any, rows: list["Row"]) -> None:
    """Raise a `BadSample` unless reading a sample in place gives the one row that was made of it."""
    same = len(rows) == 1
    if same and isinstance(data, np.ndarray):
        found, made = kind.in_place(data), rows[0].values
        same = found.shape == made.shape and np.array_equal(found, made, equal_nan=made.dtype.kind == "f")
    if not same:
        raise BadSample("needs_preparing", "it is longer than a row, or would be changed; prepare the corpus instead")


def without_data(schema: pa.Schema) -> pa.Schema:
    """The columns of a shard whose samples stay in the lake."""
    return schema.set(schema.get_field_index("data"), ROW)


def check_groups(root: Location, files: list[str], column: str) -> None:
    """Raise a UserError where a row group is too large to be read whole."""
    for file in files:
        with location.parquet(root / file) as parquet:
            for group in range(parquet.num_row_groups):
                facts = parquet.metadata.row_group(group)
                leaves = [facts.column(number) for number in range(facts.num_columns)]
                size = sum(
                    leaf.total_uncompressed_size for leaf in leaves if leaf.path_in_schema.split(".")[0] == column
                )
                if size > MAX_GROUP_BYTES:
                    raise UserError(
                        f"row group {group} of {root / file} has {size >> 20:,} MiB of {column}, more than "
                        f"{MAX_GROUP_BYTES >> 20}, and a read takes all of it; prepare the corpus, or write the file "
                        "with smaller row groups"
                    )


def fetch(lake: Lake, shard: str, groups: list[int], rows: list[NDArray[np.int32]]) -> pa.ChunkedArray:
    """The cells of some row groups of a shard, as the lake holds them.

    Args:
        rows: for each of the groups, which of its rows are wanted.

    Raises:
        UserError: the lake's file is missing, or is not what it was when it was indexed.
    """
    part = lake.parts[shard]
    where = location.under(lake.root, part.file)
    again = "put the file back, or index the lake again"
    found: list[pa.Array] = []
    try:
        with location.parquet(where) as parquet:
            for group, wanted in zip(groups, rows, strict=True):
                cells = column(parquet, lake.column, part.groups[group])
                if digest(cells) != part.digests[group]:
                    raise UserError(
                        f"{where} has changed since it was indexed (row group {part.groups[group]}); {again}"
                    )
                found.append(cells.take(pa.array(wanted)))
    except (pa.ArrowException, OSError, KeyError, IndexError) as error:
        problem = str(error) or type(error).__name__
        raise UserError(f"{where} cannot be read as it was when it was indexed ({problem}); {again}") from None
    return pa.chunked_array(found)


def column(parquet: Any, name: str, group: int) -> pa.Array:
    """A column of one row group; of a struct, its field `bytes`."""
    table = parquet.read_row_group(group, columns=[name], use_threads=False)
    cells = table.column(name).combine_chunks()
    cells = cells.chunk(0) if isinstance(cells, pa.ChunkedArray) else cells
    return cells.field("bytes") if pa.types.is_struct(cells.type) else cells


def digest(cells: pa.Array) -> str:
    """32 hex digits that change with any value of a column, whichever way the file stores it."""
    made = hashlib.blake2b(digest_size=16)
    while pa.types.is_nested(cells.type):
        made.update(_counts(pc.list_value_length(cells)).data)
        cells = cells.flatten()
    if _is_binary(cells.type):
        made.update(_counts(pc.binary_length(cells)).data)
        made.update(_bytes(cells).data)
    else:
        made.update(cells.is_valid().to_numpy(zero_copy_only=False).data)
        made.update(np.ascontiguousarray(pc.fill_null(cells, 0).to_numpy(zero_copy_only=False)).data)
    return made.hexdigest()


def cells(column: pa.Array) -> list[Cell]:
    """Plain bytes, or an array of each list; None where there is none. Missing numbers become NaN."""
    if _is_binary(column.type):
        return list(column.to_pylist())
    inner: tuple[int, ...] = ()
    if pa.types.is_fixed_size_list(column.type.value_type):
        inner = (column.type.value_type.list_size,)
    flat = column.flatten()
    starts = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy())])
    while pa.types.is_nested(flat.type):
        flat = flat.flatten()
    if flat.null_count:
        flat = pc.fill_null(flat.cast(pa.float64()), np.nan)
    values = flat.to_numpy(zero_copy_only=False).reshape(-1, *inner)
    there = column.is_valid().to_pylist()
    return [values[starts[row] : starts[row + 1]] if there[row] else None for row in range(len(column))]


def decode(table: pa.Table, manifest: "Manifest") -> NDArray[Any]:
    """The column `data` as the lake holds it -> rows x the manifest's shape; short rows are filled up.

    Raises:
        UserError: a sample is not what it was when it was indexed.
    """
    from . import kinds
    from .read import padding

    assert manifest.lake is not None
    kind = kinds.build(manifest.kind, manifest.lake.settings, manifest.lake.settled)
    values = np.empty((table.num_rows, *manifest.shape), manifest.dtype)
    row = 0
    for chunk in table.column("data").chunks:
        for cell in cells(chunk):
            try:
                found = kind.in_place(cell)
            except BadSample as problem:
                raise UserError(f"corpus {manifest.name!r} has a damaged sample ({problem}); index it again") from None
            values[row, : len(found)] = found
            if len(found) < len(values[row]):
                values[row, len(found) :] = padding(manifest)
            row += 1
    return values


def is_sample(type: pa.DataType) -> bool:
    """Whether a column can be read in place: bytes, a struct with them, or lists of numbers."""
    if pa.types.is_struct(type):
        return any(field.name == "bytes" and _is_binary(field.type) for field in type)
    return _is_binary(type) or is_list(type)


def is_list(type: pa.DataType) -> bool:
    """Whether a column holds lists of numbers, or of lists of one length."""
    if not (pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type)):
        return False
    inner = type.value_type
    if pa.types.is_fixed_size_list(inner):
        inner = inner.value_type
    return bool(pa.types.is_integer(inner) or pa.types.is_floating(inner))


def _is_binary(type: pa.DataType) -> bool:
    return bool(pa.types.is_binary(type) or pa.types.is_large_binary(type))


def _counts(lengths: pa.Array) -> NDArray[np.int64]:
    return np.ascontiguousarray(pc.fill_null(lengths.cast(pa.int64()), -1).to_numpy(zero_copy_only=False))


def _bytes(cells: pa.Array) -> NDArray[np.uint8]:
    _, offsets, data = cells.buffers()
    width = np.int64 if pa.types.is_large_binary(cells.type) else np.int32
    edges = np.frombuffer(offsets, width)[cells.offset : cells.offset + len(cells) + 1]
    return np.frombuffer(data, np.uint8)[edges[0] : edges[-1]] if data else np.empty(0, np.uint8)
