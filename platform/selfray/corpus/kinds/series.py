"""Time series: float32 values of one or more channels, NaN where one is missing, cut into windows of one length."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ...bounds import Fraction, Positive, PositiveInt
from ...errors import UserError
from ..bad import BadSample
from ..duplicates import sketch
from ..sources.source import Sample
from .kind import Draw, Kind, Row

LONGEST_KEPT = 4096  # steps of a window that are kept without being asked
SHAPE_CELLS, LEVEL_OF_SHAPE = 64, 0.05  # of time; standard deviations
NORMAL = 0.6745  # median absolute deviation of a standard normal distribution


class Series(Kind):
    """Windows of time series.

    Values stay as they are; mean and deviation of each channel go to the manifest. Infinite values become missing,
    and the rows of their series say how many in their `meta` (`infinite`). Steps without any value at the end of a
    series are padding and are cut off. A window that is shorter than `length` is stored as it is.

    Args:
        length: steps of a window; by default the longest of 1,000 looked-at series up to 4,096.
        stride: steps from one window to the next, until one reaches the end; by default `length`. A last window that
            is shorter than `min_length` is left out, and so is one without any value.
        min_length: steps below which a series is too short.
        max_missing: share of the values above which too much is missing.
        constant: what to do with a channel whose values are all the same in a series: keep it, drop it (its values
            become missing), or reject the series. A series of which nothing is left is rejected.
        max_outliers: share of the values that may be outliers.
        outlier_z: distance from the channel's median, in robust standard deviations (1.48 times the median distance),
            above which a value is an outlier.
    """

    title = "series"
    pieces: ClassVar[int] = 1 << 24
    dtype = "float32"

    def __init__(
        self,
        *,
        length: PositiveInt | None = None,
        stride: PositiveInt | None = None,
        min_length: PositiveInt = 2,
        max_missing: Fraction = 0.8,
        constant: Literal["keep", "drop", "reject"] = "keep",
        max_outliers: Fraction = 1.0,
        outlier_z: Positive = 10.0,
    ):
        if length is not None and length < min_length:
            raise UserError(f"length is {length}, less than min_length {min_length}")
        self._length, self._stride, self.min_length = length, stride, min_length
        self.max_missing, self.constant = max_missing, constant
        self.max_outliers, self.outlier_z = max_outliers, outlier_z

    def settle(self, samples: Draw) -> dict[str, Any]:
        """Length as asked, else the longest series; channels as most series have them."""
        longest, channels, problem = 0, Counter[int](), ""
        for sample in samples:
            if not isinstance(sample.data, np.ndarray):
                why = str(sample.data) if isinstance(sample.data, BadSample) else "no array of numbers"
                problem = problem or f", such as {sample.source} ({why})"
                continue
            values = _padding_off(_two_axes(sample.data))
            if len(values):
                longest = max(longest, len(values))
                channels[values.shape[1]] += 1
        if not channels:
            raise UserError(f"none of the series that were looked at can be used{problem}")
        length = self._length or max(min(longest, LONGEST_KEPT), self.min_length)
        return {"shape": [length, max(channels, key=lambda n: (channels[n], -n))]}

    def use(self, settled: dict[str, Any]) -> None:
        length, channels = settled["shape"]
        self.shape, self.facts = (length, channels), {}
        self.stride = self._stride or length

    def encode(self, sample: Sample) -> list[Row]:
        """The windows of a series."""
        values, infinite = self._checked(sample.data)
        meta = json.dumps(_added(sample.meta, infinite), sort_keys=True) if infinite else sample.meta
        rows = []
        for piece, window in enumerate(self._windows(values)):
            if piece == self.pieces:
                raise BadSample("too_long", f"{len(values):,} steps, more than {self.pieces:,} windows")
            if len(window) >= self.min_length and not np.isnan(window).all():
                data = window.astype("<f4").tobytes()
                stored = np.frombuffer(data, "<f4").reshape(window.shape)
                id = sample.id * self.pieces + piece
                rows.append(Row(id, data, stored, sample.label, sample.group, meta, sample.source))
        return rows

    def in_place(self, cell: bytes | NDArray[Any] | None) -> NDArray[Any]:
        """The series of one window, as it was."""
        if not isinstance(cell, np.ndarray):
            raise BadSample("not_a_series", "no list of numbers")
        values = _two_axes(cell)
        return _padding_off(np.where(np.isinf(values), np.float32(np.nan), values))[: self.shape[0]]

    def near(self, values: NDArray[Any]) -> tuple[list[int], bytes]:
        """A sketch of the standardised shape, in 64 cells a channel; and these cells. A constant series has none."""
        shape = _shape(values)
        if shape is None:
            return [], b""
        levels = np.clip(np.rint(shape / LEVEL_OF_SHAPE) + 128, 0, 255).astype(np.uint8)
        return sketch(shape.ravel(), salt=round(4 * math.log2(len(values)))), levels.tobytes()

    def _windows(self, values: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        length = self.shape[0]
        for start in range(0, max(len(values) - length, 0) + self.stride, self.stride):
            yield values[start : start + length]

    def _checked(self, data: Any) -> tuple[NDArray[np.float32], int]:
        """The values that are stored, and how many of them were infinite."""
        if not isinstance(data, np.ndarray):
            raise BadSample("not_a_series", "no array of numbers")
        values = _two_axes(data)
        if values.shape[1] != self.shape[1]:
            raise BadSample("wrong_channels", f"{values.shape[1]} channels instead of {self.shape[1]}")
        infinite = np.isinf(values)
        values = _padding_off(np.where(infinite, np.float32(np.nan), values))
        if not len(values):
            raise BadSample("all_missing", f"no value in {len(data):,} steps")
        if len(values) < self.min_length:
            raise BadSample("too_short", f"{len(values)} steps, below {self.min_length}")
        missing = float(np.isnan(values).mean())
        if missing > self.max_missing:
            raise BadSample("missing", f"{missing:.1%} of the values, above {self.max_missing:.1%}")
        values = self._without_constant(values)
        if self.max_outliers < 1:
            share = outliers(values, self.outlier_z)
            if share > self.max_outliers:
                raise BadSample("outliers", f"{share:.1%} of the values, above {self.max_outliers:.1%}")
        return values, int(infinite.sum())

    def _without_constant(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.constant == "keep":
            return values
        there = ~np.isnan(values)
        lowest, highest = np.where(there, values, np.inf).min(0), np.where(there, values, -np.inf).max(0)
        same = lowest >= highest
        if same.all() or (self.constant == "reject" and (same & there.any(0)).any()):
            raise BadSample("constant", f"channel {int(np.argmax(same & there.any(0)))} holds one value only")
        return np.where(same, np.float32(np.nan), values) if same.any() else values


def outliers(values_TC: NDArray[np.float32], z: float) -> float:
    """The share of the present values that lie more than `z` robust standard deviations from their channel's median.

    A channel of which more than half is one value has no robust deviation and no outliers.
    """
    distant = present = 0
    for channel in values_TC.T:
        there = channel[~np.isnan(channel)].astype(np.float64)
        present += len(there)
        if len(there):
            distance = np.abs(there - np.median(there))
            if typical := float(np.median(distance)):
                distant += int((NORMAL * distance > z * typical).sum())
    return distant / present if present else 0.0


def _shape(values_TC: NDArray[Any]) -> NDArray[np.float64] | None:
    """Means of 64 cells of time, standardised a channel; 0 where nothing is known. None of a constant series."""
    cells = np.minimum(np.arange(len(values_TC)) * SHAPE_CELLS // len(values_TC), SHAPE_CELLS - 1)
    shape = np.zeros((SHAPE_CELLS, values_TC.shape[1]))
    varies = False
    for channel, column in enumerate(values_TC.T.astype(np.float64)):
        there = ~np.isnan(column)
        spread = float(column[there].std()) if there.any() else 0.0
        if not spread > 1e-6 * float(np.abs(column[there]).max(initial=0)):
            continue
        varies, mean = True, float(column[there].mean())
        counts = np.bincount(cells[there], minlength=SHAPE_CELLS)
        sums = np.bincount(cells[there], weights=(column[there] - mean) / spread, minlength=SHAPE_CELLS)
        shape[:, channel] = sums / np.maximum(counts, 1)
    return shape if varies else None


def _two_axes(data: NDArray[Any]) -> NDArray[np.float32]:
    """Float32 (time, channels); what float32 cannot hold is infinite."""
    if data.ndim not in (1, 2) or data.dtype.kind not in "fiub":
        raise BadSample("not_a_series", f"an array of {data.ndim} axes of {data.dtype}")
    with np.errstate(over="ignore"):
        values = data.astype(np.float32, copy=False)
    return values.reshape(len(values), -1) if values.size else values.reshape(0, 1)


def _padding_off(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without the steps at the end that have no value."""
    (there,) = np.nonzero(~np.isnan(values).all(1))
    return values[: there[-1] + 1] if len(there) else values[:0]


def _added(meta: str | None, infinite: int) -> dict[str, Any]:
    said = json.loads(meta) if meta else {}
    return {**(said if isinstance(said, dict) else {"meta": said}), "infinite": infinite}
