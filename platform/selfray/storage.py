"""Files under one root, on a local disk or in an object store, that are there completely or not at all.

A local file is written beside its place, flushed and renamed; one that is to be there once only (`create`) is linked.
Object stores are in `buckets.py`.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs

from .errors import Temporary, UserError

SCHEMES = ("file", "s3", "gs")
BLOCK = 16 << 20
ASIDE = ".aside"


class Unreachable(Temporary):
    """An object store refused or did not answer; what is stored there is not known to be damaged."""


class Storage:
    """Files under a root; names are relative, with slashes.

    A missing file is a FileNotFoundError, a local failure an OSError, and a failure of an object store `Unreachable`.
    """

    renames = False
    """Whether `move` can rename a folder in one step."""

    def __init__(self, uri: str, files: fs.FileSystem, root: str):
        self.uri, self.files, self.root = uri, files, root

    @staticmethod
    def at(uri: "str | Path | Storage") -> "Storage":
        """The storage at a path or at a `file://`, `s3://bucket/prefix` or `gs://bucket/prefix` address.

        Raises:
            UserError: another scheme, or an address that carries more than a bucket and a prefix.
        """
        if isinstance(uri, Storage):
            return uri
        text = str(uri)
        if "://" not in text:
            return Local(text)
        parts = urlsplit(text)
        if parts.scheme not in SCHEMES:
            raise UserError(f"{text} cannot be used as storage; give a path or one of {', '.join(SCHEMES)}://")
        if parts.query or parts.fragment or "@" in parts.netloc:
            hidden = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # there may be a secret in it
            raise UserError(
                f"the storage {hidden} may name a bucket and a prefix only; give credentials and the endpoint in the "
                "environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL)"
            )
        if parts.scheme == "file":
            if parts.netloc not in ("", "localhost"):
                raise UserError(f"{text} names the host {parts.netloc}; a local path has three slashes: file:///path")
            return Local(unquote(parts.path))
        if not parts.netloc:
            raise UserError(f"{text} names no bucket; write {parts.scheme}://bucket/prefix")
        from . import buckets

        return buckets.at(text.rstrip("/"), parts.scheme, parts.netloc, unquote(parts.path).strip("/"))

    def __truediv__(self, name: str) -> "Storage":
        return type(self)(f"{self.uri}/{name}", self.files, self._path(name))

    def __str__(self) -> str:
        return self.uri

    def read(self, name: str) -> bytes:
        """The whole content of a file."""
        with self._failing(), self.files.open_input_file(self._path(name)) as file:
            return bytes(file.read())

    def open(self, name: str) -> pa.NativeFile:
        """A file to read from at any position, as Parquet needs it; later reads may raise OSError."""
        with self._failing():
            return self.files.open_input_file(self._path(name))

    def blocks(self, name: str) -> Iterator[bytes]:
        """The content of a file in pieces of up to 16 MiB."""
        with self._failing(), self.files.open_input_file(self._path(name)) as file:
            while block := file.read(BLOCK):
                yield block

    def write(self, name: str, data: bytes | Path) -> None:
        """Put bytes, or the content of a local file, under a name; whoever looks sees all of it or what was before."""
        raise NotImplementedError

    def create(self, name: str, data: bytes) -> bool:
        """Put bytes under a name that is not taken; False if it is.

        The bytes should hold something that only the caller knows, such as an id: where an object store answers a
        repeated request, equal bytes are how a caller recognises that the first one had come through.
        """
        raise NotImplementedError

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Name -> bytes of every file below a folder, which may be missing."""
        with self._failing():
            selector = fs.FileSelector(self._path(folder), recursive=True, allow_not_found=True)
            found = self.files.get_file_info(selector)
        skip = len(self.root.rstrip("/")) + 1
        return {
            info.path[skip:]: info.size
            for info in sorted(found, key=lambda info: info.path)
            if info.type == fs.FileType.File and not info.path.endswith(ASIDE)
        }

    def delete(self, name: str) -> None:
        """Remove a file; that it is missing already is no error."""
        with suppress(FileNotFoundError), self._failing():
            self.files.delete_file(self._path(name))

    def delete_tree(self, folder: str) -> None:
        """Remove a folder with all that is in it; that it is missing already is no error."""
        with suppress(FileNotFoundError), self._failing():
            self.files.delete_dir(self._path(folder))

    def move(self, folder: str, to: str) -> None:
        """Give a folder another name, durably and in one step; only where `renames` is true."""
        raise NotImplementedError

    def local(self, name: str = "") -> Path | None:
        """The path of a file for programs that read local files, or None."""
        return None

    def free_bytes(self) -> int | None:
        """Room that is left; None if there is no telling."""
        return None

    def _path(self, name: str) -> str:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts:
            raise ValueError(f"{name!r} leaves the storage")
        return "/".join([self.root, *parts]) if parts else self.root

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What to do with the errors of a file system; those of an operating system say enough."""
        yield


class Local(Storage):
    """A folder of this machine, or of a network file system."""

    renames = True

    def __init__(self, uri: str, files: fs.FileSystem | None = None, root: str = ""):
        path = os.path.abspath(uri)
        super().__init__(path, files or fs.LocalFileSystem(), path)

    def write(self, name: str, data: bytes | Path) -> None:
        path = self._path(name)
        with self._aside(path, data) as aside:
            os.replace(aside, path)

    def create(self, name: str, data: bytes) -> bool:
        path = self._path(name)
        with self._aside(path, data) as aside:
            try:
                os.link(aside, path)
            except FileExistsError:
                return False
        return True

    def sizes(self, folder: str = "") -> dict[str, int]:
        skip = len(self.root.rstrip("/")) + 1
        return {path[skip:]: size for path, size in sorted(_walk(self._path(folder))) if not path.endswith(ASIDE)}

    def move(self, folder: str, to: str) -> None:
        source, target = self._path(folder), self._path(to)
        os.rename(source, target)
        _flush(os.path.dirname(target))

    def delete_tree(self, folder: str) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self._path(folder))

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._path(name))

    def local(self, name: str = "") -> Path:
        return Path(self._path(name))

    def free_bytes(self) -> int:
        folder = self.root
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        return shutil.disk_usage(folder).free

    @contextmanager
    def _aside(self, path: str, data: bytes | Path) -> Iterator[str]:
        """The name of a flushed file beside `path`, gone after the block; then the folder is flushed."""
        folder, name = os.path.split(path)
        os.makedirs(folder, exist_ok=True)
        aside = os.path.join(folder, f".{name}.{uuid4().hex}{ASIDE}")
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                for block in _blocks(data):
                    view = memoryview(block)
                    while view:
                        view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            yield aside
        finally:
            with suppress(FileNotFoundError):
                os.unlink(aside)
        _flush(folder)


def full(error: BaseException) -> bool:
    """Whether an error says that there is no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _walk(folder: str) -> Iterator[tuple[str, int]]:
    """Path and bytes of every file below a folder; what others remove meanwhile is left out (pyarrow would raise)."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(entry.path)
                    continue
                with suppress(FileNotFoundError):
                    yield entry.path, entry.stat().st_size
    except FileNotFoundError:
        return


def _blocks(data: bytes | Path) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    with data.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _flush(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
