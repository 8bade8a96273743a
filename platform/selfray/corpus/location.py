"""Where raw data lies: a path of this machine, or an address of an object store that readers use like one."""

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from ..storage import Storage, Unreachable
from . import place

BUFFER = 1 << 20  # bytes fetched at once of a file that is read bit by bit


@dataclass(frozen=True)
class Address:
    """A file or folder of an object store, such as `s3://bucket/raw`."""

    uri: str

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> "Address":
        return Address(f"{self.uri}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.uri).name

    @property
    def stem(self) -> str:
        """The last part without its extension."""
        return PurePosixPath(self.uri).stem

    @property
    def suffix(self) -> str:
        """The extension."""
        return PurePosixPath(self.uri).suffix

    @property
    def suffixes(self) -> list[str]:
        """All extensions."""
        return PurePosixPath(self.uri).suffixes

    @property
    def parent(self) -> "Address":
        """What it lies in; of a bucket, the bucket."""
        scheme, _, path = self.uri.partition("://")
        return Address(f"{scheme}://{path.rpartition('/')[0] or path}")

    def resolve(self) -> "Address":
        """Itself: an address is the same everywhere."""
        return self

    def is_file(self) -> bool:
        """Whether there is an object of exactly this name."""
        return self._info().type == fs.FileType.File

    def exists(self) -> bool:
        """Whether there is an object of this name, or one below it."""
        return self._info().type != fs.FileType.NotFound

    def walk(self) -> list[tuple[str, int, int]]:
        """(path relative to this, bytes, time of the last change in ns) of every object below."""
        there = self._storage()
        with _reached(self.uri):
            found = there.files.get_file_info(fs.FileSelector(there.root, recursive=True, allow_not_found=True))
        skip = len(there.root) + 1
        return [(o.path[skip:], o.size, o.mtime_ns or 0) for o in found if o.type == fs.FileType.File]

    def facts(self) -> tuple[int, int]:
        """Bytes and time of the last change in ns of a file."""
        info = self._info()
        return int(info.size or 0), int(info.mtime_ns or 0)

    def open(self, mode: Literal["rb"] = "rb") -> BinaryIO:
        """The object's bytes, to be read at any position.

        Raises:
            FileNotFoundError: there is no such object.
            Unreachable: the store failed; also of later reads, so that an outage is not taken for damage.
        """
        there, _, name = self.uri.rpartition("/")
        return cast(BinaryIO, io.BufferedReader(_File(self.uri, place.storage(there).open(name)), BUFFER))

    def read_bytes(self) -> bytes:
        """All of an object."""
        there, _, name = self.uri.rpartition("/")
        return place.storage(there).read(name)

    def _storage(self) -> Storage:
        return Storage.at(self.uri)

    def _info(self) -> fs.FileInfo:
        there = self._storage()
        with _reached(self.uri):
            return there.files.get_file_info(there.root)


Location = Path | Address


def at(where: "str | Path | Address") -> Location:
    """The location that a text names; local ones are made absolute."""
    if isinstance(where, Address):
        return where
    text = str(where)
    if "://" not in text:
        return Path(where).resolve()
    there = Storage.at(text)  # says what is wrong with an address
    return there.local() or Address(there.uri)


def under(root: str, path: str) -> Location:
    """A file of a source, by its root and its path relative to that."""
    return Address(f"{root}/{path}") if place.is_remote(root) else Path(root, path)


def unzipped(where: Location) -> BinaryIO:
    """The bytes that a gzipped file unpacks to."""
    return cast(BinaryIO, gzip.open(where if isinstance(where, Path) else where.open()))


@contextmanager
def parquet(where: Location) -> Iterator[pq.ParquetFile]:
    """A Parquet file to read from, without reading ahead, since its pages may be damaged."""
    if isinstance(where, Path):
        with pq.ParquetFile(where, pre_buffer=False) as file:
            yield file
        return
    with where.open() as opened, pq.ParquetFile(opened, pre_buffer=False) as file:
        yield file


class _File(io.RawIOBase):
    """An object as Python's own buffers want it, whose failures say that the store failed."""

    def __init__(self, uri: str, file: pa.NativeFile):
        self._uri, self._file = uri, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        with _reached(self._uri):
            return int(self._file.readinto(buffer))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _reached(self._uri):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def _reached(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = " ".join(str(error).split())
        raise Unreachable(f"{uri} cannot be read: {reason}; check address, credentials and network") from error
