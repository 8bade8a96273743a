"""Documents in a text file, found and read in bounded memory from any offset on."""

import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, Literal

from . import location
from .bad import BadSample
from .location import Location

LARGEST = 16 << 20  # bytes of a document
LARGEST_RECORD = 1 << 20  # bytes of a CSV record of several lines, within which a quote has to be closed
MAX_CUTS = 8  # of a compressed file: what comes before is decompressed again for every later piece

Unit = Literal["line", "paragraph", "record"]
"""`line`: those that are not blank; `paragraph`: lines up to a blank one; `record`: lines up to where quotes close."""

Line = tuple[int, int, bytes | None]
"""Where a line begins and ends, and its bytes with the line end; None if it is longer than a document may be."""

Found = Iterator[tuple[int, int, bytes | BadSample]]
"""Where a document begins, from where on nothing of it is needed, and its bytes."""


def units(path: Location, unit: Unit, start: int = 0) -> Iterator[tuple[int, bytes | BadSample]]:
    """The documents of a file from an offset on that an earlier call gave, each with its offset in bytes.

    Compressed files (`.gz`) count the bytes that they decompress to. A file that is damaged or gone ends with a
    `BadSample`.
    """
    at = start  # reading from here meets the same damage again
    try:
        with opened(path) as file:
            file.seek(start)
            lines = _lines(file, start)
            found = _records(lines) if unit == "record" else _paragraphs(lines) if unit == "paragraph" else _each(lines)
            for offset, end, document in found:
                at = end
                yield offset, document
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield at, BadSample("truncated", f"{path.name} is damaged from here on: {error}"[:300])
    except OSError as error:
        yield at, BadSample("unreadable", f"{type(error).__name__}: {error.strerror}")


def opened(path: Location) -> BinaryIO:
    """The file's bytes, decompressed."""
    return location.unzipped(path) if path.name.lower().endswith(".gz") else path.open("rb")


def cuts(path: Location, unit: Unit, rows: int, *, skip: int = 0) -> list[tuple[int, int]]:
    """(offset, documents) of pieces of about `rows` documents, after the first `skip`; the file is read once."""
    made: list[tuple[int, int]] = []
    for number, (offset, _) in enumerate(islice(units(path, unit), skip, None)):
        if number % rows == 0:
            made.append((offset, 0))
        made[-1] = (made[-1][0], made[-1][1] + 1)
    if path.name.lower().endswith(".gz") and len(made) > MAX_CUTS:
        together = -(-len(made) // MAX_CUTS)
        parts = [made[at : at + together] for at in range(0, len(made), together)]
        return [(part[0][0], sum(count for _, count in part)) for part in parts]
    return made


def _lines(file: BinaryIO, at: int) -> Iterator[Line]:
    while line := file.readline(LARGEST + 1):
        start, whole = at, len(line) <= LARGEST
        at += len(line)
        if whole:
            yield start, at, line
            continue
        while not line.endswith(b"\n") and (line := file.readline(LARGEST)):
            at += len(line)
        yield start, at, None


def _each(lines: Iterator[Line]) -> Found:
    for start, end, line in lines:
        if line is None:
            yield start, end, _too_long()
        elif not line.isspace():
            yield start, end, line.rstrip(b"\r\n")


def _paragraphs(lines: Iterator[Line]) -> Found:
    held: list[bytes] = []
    start = last = size = 0
    for begin, end, line in lines:
        if line is not None and line.isspace():
            if size:
                yield start, end, b"".join(held) if size <= LARGEST else _too_long()
            held, size = [], 0
            continue
        if not size:
            start = begin
        last, size = end, size + (LARGEST + 1 if line is None else len(line))
        if size > LARGEST:
            held = []  # nothing of it is kept, however much follows
        elif line is not None:
            held.append(line)
    if size:
        yield start, last, b"".join(held) if size <= LARGEST else _too_long()


def _records(lines: Iterator[Line]) -> Found:
    """CSV records by RFC 4180: a line end within quotes belongs to the field.

    Where a quote stays open, its line alone is bad and the search goes on with the next one.
    """
    again: deque[Line] = deque()
    held: list[Line] = []
    size, is_open = 0, False
    while True:
        line = again.popleft() if again else next(lines, None)
        content = line[2] if line else None
        if line and content is not None:
            if not held and content.isspace():
                continue
            held.append(line)
            size += len(content)
            is_open ^= content.count(b'"') % 2 == 1
            if not is_open:
                yield held[0][0], line[1], b"".join(part or b"" for *_, part in held).rstrip(b"\r\n")
                held, size = [], 0
                continue
            if size <= LARGEST_RECORD:
                continue
        if held:  # the file ends, or a line is too long, or the record is
            start, end, _ = held[0]
            yield start, end, BadSample("undecodable", "a quote that is not closed")
            again.extendleft(reversed([*held[1:], *([line] if line and content is None else [])]))
            held, size, is_open = [], 0, False
        elif line:
            yield line[0], line[1], _too_long()
        else:
            return


def _too_long() -> BadSample:
    return BadSample("too_long", f"more than {LARGEST >> 20} MiB of text")
