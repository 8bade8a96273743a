"""Parquet files that appear whole or not at all: written aside, synced, then renamed."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from .manifest import SCHEMA

# Nothing is compressed but the sources' names. Measured on one core, MB/s of pixels read from Parquet in the page
# cache: none 4,600-6,800, lz4 2,100-2,800, zstd 920-1,170, for 18-33 % (lz4) and 28-43 % (zstd) less space; zstd
# would take 24 us for a 96 x 96 photo, more than twice what a compiled augmentation of it takes.
UNCOMPRESSED = {**dict.fromkeys(SCHEMA.names, "none"), "source": "zstd", "meta": "zstd"}


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A path to write to that becomes `path`, durably and at once, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writing = path.with_name(f".{path.name}.{uuid4().hex}.aside")
    try:
        yield writing
        with writing.open("rb") as file:
            os.fsync(file.fileno())
        writing.replace(path)
    finally:
        writing.unlink(missing_ok=True)


class ShardWriter:
    """A Parquet file in the making; row groups are flushed as they fill, so that memory holds one of them."""

    def __init__(
        self, destination: Path, folder: str, name: str, schema: pa.Schema, rows_per_group: int, compression: Any
    ):
        self.path, self._schema, self._rows_per_group = destination / folder / name, schema, rows_per_group
        self._compression = compression
        self._aside = self.path.with_name(f".{name}.{uuid4().hex}.aside")
        self._waiting: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None
        self._groups: list[int] = []

    @property
    def rows(self) -> int:
        """How many were added."""
        return sum(self._groups) + len(self._waiting)

    def add(self, row: dict[str, Any]) -> None:
        """Add one row, with a value for every column of the schema."""
        self._waiting.append(row)
        if len(self._waiting) == self._rows_per_group:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(
                self._aside,
                self._schema,
                compression=self._compression,
                use_dictionary=[name for name in ("label", "group") if name in self._schema.names],
                write_statistics=["id"],
            )
        self._writer.write_table(pa.Table.from_pylist(self._waiting, self._schema), len(self._waiting))
        self._groups.append(len(self._waiting))
        self._waiting = []

    def publish(self) -> dict[str, Any]:
        """Finish the file and give it its name; the fields of a `Shard`, as plain JSON values."""
        if self._waiting:
            self._flush()
        assert self._writer is not None, "publish() needs at least one row"
        self._writer.close()
        with self._aside.open("rb") as file:
            os.fsync(file.fileno())
            digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
        self._aside.replace(self.path)
        relative = f"{self.path.parent.name}/{self.path.name}"
        return {"file": relative, "rows": self.rows, "bytes": size, "sha256": digest, "row_groups": self._groups}

    def abandon(self) -> None:
        """Leave nothing behind of a file that was not published."""
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            self._aside.unlink(missing_ok=True)
