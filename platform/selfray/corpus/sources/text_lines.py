"""Plain text files: a document is a file, a paragraph or a line."""

from collections.abc import Iterator
from itertools import islice
from typing import Literal

from ...errors import UserError
from .. import lines, location
from ..bad import BadSample
from ..location import Location
from .source import File, Fragment, Sample, Source, file_splits, pieces, printable, split_word

_TEXTS = (".txt", ".txt.gz")
_BESIDE = (*_TEXTS, ".md", "")  # README.md, LICENSE
_SMALL = 1 << 20  # bytes of a file that is one document, on the average

Documents = Literal["file", "line", "paragraph"]


class TextLines(Source):
    """Text files in UTF-8, at any depth, sorted by path.

    A file or folder name that starts with `train`, `test` or `validation` makes splits. Where documents are files,
    the first-level folder, below the split, is the class if there are at least two.

    Args:
        documents: what a document is: a `file`, a `line` that is not blank, or a `paragraph`, which ends with a blank
            line. By default a file if there are several of up to 1 MiB on the average; otherwise a paragraph if the
            first MiB of the first file has a blank line after text, else a line.
    """

    supports = "text files (.txt, .txt.gz)"
    kind = "text"

    def __init__(self, path: Location, files: list[File], documents: Documents | None = None):
        super().__init__(path, files)
        self._texts = [file for file in files if _is_text(file)]
        self._documents = documents or self._looks_like()
        if self._documents not in ("file", "line", "paragraph"):
            raise UserError(f"documents is {documents!r}; it must be file, line or paragraph")
        self._splits = file_splits(self.root, self._texts)
        classes = {label for file in self._texts if (label := self._folder(file)) is not None}
        self.classes = tuple(sorted(classes)) if len(classes) > 1 and self._documents == "file" else ()

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        if kind not in (None, "text") or not any(_is_text(file) for file in files):
            return False
        shown = [file for file in files if not file.hidden]
        return all(file.suffix in _BESIDE for file in shown)

    def used(self) -> set[str]:
        return {file.path for file in self._texts}

    def fragments(self, rows: int) -> list[Fragment]:
        made, first = [], 0
        for split in ("train", "val", "test"):
            mine = [file for file in self._texts if self._splits.get(file.path, "train") == split]
            if self._documents == "file":
                for start, count in pieces(len(mine), rows):
                    part = mine[start : start + count]
                    listed = [[*file, self._folder(file) if self.classes else None] for file in part]
                    made.append(Fragment(self.name, str(self.root), split, first + start, count, {"files": listed}))
                first += len(mine)
                continue
            for file in mine:
                for offset, count in lines.cuts(self.root / file.path, self._documents, rows):
                    where = {"file": [*file], "documents": self._documents, "offset": offset}
                    made.append(Fragment(self.name, str(self.root), split, first, count, where))
                    first += count
        return made

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        where = fragment.where
        if "files" in where:
            for id, (path, _, _, label) in enumerate(where["files"], fragment.first):
                yield Sample(id, path, _whole(location.under(fragment.root, path)), label)
            return
        path = where["file"][0]
        found = lines.units(location.under(fragment.root, path), where["documents"], where["offset"])
        for id, (offset, document) in enumerate(islice(found, fragment.rows), fragment.first):
            yield Sample(id, f"{path}@{offset}", document)

    def _looks_like(self) -> Documents:
        if len(self._texts) > 1 and sum(file.size for file in self._texts) <= _SMALL * len(self._texts):
            return "file"
        try:
            with lines.opened(self.root / self._texts[0].path) as file:
                beginning = file.read(_SMALL)
        except (OSError, EOFError) as error:
            raise UserError(f"{self.root / self._texts[0].path} cannot be read: {error}") from None
        rows = beginning.strip().split(b"\n")
        return "paragraph" if any(not row.strip() for row in rows) else "line"

    def _folder(self, file: File) -> str | None:
        """The first-level folder of a file, below its split."""
        parts = file.path.split("/")[:-1]
        if self._splits and parts and split_word(parts[0]):
            parts = parts[1:]
        return printable(parts[0]) if parts else None


def _is_text(file: File) -> bool:
    return file.suffix in _TEXTS and not file.hidden


def _whole(path: Location) -> bytes | BadSample:
    try:
        with lines.opened(path) as file:
            data = file.read(lines.LARGEST + 1)
    except EOFError as error:
        return BadSample("truncated", str(error))
    except OSError as error:
        return BadSample("unreadable", f"{type(error).__name__}: {error.strerror}")
    if len(data) > lines.LARGEST:
        return BadSample("too_long", f"more than {lines.LARGEST >> 20} MiB of text")
    return data
