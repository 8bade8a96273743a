"""A folder of sound files; sub-folders are classes, `train/` and `test/` at the top are splits."""

from collections.abc import Iterator

from .. import files as layout
from ..location import Location
from .source import File, Fragment, Sample, Source

SUFFIXES = frozenset((".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"))
MAX_FILE_BYTES = 1 << 30  # a task holds one file; 1.7 hours of 44.1 kHz in stereo as WAV
FILES = 256  # of a fragment at most: half an hour of work where each is a song


class Audio(Source):
    """A folder of sound files, at any depth, sorted by split and path.

    The first-level folder is the class if there are at least two of them. Other and hidden files are ignored, and
    counted as such.
    """

    supports = "a folder of WAV, FLAC, Ogg or MP3 files"
    kind = "audio"

    def __init__(self, path: Location, files: list[File]):
        super().__init__(path, files)
        self._tree = layout.Tree(self.root, [file for file in files if layout.visible(file, SUFFIXES)], "sounds")
        self.classes = self._tree.classes

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        return kind in (None, "audio") and any(layout.visible(file, SUFFIXES) for file in files)

    def used(self) -> set[str]:
        return {file.path for file in self._tree.files}

    def fragments(self, rows: int) -> list[Fragment]:
        return self._tree.fragments(self.name, min(rows, FILES))

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        return layout.read(fragment, MAX_FILE_BYTES)
