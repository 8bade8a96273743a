"""Samples of a prepared corpus as arrays: the decoding of the training stream, and random access for looking."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError
from . import in_place, place
from .manifest import Manifest

COLUMNS = ["id", "data", "length"]
"""What a training stream reads: neither labels nor groups."""


def decode(table: pa.Table, manifest: Manifest) -> np.ndarray:
    """The column `data` of a table of `groups` as an array: rows x the manifest's shape, of its dtype.

    Rows that are shorter along the first axis end in `padding(manifest)`. Full raw rows in one chunk are not copied,
    and the result is then read-only; in every other case it is allocated once.

    Raises:
        UserError: a sample is not what the manifest says; its shard is damaged.
    """
    if manifest.lake is not None:
        return in_place.decode(table, manifest)
    chunks = [_values(chunk, manifest) for chunk in table.column("data").chunks if len(chunk)]
    raw = manifest.encoding == "raw"
    if raw and len(chunks) == 1 and _all_full(chunks[0][1], manifest):
        return _full(*chunks[0], manifest)
    values = np.empty((table.num_rows, *manifest.shape), manifest.dtype)
    row = 0
    for data, offsets in chunks:
        count = len(offsets) - 1
        if raw and _all_full(offsets, manifest):
            values[row : row + count] = _full(data, offsets, manifest)
        else:
            for number in range(count):
                one = data[offsets[number] : offsets[number + 1]]
                if raw:
                    _fill(values[row + number], one, manifest)
                else:
                    values[row + number] = _file(one, manifest)
        row += count
    return values


def groups(folder: place.Place, manifest: Manifest, file: str, numbers: list[int], columns: list[str]) -> pa.Table:
    """Row groups of a shard; `data` is fetched from the lake if the corpus is indexed in place.

    Raises:
        UserError: the shard or the lake's file is missing, damaged or changed.
    """
    lake = manifest.lake if "data" in columns else None
    wanted = columns if lake is None else ["row" if name == "data" else name for name in columns]
    with place.shard(folder, file) as shard:
        table = shard.read_row_groups(numbers, columns=wanted)
        sizes = [shard.metadata.row_group(number).num_rows for number in numbers]
    if lake is None:
        return table
    cells = in_place.fetch(lake, file, numbers, np.split(table["row"].to_numpy(), np.cumsum(sizes)[:-1]))
    return table.set_column(table.schema.get_field_index("row"), "data", cells)


def batches(folder: place.Place, manifest: Manifest, file: str, size: int, columns: list[str]) -> Iterator[pa.Table]:
    """All rows of a shard in order, at most `size` at once; errors as of `groups`."""
    (shard,) = (one for shards in manifest.splits.values() for one in shards if one.file == file)
    for number in range(len(shard.row_groups)):
        table = groups(folder, manifest, file, [number], columns)
        yield from (table.slice(start, size) for start in range(0, len(table), size))


def lengths(table: pa.Table) -> NDArray[np.int32]:
    """Valid entries of each row along the first axis."""
    found: NDArray[np.int32] = table.column("length").to_numpy()
    return found


def padding(manifest: Manifest) -> float:
    """What fills up a short row: the data type's `pad` if its facts name one, NaN for floats, else 0."""
    if "pad" in manifest.facts:
        return int(manifest.facts["pad"])
    return np.nan if np.issubdtype(np.dtype(manifest.dtype), np.floating) else 0


def read_rows(folder: str | Path, split: str, rows: slice | Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """Some rows of a split, in the order asked for; only their row groups are read.

    Returns:
        `id` int64 (rows), `data` (rows x the manifest's shape), `length` int32 (rows), `label` int32 (rows; -1 where
        there is none).

    Raises:
        UserError: no such corpus or split, a row outside of it, or a damaged shard.
    """
    return rows_of(folder, Manifest.read(folder), split, rows)


def rows_of(
    folder: place.Place, manifest: Manifest, split: str, rows: slice | Sequence[int] | np.ndarray
) -> dict[str, np.ndarray]:
    """The same where the manifest is known."""
    wanted, total = _numbers(rows, manifest.rows(split)), 0
    ids, labels = np.empty(len(wanted), np.int64), np.empty(len(wanted), np.int32)
    valid = np.empty(len(wanted), np.int32)
    values = np.empty((len(wanted), *manifest.shape), manifest.dtype)
    for shard in manifest.shards(split):
        for group, size in enumerate(shard.row_groups):
            (here,) = np.nonzero((wanted >= total) & (wanted < total + size))
            if len(here):
                table = groups(folder, manifest, shard.file, [group], [*COLUMNS, "label"]).take(wanted[here] - total)
                ids[here] = table.column("id").to_numpy()
                valid[here] = lengths(table)
                labels[here] = table.column("label").fill_null(-1).to_numpy()
                values[here] = decode(table, manifest)
            total += size
    return {"id": ids, "data": values, "length": valid, "label": labels}


def _values(chunk: pa.Array, manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of a binary array's buffer, and the rows + 1 offsets into it; a slice keeps its parent's buffers."""
    if chunk.null_count:
        raise UserError(f"corpus {manifest.name!r} has samples without data; prepare it again")
    _, offsets, data = chunk.buffers()
    width = np.int64 if pa.types.is_large_binary(chunk.type) else np.int32
    return np.frombuffer(data, np.uint8), np.frombuffer(offsets, width)[chunk.offset : chunk.offset + len(chunk) + 1]


def _all_full(offsets: np.ndarray, manifest: Manifest) -> bool:
    return bool((np.diff(offsets) == manifest.row_bytes).all())


def _full(data: np.ndarray, offsets: np.ndarray, manifest: Manifest) -> np.ndarray:
    part = data[offsets[0] : offsets[-1]]
    return np.frombuffer(part, manifest.dtype).reshape(-1, *manifest.shape)


def _fill(row: np.ndarray, data: np.ndarray, manifest: Manifest) -> None:
    """Put the values of a short row at its front."""
    step = manifest.row_bytes // manifest.shape[0]
    valid, rest = divmod(len(data), step)
    if rest or not 0 < valid <= manifest.shape[0] or manifest.kind == "image":
        raise UserError(
            f"corpus {manifest.name!r} has samples of another size than its manifest says; prepare it again"
        )
    row[:valid] = np.frombuffer(data.tobytes(), manifest.dtype).reshape(valid, *manifest.shape[1:])
    row[valid:] = padding(manifest)


def _file(data: np.ndarray, manifest: Manifest) -> np.ndarray:
    height, width, channels = manifest.shape
    try:
        picture = Image.open(io.BytesIO(data.tobytes()), formats=("PNG", "JPEG"))
        if picture.size == (width, height) and picture.mode == ("L" if channels == 1 else "RGB"):
            return np.asarray(picture).reshape(manifest.shape)
        problem = f"a {picture.mode} image of {picture.size[0]} x {picture.size[1]}"
    except (OSError, SyntaxError, ValueError) as error:
        problem = str(error)
    raise UserError(f"corpus {manifest.name!r} has a damaged sample ({problem}); prepare it again")


def _numbers(rows: slice | Sequence[int] | np.ndarray, total: int) -> np.ndarray:
    if isinstance(rows, slice):
        return np.arange(*rows.indices(total))
    wanted = np.asarray(rows, np.int64)
    if len(wanted) and (wanted.min() < 0 or wanted.max() >= total):
        raise UserError(f"row {wanted.max() if wanted.min() >= 0 else wanted.min()} is outside of 0 to {total - 1}")
    return wanted
