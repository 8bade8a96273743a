"""A folder of image files; sub-folders are classes, `train/` and `test/` at the top are splits."""

from collections.abc import Iterator

from .. import files as layout
from ..location import Location
from .source import File, Fragment, Sample, Source

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"))
MAX_FILE_BYTES = 256 << 20


class Folder(Source):
    """A folder of images, at any depth, sorted by split and path.

    The first-level folder is the class if there are at least two of them. Files without an image's extension and
    hidden files are ignored, and counted as such.
    """

    supports = "a folder of PNG, JPEG, BMP, GIF, WebP or TIFF images"

    def __init__(self, path: Location, files: list[File]):
        super().__init__(path, files)
        self._tree = layout.Tree(self.root, [file for file in files if layout.visible(file, SUFFIXES)], "images")
        self.classes = self._tree.classes

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        return kind in (None, "image") and any(layout.visible(file, SUFFIXES) for file in files)

    def used(self) -> set[str]:
        return {file.path for file in self._tree.files}

    def fragments(self, rows: int) -> list[Fragment]:
        return self._tree.fragments(self.name, rows)

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        return layout.read(fragment, MAX_FILE_BYTES)
