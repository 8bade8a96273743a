"""Samples of a prepared corpus as arrays: the decoding of the training stream, and random access for looking."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ..errors import UserError
from .manifest import Manifest


def decode(table: pa.Table, manifest: Manifest) -> np.ndarray:
    """The column `image` of a table as uint8 pixels, rows x height x width x channels.

    Raw pixels in one chunk are not copied, and the result is then read-only; in every other case it is allocated once.

    Raises:
        UserError: a sample is not what the manifest says; its shard is damaged.
    """
    height, width, channels = manifest.shape
    chunks = [_values(chunk, manifest) for chunk in table.column("image").chunks if len(chunk)]
    if manifest.encoding == "raw" and len(chunks) == 1:
        data, offsets = chunks[0]
        return _raw(data, offsets, manifest)
    pixels = np.empty((table.num_rows, height, width, channels), np.uint8)
    row = 0
    for data, offsets in chunks:
        count = len(offsets) - 1
        if manifest.encoding == "raw":
            pixels[row : row + count] = _raw(data, offsets, manifest)
        else:
            for number in range(count):
                pixels[row + number] = _file(data[offsets[number] : offsets[number + 1]], manifest)
        row += count
    return pixels


def read_rows(folder: str | Path, split: str, rows: slice | Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """Some rows of a split, in the order asked for; only their row groups are read.

    Returns:
        `id` int64 (rows), `image` uint8 (rows x height x width x channels), `label` int32 (rows; -1 where there is
        none).

    Raises:
        UserError: no such corpus or split, a row outside of it, or a damaged shard.
    """
    folder = Path(folder)
    manifest = Manifest.read(folder)
    wanted, total = _numbers(rows, manifest.rows(split)), 0
    ids, labels = np.empty(len(wanted), np.int64), np.empty(len(wanted), np.int32)
    images = np.empty((len(wanted), *manifest.shape), np.uint8)
    for shard in manifest.shards(split):
        for group, size in enumerate(shard.row_groups):
            (here,) = np.nonzero((wanted >= total) & (wanted < total + size))
            if len(here):
                table = _read_group(folder / shard.file, group).take(wanted[here] - total)
                ids[here] = table.column("id").to_numpy()
                labels[here] = table.column("label").fill_null(-1).to_numpy()
                images[here] = decode(table, manifest)
            total += size
    return {"id": ids, "image": images, "label": labels}


def _values(chunk: pa.Array, manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of a binary array's buffer, and the rows + 1 offsets into it; a slice keeps its parent's buffers."""
    if chunk.null_count:
        raise UserError(f"corpus {manifest.name!r} has samples without an image; prepare it again")
    _, offsets, data = chunk.buffers()
    width = np.int64 if pa.types.is_large_binary(chunk.type) else np.int32
    return np.frombuffer(data, np.uint8), np.frombuffer(offsets, width)[chunk.offset : chunk.offset + len(chunk) + 1]


def _raw(data: np.ndarray, offsets: np.ndarray, manifest: Manifest) -> np.ndarray:
    height, width, channels = manifest.shape
    if not (np.diff(offsets) == height * width * channels).all():
        raise UserError(
            f"corpus {manifest.name!r} has samples of another size than its manifest says; prepare it again"
        )
    return data[offsets[0] : offsets[-1]].reshape(-1, height, width, channels)


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


def _read_group(path: Path, group: int) -> pa.Table:
    try:
        with pq.ParquetFile(path) as parquet:
            return parquet.read_row_group(group, columns=["id", "image", "label"], use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is missing or damaged ({error}); prepare the corpus again") from None


def _numbers(rows: slice | Sequence[int] | np.ndarray, total: int) -> np.ndarray:
    if isinstance(rows, slice):
        return np.arange(*rows.indices(total))
    wanted = np.asarray(rows, np.int64)
    if len(wanted) and (wanted.min() < 0 or wanted.max() >= total):
        raise UserError(f"row {wanted.max() if wanted.min() >= 0 else wanted.min()} is outside of 0 to {total - 1}")
    return wanted
