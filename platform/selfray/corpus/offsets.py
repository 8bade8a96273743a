"""Lines of a large text file, found once and read again by their offsets; none is longer than a bound in memory."""

from collections.abc import Iterator

from .location import Location

MAX_BYTES = 64 << 20


def numbered(path: Location, start: int = 0, most: int = MAX_BYTES) -> Iterator[tuple[int, bytes | None]]:
    """(offset, line without its end) from an offset on; None stands for a line of more than `most` bytes."""
    with path.open("rb") as file:
        file.seek(start)
        at = start
        while line := file.readline(most + 1):
            whole = len(line) <= most or line.endswith(b"\n")
            here, at = at, at + len(line)
            while not line.endswith(b"\n") and len(line) > most:
                line = file.readline(most + 1)
                at += len(line)
                if not line:
                    break
            yield here, line.rstrip(b"\r\n") if whole else None
