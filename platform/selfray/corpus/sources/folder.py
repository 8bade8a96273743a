"""A folder of image files; sub-folders are classes, `train/` and `test/` at the top are splits."""

from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError
from ..bad import BadSample
from .source import File, Fragment, Sample, Source, pieces, printable, splits_of

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"))
MAX_FILE_BYTES = 256 << 20


class Folder(Source):
    """A folder of images, at any depth, sorted by split and path.

    The first-level folder is the class if there are at least two of them. Files without an image's extension and
    hidden files are ignored, and counted as such.
    """

    supports = "a folder of PNG, JPEG, BMP, GIF, WebP or TIFF images"

    def __init__(self, path: Path, files: list[File]):
        super().__init__(path, files)
        self._images = [file for file in files if _is_image(file)]
        tops = {file.path.split("/")[0] for file in self._images if "/" in file.path}
        found = splits_of(tops)
        outside = [f.path for f in self._images if found and f.path.split("/")[0] not in found]
        if len(set(found.values())) > 1 and outside:
            raise UserError(
                f"{self.root} has {'/, '.join(sorted(found))}/ at the top, but also {len(outside)} images outside of "
                f"them, such as {outside[0]}; move them, or point at one of the folders"
            )
        self._splits = {} if outside else found
        self._depth = 1 if self._splits else 0  # path components before the class
        classes = {label for file in self._images if (label := self._folder(file)) is not None}
        self.classes = tuple(sorted(classes)) if len(classes) > 1 else ()

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        return kind in (None, "image") and any(_is_image(file) for file in files)

    def used(self) -> set[str]:
        return {file.path for file in self._images}

    def fragments(self, rows: int) -> list[Fragment]:
        made, first = [], 0
        for split in ("train", "val", "test"):
            mine = [f for f in self._images if self._splits.get(f.path.split("/")[0], "train") == split]
            for start, count in pieces(len(mine), rows):
                listed = [[*f, self._folder(f) if self.classes else None] for f in mine[start : start + count]]
                made.append(Fragment(self.name, str(self.root), split, first + start, count, {"files": listed}))
            first += len(mine)
        return made

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        for id, (path, _, _, label) in enumerate(fragment.where["files"], fragment.first):
            yield Sample(id, path, _bytes(Path(fragment.root, path)), label)

    def _folder(self, file: File) -> str | None:
        """The first-level folder of an image, below its split."""
        parts = file.path.split("/")
        return printable(parts[self._depth]) if len(parts) > self._depth + 1 else None


def _is_image(file: File) -> bool:
    return file.suffix in SUFFIXES and not any(part.startswith(".") for part in file.path.split("/"))


def _bytes(path: Path) -> bytes | BadSample:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            return BadSample("too_large", f"a file of {size:,} bytes, more than {MAX_FILE_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        return BadSample("unreadable", f"{type(error).__name__}: {error.strerror}")
