"""Where a prepared corpus lies: a folder, or a prefix of an object store."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError
from ..storage import Storage

Place = str | Path


def absolute(place: Place) -> str:
    """The same place for a process in any folder, on any machine that sees it."""
    return str(place) if is_remote(place) else str(Path(place).resolve())


def is_remote(place: Place) -> bool:
    """Whether it is an address such as `s3://bucket/prefix`."""
    return "://" in str(place)


@lru_cache(maxsize=16)
def storage(place: str) -> Storage:
    """The storage there; one client a process."""
    return Storage.at(place)


def exists(place: Place, file: str) -> bool:
    """Whether a file is there."""
    if not is_remote(place):
        return (Path(place) / file).is_file()
    try:
        storage(str(place)).open(file).close()
    except FileNotFoundError:
        return False
    return True


@contextmanager
def shard(place: Place, file: str) -> Iterator[pq.ParquetFile]:
    """A shard to read from.

    Raises:
        UserError: it is missing, cannot be read, or is damaged.
    """
    name = f"{place}/{file}"
    try:
        if not is_remote(place):
            with pq.ParquetFile(Path(place) / file) as parquet:
                yield parquet
            return
        with storage(str(place)).open(file) as opened, pq.ParquetFile(opened, pre_buffer=True) as parquet:
            yield parquet
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{name} is missing or damaged ({error}); prepare the corpus again") from None
