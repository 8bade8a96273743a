"""The IDX files of MNIST and its relatives, gzipped or not: `NAME-images-idx3-ubyte`, `NAME-labels-idx1-ubyte`."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from ...errors import UserError
from .. import location
from ..bad import BadSample
from ..location import Location
from .source import File, Fragment, Sample, Source, pieces

_IMAGES, _LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"


class Idx(Source):
    """Greyscale images with labels; `train-*` is the train split, every other prefix (`t10k-*`) the test split."""

    supports = "a folder of IDX files (*-images-idx3-ubyte, *-labels-idx1-ubyte)"

    def __init__(self, path: Location, files: list[File], classes: tuple[str, ...] = ()):
        super().__init__(path, files)
        self._images = sorted((f for f in files if _IMAGES in f.path), key=lambda f: ("train" not in f.path, f.path))
        by_path = {file.path: file for file in files}
        missing = [f.path for f in self._images if f.path.replace(_IMAGES, _LABELS) not in by_path]
        if missing:
            raise UserError(f"{self.root} has {missing[0]}, but not {missing[0].replace(_IMAGES, _LABELS)}")
        self._labels = [by_path[f.path.replace(_IMAGES, _LABELS)] for f in self._images]
        if not any("train" in f.path for f in self._images):
            raise UserError(f"{self.root} has no train{_IMAGES}")
        numbers = [int(_labels(self.root / f.path).max(initial=0)) for f in self._labels]
        self.classes = tuple(classes) or tuple(str(number) for number in range(max(numbers) + 1))
        if max(numbers) >= len(self.classes):
            raise UserError(f"{self.root} has label {max(numbers)}, but only {len(self.classes)} classes are named")

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        return kind in (None, "image") and any(_IMAGES in file.path for file in files)

    def used(self) -> set[str]:
        return {file.path for file in (*self._images, *self._labels)}

    def fragments(self, rows: int) -> list[Fragment]:
        made, first = [], 0
        for images, labels in zip(self._images, self._labels, strict=True):
            with _open(self.root / images.path) as file:
                count, height, width = _header(file, 3, images.path)
            if count != len(_labels(self.root / labels.path)):
                raise UserError(f"{images.path} has {count} images, {labels.path} another number of labels")
            for start, size in pieces(count, rows):
                where = {"images": [*images], "labels": [*labels], "start": start, "shape": [height, width]}
                where["classes"] = list(self.classes)
                split = "train" if "train" in images.path else "test"
                made.append(Fragment(self.name, str(self.root), split, first + start, size, where))
            first += count
        return made

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        where, path = fragment.where, fragment.where["images"][0]
        height, width = where["shape"]
        labels = _labels(location.under(fragment.root, where["labels"][0]))[where["start"] :]
        bad = BadSample("truncated", "the file ends before this image")
        with _open(location.under(fragment.root, path)) as file:
            try:
                file.seek(16 + where["start"] * height * width)
            except (OSError, EOFError, zlib.error) as error:
                bad = BadSample("unreadable", f"{type(error).__name__}: {error}")
            for row in range(fragment.rows):
                image: np.ndarray | BadSample = bad
                try:
                    data = file.read(height * width)
                    if len(data) == height * width:
                        image = np.frombuffer(data, np.uint8).reshape(height, width)
                except (OSError, EOFError, zlib.error) as error:
                    image = BadSample("unreadable", f"{type(error).__name__}: {error}")
                source = f"{path}#{where['start'] + row}"
                yield Sample(fragment.first + row, source, image, where["classes"][labels[row]])


def _open(path: Location) -> BinaryIO:
    return location.unzipped(path) if path.suffix == ".gz" else path.open("rb")


def _header(file: BinaryIO, dimensions: int, name: str) -> tuple[int, ...]:
    try:
        magic, *sizes = struct.unpack(f">{dimensions + 1}I", file.read(4 * (dimensions + 1)))
    except (struct.error, OSError, EOFError, zlib.error):
        magic, sizes = 0, []
    if magic != 0x0800 + dimensions:
        raise UserError(f"{name} is not an IDX file of bytes with {dimensions} dimensions")
    return tuple(sizes)


def _labels(path: Location) -> np.ndarray:
    with _open(path) as file:
        (count,) = _header(file, 1, path.name)
        try:
            labels = np.frombuffer(file.read(), np.uint8)
        except (OSError, EOFError, zlib.error):
            labels = np.zeros(0, np.uint8)
    if len(labels) != count:
        raise UserError(f"{path} should hold {count} labels; it is damaged, fetch it again")
    return labels
