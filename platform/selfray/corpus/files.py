"""Folders of one file a sample: `train/` and `test/` at the top are splits, the first-level folder is the class."""

import stat
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from ..errors import UserError
from . import location
from .bad import BadSample
from .location import Address, Location
from .sources.source import File, Fragment, Sample, pieces, printable, splits_of

AHEAD, AHEAD_BYTES = 16, 64 << 20  # objects that are fetched at once, and their bytes together


def visible(file: File, suffixes: frozenset[str]) -> bool:
    """Whether a file has one of the extensions and neither it nor a folder above it is hidden."""
    return file.suffix in suffixes and not file.hidden


class Tree:
    """Files of one sort with the classes and splits that their folders stand for.

    Args:
        root: what the files' paths are relative to.
        files: those that hold samples, sorted.
        noun: what they are, for messages, such as "images".

    Raises:
        UserError: files lie beside train and test folders.
    """

    def __init__(self, root: Location, files: list[File], noun: str):
        self.root, self.files = root, files
        found = splits_of({file.path.split("/")[0] for file in files if "/" in file.path})
        outside = [f.path for f in files if found and f.path.split("/")[0] not in found]
        if len(set(found.values())) > 1 and outside:
            raise UserError(
                f"{root} has {'/, '.join(sorted(found))}/ at the top, but also {len(outside)} {noun} outside of "
                f"them, such as {outside[0]}; move them, or point at one of the folders"
            )
        self._splits = {} if outside else found
        self._depth = 1 if self._splits else 0  # path components before the class
        classes = {label for file in files if (label := self._folder(file)) is not None}
        self.classes = tuple(sorted(classes)) if len(classes) > 1 else ()

    def fragments(self, reader: str, rows: int) -> list[Fragment]:
        """All files, `rows` a fragment, sorted by split and path."""
        made, first = [], 0
        for split in ("train", "val", "test"):
            mine = [f for f in self.files if self._splits.get(f.path.split("/")[0], "train") == split]
            for start, count in pieces(len(mine), rows):
                listed = [[*f, self._folder(f) if self.classes else None] for f in mine[start : start + count]]
                made.append(Fragment(reader, str(self.root), split, first + start, count, {"files": listed}))
            first += len(mine)
        return made

    def _folder(self, file: File) -> str | None:
        """The first-level folder of a file, below its split."""
        parts = file.path.split("/")
        return printable(parts[self._depth]) if len(parts) > self._depth + 1 else None


def read(fragment: Fragment, max_bytes: int) -> Iterator[Sample]:
    """The bytes of each file of a fragment of `Tree.fragments`; larger ones are refused unread."""
    listed = fragment.where["files"]
    there = [location.under(fragment.root, path) for path, *_ in listed]
    found = _fetched(there, [size for _, size, *_ in listed], max_bytes)
    for id, ((path, _, _, label), data) in enumerate(zip(listed, found, strict=True), fragment.first):
        yield Sample(id, path, data, label)


def _fetched(there: list[Location], sizes: list[int], max_bytes: int) -> Iterator[bytes | BadSample]:
    """The bytes of each file, in order; objects of a store some at once, since each takes a while to answer."""
    if not any(isinstance(where, Address) for where in there):
        yield from (_bytes(where, max_bytes) for where in there)
        return
    waiting: deque[tuple[int, Future[bytes | BadSample]]] = deque()
    held = 0
    with ThreadPoolExecutor(AHEAD, "fetch") as pool:
        for where, size in zip(there, sizes, strict=True):
            while waiting and (len(waiting) == AHEAD or held + size > AHEAD_BYTES):
                done, fetched = waiting.popleft()
                held -= done
                yield fetched.result()
            waiting.append((size, pool.submit(_bytes, where, max_bytes)))
            held += size
        for _, fetched in waiting:
            yield fetched.result()


def _bytes(path: Location, max_bytes: int) -> bytes | BadSample:
    try:
        if isinstance(path, Address):
            return _object(path, max_bytes)
        status = path.stat()
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):  # a pipe would block for ever, a device never end
            return BadSample("unreadable", "not a regular file")
        if size > max_bytes:
            return BadSample("too_large", f"a file of {size:,} bytes, more than {max_bytes:,}")
        return path.read_bytes()
    except OSError as error:
        return BadSample("unreadable", f"{type(error).__name__}: {error.strerror}")


def _object(where: Address, max_bytes: int) -> bytes | BadSample:
    with where.open() as file:
        data = file.read(max_bytes + 1)
    return data if len(data) <= max_bytes else BadSample("too_large", f"an object of more than {max_bytes:,} bytes")
