"""The members of a tar file from one pass over its headers: what is where, without writing anything to disk."""

import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from . import location
from .location import Location

BLOCK = 512
MAX_HEADER_BYTES = 64 << 10  # of an extended header, such as a long name
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_SORTS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
_EMPTY = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)


class Member(NamedTuple):
    """One member: where its bytes are in the unpacked tar, and why it must not be touched, if so.

    `content` holds its bytes if they were asked for, and are not too many.
    """

    name: str
    offset: int
    size: int
    unsafe: str = ""
    content: bytes | None = None


class Damaged(Exception):
    """The tar ends early or holds something else from some point on; what came before is good."""


def opened(path: Location) -> IO[bytes]:
    """The unpacked bytes; seeking forward in a gzipped tar unpacks what it passes over."""
    return location.unzipped(path) if path.name.lower().endswith((".gz", ".tgz")) else path.open("rb")


def members(file: IO[bytes], contents: tuple[str, ...] = (), most: int = 0) -> Iterator[Member]:
    """Every file and every oddity; directories are passed over.

    Names come from POSIX and GNU extended headers where there are any.

    Args:
        contents: endings of the names of members that are read on the way; a packed tar cannot be read backwards.
        most: bytes of such a member.

    Raises:
        Damaged: once the good members are out.
    """
    at, name, size, sparse = 0, None, None, False
    while True:
        block = _read(file, at, BLOCK)
        if block.count(0) == BLOCK:
            return
        info = _parsed(block, at)
        at += BLOCK
        if info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            if info.size > MAX_HEADER_BYTES:
                raise Damaged(f"an extended header of {info.size:,} bytes")
            extended = _read(file, at, info.size)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = extended.rstrip(b"\0").decode("utf-8", "surrogateescape")
            else:
                said = _records(extended)
                name, size = said.get("path", name), _number(said.get("size"))
                sparse = any(key.startswith("GNU.sparse") for key in said)
            at += _padded(info.size)
            continue
        if info.type in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            at += _padded(info.size)
            continue
        here = Member(name or info.name, at, info.size if size is None else size)
        if info.type in _EMPTY:
            here = here._replace(size=0)
        elif here.size:
            if here.size <= most and here.name.lower().endswith(contents):
                here = here._replace(content=_read(file, at, here.size))
            else:
                _read(file, at + here.size - 1, 1)  # what ends early is noticed before its sample is listed
        at += _padded(here.size)
        if info.type != tarfile.DIRTYPE:
            yield here._replace(unsafe=_unsafe(here.name, info.type, sparse))
        name, size, sparse = None, None, False


def _read(file: IO[bytes], at: int, size: int) -> bytes:
    try:
        file.seek(at)
        data = file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(f"{type(error).__name__}: {error}"[:300]) from None
    if len(data) < size:
        raise Damaged(f"it ends after {at + len(data):,} bytes, before its end mark")
    return data


def _parsed(block: bytes, at: int) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise Damaged(f"no header at byte {at:,}: {error}") from None
    if info.size < 0:
        raise Damaged(f"a member of {info.size} bytes at byte {at:,}")
    return info


def _unsafe(name: str, type: bytes, sparse: bool) -> str:
    """Why a member is not read, or nothing."""
    if sparse or type not in _FILES:
        return _SORTS.get(tarfile.GNUTYPE_SPARSE if sparse else type, f"of the unknown type {type!r}")
    if name.startswith(("/", "\\")) or name[1:2] == ":":
        return "an absolute name"
    return "a name that leaves the folder" if ".." in name.replace("\\", "/").split("/") else ""


def _records(data: bytes) -> dict[str, str]:
    """The `length key=value` lines of a POSIX extended header."""
    found: dict[str, str] = {}
    while data:
        length = _number(data.split(b" ", 1)[0].decode("ascii", "replace"))
        if not length or length > len(data):
            raise Damaged("an extended header that cannot be read")
        key, _, value = data[:length].split(b" ", 1)[-1].rstrip(b"\n").partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        data = data[length:]
    return found


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
