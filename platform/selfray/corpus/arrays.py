"""Rows of arrays in `.npy` and `.npz` files, read from a stream: nothing is unpickled, and no array is loaded whole."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from tokenize import TokenError  # of numpy's parser of headers
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .bad import BadSample
from .location import Location

MAX_ROW_BYTES = 256 << 20
_CHUNK = 1 << 20
_DAMAGED = (OSError, EOFError, ValueError, RuntimeError, TokenError, zlib.error, zipfile.BadZipFile)
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Array(NamedTuple):
    """An array in a file (`member` of an `.npz`): its name, shape, and numpy's name of its type; plain values."""

    name: str
    member: str
    shape: list[int]
    dtype: str
    offset: int  # of the first value

    @property
    def row_bytes(self) -> int:
        """Bytes of an entry of the first axis; of an array without axes, of the value."""
        return int(np.prod(self.shape[1:], dtype=object)) * np.dtype(self.dtype).itemsize


def found(path: Location) -> list[Array]:
    """The arrays of a file, in the order of their names; numbers in names count as numbers.

    Raises:
        UserError: the file is damaged, or an array holds Python objects or is in Fortran order.
    """
    try:
        if path.suffix.lower() == ".npz":
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if name.endswith(".npy")]
        else:
            names = [""]
        return [_array(path, name) for name in sorted(names, key=_natural)]
    except _DAMAGED as error:
        raise UserError(f"{path} cannot be read as a numpy file: {type(error).__name__}: {error}") from None


def rows(path: Location, array: Array, first: int, count: int) -> Iterator[NDArray[np.generic] | BadSample]:
    """Entries of the first axis from `first` on; what cannot be read is a `BadSample`, and so is all after it."""
    bad: BadSample | None = None
    if array.row_bytes > MAX_ROW_BYTES:
        bad = BadSample("too_long", f"{array.row_bytes:,} bytes, more than {MAX_ROW_BYTES:,}")
    done = 0
    try:
        with _opened(path, array.member) as file:
            if bad is None:
                _skip(file, array.offset + first * array.row_bytes)
            while bad is None and done < count:
                data = _exactly(file, array.row_bytes)
                if len(data) < array.row_bytes:
                    bad = BadSample("truncated", f"the file ends in entry {first + done} of {array.name}")
                    break
                done += 1
                yield np.frombuffer(data, array.dtype).reshape(array.shape[1:])
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        bad = BadSample("unreadable", f"{type(error).__name__}: {error}"[:300])
    for _ in range(done, count):
        yield bad or BadSample("unreadable", "not there")


def whole(path: Location, array: Array) -> NDArray[np.generic]:
    """A small array.

    Raises:
        UserError: it is large, or damaged.
    """
    if int(np.prod(array.shape, dtype=object)) * np.dtype(array.dtype).itemsize > MAX_ROW_BYTES:
        raise UserError(f"{array.name} of {path} has {array.shape} values, too many for labels")
    values = list(rows(path, array, 0, array.shape[0]))
    for value in values:
        if isinstance(value, BadSample):
            raise UserError(f"{array.name} of {path} cannot be read: {value}")
    return np.array(values, array.dtype).reshape(array.shape)


def _array(path: Location, member: str) -> Array:
    with _opened(path, member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"version {version} of the format is not known")
        shape, fortran, dtype = _READERS[version](file)
        offset = file.tell()
    name = member.removesuffix(".npy") or path.stem
    if dtype.hasobject:
        raise UserError(f"{name} of {path} holds Python objects, which are not read; save one array a series instead")
    if fortran and len(shape) > 1:
        raise UserError(f"{name} of {path} is in Fortran order; save np.ascontiguousarray of it")
    return Array(name, member, [int(size) for size in shape], dtype.str, offset)


@contextmanager
def _opened(path: Location, member: str) -> Iterator[IO[bytes]]:
    if not member:
        with path.open("rb") as file:
            yield file
        return
    with path.open("rb") as file, zipfile.ZipFile(file) as archive, archive.open(member) as inside:
        yield inside


def _skip(file: IO[bytes], offset: int) -> None:
    """Go forward; a packed member is unpacked piece by piece."""
    if not isinstance(file, zipfile.ZipExtFile):
        file.seek(offset)
        return
    while file.tell() < offset and file.read(min(_CHUNK, offset - file.tell())):
        pass


def _exactly(file: IO[bytes], size: int) -> bytes:
    """So many bytes, or fewer at the end; a stream's `read` may give less than it has, and memory grows with what is
    there, not with what a header says."""
    parts, missing = [], size
    while missing and (part := file.read(min(missing, _CHUNK))):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts `series_10` after `series_9`."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.findall(r"[0-9]{1,18}|[^0-9]", name)]
