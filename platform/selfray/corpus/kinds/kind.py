"""What every data type says of itself: how a raw sample is checked, what is stored of it, and in which shape."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..bad import BadSample
from ..sources.source import Sample

Draw = Iterator[Sample]


@dataclass(frozen=True)
class Row:
    """One row of a prepared corpus.

    Args:
        id: unique in the corpus and the same for the same source: `Kind.pieces` times the sample's number, plus the
            number of the piece.
        data: what is stored: the valid part of an array in C order, or an encoded file.
        values: the valid part as an array, for the statistics; shape `Kind.shape`, but for a shorter first axis.
        label, group, meta, source: of the sample it was made from.
    """

    id: int
    data: bytes
    values: NDArray[Any]
    label: str | None = None
    group: str | None = None
    meta: str | None = None
    source: str = ""

    @property
    def length(self) -> int:
        """Valid entries along the first axis."""
        return len(self.values)


class Kind:
    """How samples of a data type become rows of one shape.

    The keyword arguments of a subclass's `__init__` are its settings, checked from the signature. `settle` looks at
    the source once and decides what the settings leave open; `use` takes these decisions on any worker. One instance
    encodes one split of one fragment in order: it may hold samples back and give them out in `finish`.
    """

    title: ClassVar[str]
    """What a number of samples is called, such as "images"."""

    pieces: ClassVar[int] = 1
    """Rows that one sample can become at most; ids leave room for so many."""

    wanted: ClassVar[int] = 1000
    """Samples that `settle` is shown at most, spread over the source."""

    wanted_bytes: ClassVar[int] = 1 << 30
    """Bytes of them, about, after which it is shown no more."""

    scale: ClassVar[float] = 1.0
    """What stored numbers are divided by before their mean and deviation are taken."""

    dtype: str
    """Of the stored values: a numpy name."""

    shape: tuple[int, ...]
    """Of a row's values. Rows may be shorter along the first axis; they are filled up when they are read."""

    encoding: Literal["raw", "file"] = "raw"
    """Whether rows hold values or encoded files."""

    facts: dict[str, Any]
    """What a reader must know besides, such as the sampling rate: plain JSON values for the manifest."""

    def settle(self, samples: Draw) -> dict[str, Any]:
        """What the settings leave open, decided from samples spread over the source; plain JSON values.

        Raises:
            UserError: nothing can be decided from them.
        """
        raise NotImplementedError

    def use(self, settled: dict[str, Any]) -> None:
        """Take what `settle` decided; sets `shape`, `dtype`, `encoding` and `facts`."""
        raise NotImplementedError

    def encode(self, sample: Sample) -> list[Row]:
        """The rows that are complete with this sample.

        Raises:
            BadSample: it cannot be used; earlier samples that were held back stay good.
        """
        raise NotImplementedError

    def in_place(self, cell: bytes | NDArray[Any] | None) -> NDArray[Any]:
        """The values that `encode` stores of a sample's data, made anew each time a corpus that is indexed in place is
        read; shape `shape`, but for a shorter first axis.

        Raises:
            BadSample: the data cannot be used.
        """
        raise BadSample("needs_preparing", f"{self.title} are not read in place")

    def finish(self) -> list[Row]:
        """The rows still held back."""
        return []

    def files(self) -> dict[str, bytes]:
        """What lies beside the manifest, such as a tokenizer: name -> content; the facts' `files` say its sha256."""
        return {}

    def near(self, values: NDArray[Any]) -> tuple[list[int], bytes]:
        """Keys of which near duplicates share at least one, and bytes by which to compare two rows that do.

        Without keys no near duplicates are found; without bytes a common key is enough. See `duplicates.find`.
        """
        return [], b""

    @property
    def by_sample(self) -> bool:
        """Whether samples are compared with each other and not rows, which may hold parts of several."""
        return False

    def signed(self, sample: Sample) -> tuple[bytes, list[int]]:
        """What a good sample is compared by, if samples are: its content and the keys of `near`."""
        raise NotImplementedError

    def values(self, data: bytes) -> NDArray[Any]:
        """The values of a stored row, as `Row.values` were."""
        return np.frombuffer(data, self.dtype).reshape(-1, *self.shape[1:])

    def moments(self, values: NDArray[Any]) -> tuple[list[int], list[float], list[float]]:
        """Counts, sums and sums of squares for each entry of the last axis (or for all); NaN does not count."""
        flat = values.reshape(-1, self.channels)
        if np.issubdtype(flat.dtype, np.floating):
            there = ~np.isnan(flat)
            wide = np.where(there, flat, 0).astype(np.float64)
            return there.sum(0).tolist(), wide.sum(0).tolist(), (wide**2).sum(0).tolist()
        wide = flat.astype(np.int64)
        return [len(flat)] * self.channels, wide.sum(0).tolist(), (wide**2).sum(0).tolist()

    @property
    def channels(self) -> int:
        """Numbers of a statistic: the last axis of a shape with more than one, else 1."""
        return self.shape[-1] if len(self.shape) > 1 else 1

    def row_bytes(self) -> int:
        """Bytes of a full row, to choose how many rows make a group."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize
