"""What every reader of raw data has in common: it lists fragments, and any worker can read one alone."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...errors import UserError
from ..bad import BadSample
from ..location import Address, Location

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_FILE_SPLIT = re.compile(r"(train|training|test|testing|val|valid|validation)(?:[-_.\d]|$)", re.IGNORECASE)


class File(NamedTuple):
    """One file of a source: path relative to the root with forward slashes, bytes, time of the last change in ns."""

    path: str
    size: int
    changed: int

    @property
    def suffix(self) -> str:
        """The lower-case extension; of `x.csv.gz` it is `.csv.gz`."""
        name = self.path.rpartition("/")[2].lower()
        stem = name.removesuffix(".gz")
        return os.path.splitext(stem)[1] + name[len(stem) :]

    @property
    def hidden(self) -> bool:
        """Whether its name or that of a folder above it begins with a dot."""
        return any(part.startswith(".") for part in self.path.split("/"))


@dataclass(frozen=True)
class Sample:
    """One sample as it comes from the source.

    Args:
        id: its number in the sorted source.
        source: where it is, for people.
        data: an encoded file, text, an array (uint8 pixels, or float32 time x channels with NaN where values are
            missing), or why there is none.
        label: its class's name.
        group: what must stay on one side of a split, such as a person.
        meta: whatever else the source says about it, as JSON; travels along and is never shown to an objective.
    """

    id: int
    source: str
    data: bytes | str | np.ndarray | BadSample
    label: str | None = None
    group: str | None = None
    meta: str | None = None


@dataclass(frozen=True)
class Fragment:
    """A unit of work: consecutive samples of one split that one task reads. Everything but `root` is its identity."""

    reader: str
    root: str
    split: str
    first: int  # id of the first sample
    rows: int
    where: dict[str, Any]  # what the reader needs to find them, files with size and time; plain JSON values

    def identity(self) -> dict[str, Any]:
        """All that decides which samples it yields, wherever the source lies."""
        return {key: value for key, value in asdict(self).items() if key != "root"}


class Source:
    """A place that samples come from.

    A new format is one module with one subclass: `accepts` says whether the files look like it, the constructor
    finds `classes`, `fragments` plans the work and `read` does one piece of it, on any machine that sees the files.
    """

    supports: ClassVar[str]  # completes "I can read ..."

    kind: str = "image"
    """The data type of its samples: a module of `kinds/`."""

    def __init__(self, path: Location, files: list[File]):
        self.path, self.files = path, files
        self.root: Location = path.parent if path.is_file() else path  # what the files' paths are relative to
        self.classes: tuple[str, ...] = ()  # in the order of their numbers

    @property
    def name(self) -> str:
        """The reader's name: its module."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def title(self) -> str:
        """What a corpus of it is called unless it is given a name."""
        return self.path.name.split(".")[0] if self.path.is_file() else self.path.name

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        """Whether these files are of this format and may hold the data type, if one is asked for."""
        raise NotImplementedError

    def fragments(self, rows: int) -> list[Fragment]:
        """All work, about `rows` samples each, the train split first; ids count up from 0."""
        raise NotImplementedError

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        """The samples of a fragment, exactly `fragment.rows` of them; a damaged one carries its `BadSample`."""
        raise NotImplementedError

    def used(self) -> set[str]:
        """The paths that hold samples; the others are reported as ignored."""
        raise NotImplementedError

    def ignored(self) -> Counter[str]:
        """Files that hold no samples, counted by extension."""
        used = self.used()
        return Counter(file.suffix or "no extension" for file in self.files if file.path not in used)


def list_files(path: Location) -> list[File]:
    """The file, or every file in the folder sorted by path; links are followed, loops are not."""
    if isinstance(path, Address):
        return [File(path.name, *path.facts())] if path.is_file() else sorted(File(*found) for found in path.walk())
    if path.is_file():
        return [_file(path.parent, path)]
    found: list[File] = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be listed: {error.strerror}") from None

    for folder, folders, names in os.walk(path, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        found += [_file(path, Path(folder) / name) for name in names]
    return sorted(found)


def splits_of(names: set[str]) -> dict[str, str]:
    """Which split each name stands for: `train`, and `test` or `val`; empty unless a train split is among them.

    With one held-out split it is called `test`, whatever its folder is called.
    """
    found = {name: _SPLITS[name.lower()] for name in names if name.lower() in _SPLITS}
    if "train" not in found.values():
        return {}
    if "test" not in found.values():
        return {name: "train" if split == "train" else "test" for name, split in found.items()}
    return found


def file_splits(root: Location, files: list[File]) -> dict[str, str]:
    """Path -> split where files or folders are called train, test or validation; empty unless there are two splits.

    Raises:
        UserError: some files belong to no split.
    """
    words = {}
    for file in files:
        found = [word for part in file.path.split("/") if (word := split_word(part))]
        if found:
            words[file.path] = found[0]
    splits = splits_of(set(words.values()))
    if len(set(splits.values())) < 2:
        return {}
    others = [file.path for file in files if file.path not in words]
    if others:
        raise UserError(
            f"{root} has train and test files, but also {len(others)} others such as {others[0]}; "
            "move them, or point at one of the files"
        )
    return {path: splits[word] for path, word in words.items()}


def split_word(name: str) -> str | None:
    """The word for a split that the name of a file or folder starts with."""
    found = _FILE_SPLIT.match(name)
    return found[1] if found else None


def by_split(files: list[File], splits: dict[str, str]) -> Iterator[tuple[str, File]]:
    """(split, file) in the order of splits, those of the train split first; a file without one belongs to it."""
    for split in ("train", "val", "test"):
        for file in files:
            if splits.get(file.path, "train") == split:
                yield split, file


def completed(
    fragment: Fragment,
    samples: Iterable[Sample],
    address: Callable[[int], str],
    errors: tuple[type[Exception], ...],
) -> Iterator[Sample]:
    """The samples of a fragment, and an `unreadable` one for each that is missing after an error of these types.

    Args:
        address: what the sample of a number in the fragment is called.
    """
    done = 0
    try:
        for sample in samples:
            yield sample
            done += 1
    except errors as error:
        bad = BadSample("unreadable", f"{type(error).__name__}: {error}"[:300])
        for number in range(done, fragment.rows):
            yield Sample(fragment.first + number, address(number), bad)


def pieces(total: int, rows: int) -> Iterator[tuple[int, int]]:
    """(first, count) of consecutive pieces of at most `rows`."""
    for first in range(0, total, rows):
        yield first, min(rows, total - first)


def printable(text: str) -> str:
    """Text that UTF-8 can hold; the name of a file may have any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _file(root: Path, path: Path) -> File:
    try:
        status = path.stat()
    except OSError:  # a dangling link: its sample is quarantined when it is read
        return File(path.relative_to(root).as_posix(), 0, 0)
    return File(path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns)
