"""Sound: WAV, FLAC, Ogg or MP3 files, brought to one rate and cut into segments of one length."""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, ClassVar

import numpy as np
import soxr
from annotated_types import Gt, Le
from numpy.typing import NDArray

from ...bounds import Fraction, Positive, PositiveInt
from ...errors import UserError
from .. import sounds
from ..bad import BadSample
from ..duplicates import sketch
from ..sources.source import Sample
from .kind import Draw, Kind, Row

PARTS, BANDS = 16, 12  # of time and frequency
LEVEL_OF_LOUDNESS, STEADY = 0.35, 1.0  # decibels
FULL_SCALE = 0.999  # of the largest value; three samples in a row above it are clipped and not a peak
Decibels = Annotated[float, Le(0)]
Seconds = Annotated[float, Gt(0), Le(600)]


class Audio(Kind):
    """Segments of sound: 16-bit values at one sampling rate.

    A file is decoded in blocks, so that memory holds its bytes and its result: 115 MB for an hour at 16 kHz. It is
    judged as a whole: a bad one is quarantined with all its segments.

    Args:
        rate: hertz; other files are resampled. None keeps the rate that most of the looked-at files have.
        channels: 1 mixes down. None keeps the number that most of the looked-at files have; a mono file then fills
            all of them, and one with another number is quarantined.
        seconds: of a segment.
        min_seconds: a file below it is too short; the last segment of a longer file is kept if it is as long, and
            left out otherwise.
        max_seconds: a file above it is too long.
        min_rate: hertz of a file below which its rate is wrong.
        min_level: decibels of full scale. A file whose power is below it is silent; one that is below it without its
            mean is constant.
        max_clipped: share of a file's values that are at least the third in a row at full scale above which it is
            clipped.
        keep_pauses: keep also those segments of a file that are silent by themselves, such as a long pause; their
            numbers are missing from the ids otherwise.
    """

    title = "sounds"
    pieces: ClassVar[int] = 1 << 20
    scale = 32768.0
    dtype = "int16"

    def __init__(
        self,
        *,
        rate: PositiveInt | None = 16_000,
        channels: PositiveInt | None = 1,
        seconds: Seconds = 10.0,
        min_seconds: Positive = 0.5,
        max_seconds: Positive = 7200.0,
        min_rate: PositiveInt = 4000,
        min_level: Decibels = -60.0,
        max_clipped: Fraction = 0.01,
        keep_pauses: bool = False,
    ):
        if rate is not None and not 1000 <= rate <= sounds.MAX_RATE:
            raise UserError(f"rate is {rate}; it must be 1000 to {sounds.MAX_RATE} Hz")
        if channels is not None and channels > sounds.MAX_CHANNELS:
            raise UserError(f"channels is {channels}; it must be 1 to {sounds.MAX_CHANNELS}")
        if min_seconds > seconds:
            raise UserError(f"min_seconds is {min_seconds}, longer than a segment of {seconds} seconds")
        if max_seconds / seconds >= self.pieces:
            raise UserError(f"max_seconds is {max_seconds}, more than {self.pieces:,} segments of {seconds} seconds")
        self._rate, self._channels, self.seconds = rate, channels, seconds
        self.min_seconds, self.max_seconds, self.min_rate = min_seconds, max_seconds, min_rate
        self.min_power, self.max_clipped, self.keep_pauses = 10 ** (min_level / 10), max_clipped, keep_pauses

    def settle(self, samples: Draw) -> dict[str, Any]:
        """Rate and channels: as asked, else what most of the samples' headers say."""
        rates: Counter[int] = Counter()
        channels: Counter[int] = Counter()
        if self._rate is None or self._channels is None:
            for sample in samples:
                if isinstance(sample.data, bytes):
                    with suppress(BadSample):  # counted when its fragment is done
                        head = sounds.header(sample.data)
                        rates[head.rate] += 1
                        channels[head.channels] += 1
            if not rates:
                raise UserError("none of the files that were looked at is sound; say rate and channels to see why")
        rate = self._rate or max(rates, key=lambda rate: (rates[rate], rate))
        if round(self.seconds * rate) < 1:
            raise UserError(f"seconds is {self.seconds}, less than one value at {rate} Hz")
        return {"rate": rate, "channels": self._channels or max(channels, key=lambda n: (channels[n], -n))}

    def use(self, settled: dict[str, Any]) -> None:
        self.rate, wide = settled["rate"], settled["channels"]
        time = round(self.seconds * self.rate)
        self.shape = (time,) if wide == 1 else (time, wide)
        self.facts = {"rate": self.rate, "pad": -32768}

    def encode(self, sample: Sample) -> list[Row]:
        """The segments of a file."""
        if isinstance(sample.data, BadSample):
            raise sample.data
        if not isinstance(sample.data, bytes | np.ndarray):
            raise BadSample("not_audio", "no bytes of a sound file")
        head = sounds.header(sample.data) if isinstance(sample.data, bytes) else self._array_header(sample.data)
        self._check_header(head)
        segments, power, total, count = [], 0.0, np.zeros(self.channels), 0
        for segment in _segments(self._resampled(sample.data, head), self.shape[0]):
            wide = segment.reshape(-1, self.channels).astype(np.float64) / self.scale
            mine = float((wide**2).sum())
            power, total, count = power + mine, total + wide.sum(0), count + len(wide)
            heard = self.keep_pauses or mine >= self.min_power * wide.size
            segments.append(segment.astype("<i2", copy=False).tobytes() if heard else b"")
        self._check_level(power, total, count)
        rows = [
            Row(
                sample.id * self.pieces + piece,
                segment,
                np.frombuffer(segment, "<i2").reshape(-1, *self.shape[1:]),
                sample.label,
                sample.group,
                sample.meta,
                sample.source,
            )
            for piece, segment in enumerate(segments)
            if segment
        ]
        if len(rows) > 1 and rows[-1].length < self.min_seconds * self.rate:
            rows.pop()
        return rows

    def in_place(self, cell: bytes | NDArray[Any] | None) -> NDArray[Any]:
        """16-bit values at the corpus's rate, as they were."""
        if not isinstance(cell, np.ndarray):
            raise BadSample("not_audio", "no list of 16-bit values")
        self._array_header(cell)
        found: NDArray[Any] = np.maximum(cell, -32767).reshape(-1, *self.shape[1:])[: self.shape[0]]
        return found

    def _array_header(self, values: NDArray[Any]) -> sounds.Header:
        """What is known of values without a file: they have the corpus's rate."""
        wide = values.shape[1] if values.ndim == 2 else 1
        if values.dtype != np.int16 or values.ndim > 2 or wide != self.channels:
            raise BadSample("not_audio", f"values of shape {values.shape} and type {values.dtype}, not 16-bit sound")
        return sounds.Header(self.rate, wide, len(values))

    def near(self, values: NDArray[Any]) -> tuple[list[int], bytes]:
        """A sketch of how the loudness of 12 bands changes over 16 parts of the time; and these levels themselves.

        Neither gain nor a shift that is short beside a part changes them much.
        """
        grid = _levels(values.reshape(len(values), -1).astype(np.float32).mean(1), self.rate)
        if grid is None:
            return [], b""
        changes = grid - grid.mean(0)
        changes *= changes.std() >= STEADY  # else they are noise; all steady sounds then share their keys
        levels = np.clip(np.rint((grid - grid.mean()) / LEVEL_OF_LOUDNESS) + 128, 0, 255).astype(np.uint8)
        return sketch(changes.ravel(), salt=round(4 * math.log2(len(values)))), levels.tobytes()

    def _check_header(self, head: sounds.Header) -> None:
        if head.rate < self.min_rate:
            raise BadSample("wrong_rate", f"{head.rate} Hz, below {self.min_rate}")
        if self.channels > 1 and head.channels not in (1, self.channels):
            raise BadSample("wrong_channels", f"{head.channels} channels instead of {self.channels}")
        if head.seconds is not None:
            self._check_seconds(head.seconds)

    def _check_seconds(self, seconds: float, *, ended: bool = True) -> None:
        if ended and seconds < self.min_seconds:
            raise BadSample("too_short", f"{seconds:.3f} s, below {self.min_seconds}")
        if seconds > self.max_seconds:
            raise BadSample("too_long", f"{seconds:,.0f} s, above {self.max_seconds:,.0f}")

    def _check_level(self, power: float, total: NDArray[np.float64], count: int) -> None:
        """Refuse what has no power, or none but that of its mean."""
        if not count:
            raise BadSample("too_short", "no samples")
        mean_power = power / (count * self.channels)
        offset = float(((total / count) ** 2).mean())
        if mean_power < self.min_power:
            raise BadSample("silent", f"{_decibels(mean_power)} of full scale, below {_decibels(self.min_power)}")
        if mean_power - offset < self.min_power:
            raise BadSample("constant", f"a constant {math.sqrt(offset):.3f} of full scale, and nothing else")

    def _resampled(self, data: bytes | NDArray[Any], head: sounds.Header) -> Iterator[NDArray[np.int16]]:
        """The file at the corpus's rate and channels; int16 (frames,) or (frames, channels)."""
        stream = None
        if head.rate != self.rate:
            stream = soxr.ResampleStream(head.rate, self.rate, self.channels, dtype="float32")
        before = np.zeros((2, head.channels), bool)
        clipped = frames = 0
        for block in sounds.blocks(data) if isinstance(data, bytes) else _blocks(data, head.channels):
            full = np.concatenate([before, np.abs(block) >= FULL_SCALE])
            clipped += int((full[:-2] & full[1:-1] & full[2:]).sum())
            before, frames = full[-2:], frames + len(block)
            self._check_seconds(frames / head.rate, ended=False)
            mixed = self._mixed(block)
            yield self._rounded(mixed if stream is None else stream.resample_chunk(mixed))
        if stream is not None:
            yield self._rounded(stream.resample_chunk(self._mixed(np.zeros((0, head.channels), np.float32)), last=True))
        self._check_seconds(frames / head.rate)
        if clipped > self.max_clipped * frames * head.channels:
            raise BadSample("clipped", f"{clipped / (frames * head.channels):.1%} of the values are at full scale")

    def _mixed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        block = np.clip(block, -1, 1)  # floating-point files may hold anything up to 3e38
        if self.channels == 1:
            mono: NDArray[np.float32] = block[:, 0] if block.shape[1] == 1 else block.mean(1, dtype=np.float32)
            return np.ascontiguousarray(mono)
        return np.ascontiguousarray(np.broadcast_to(block, (len(block), self.channels)))

    def _rounded(self, block: NDArray[np.float32]) -> NDArray[np.int16]:
        return np.clip(np.rint(block * self.scale), -32767, 32767).astype(np.int16)


def _segments(blocks: Iterator[NDArray[np.int16]], time: int) -> Iterator[NDArray[np.int16]]:
    """The blocks joined and cut anew, `time` long each but for the last."""
    held: list[NDArray[np.int16]] = []
    size = 0
    for block in blocks:
        held.append(block)
        size += len(block)
        if size >= time:
            joined = np.concatenate(held)
            whole = size - size % time
            for start in range(0, whole, time):
                yield joined[start : start + time]
            held, size = [joined[whole:].copy()], size - whole  # a view would keep all that was joined
    if size:
        yield np.concatenate(held)


def _levels(wave: NDArray[np.float32], rate: int) -> NDArray[np.float64] | None:
    """Decibels of (16 parts of the time, 12 bands, 100 Hz to 4 kHz), at least the loudest less 30; none if short."""
    window = min(2 ** round(math.log2(rate / 16)), len(wave) // PARTS)
    if window < 4 * BANDS:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(wave, window)[:: window // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(window).astype(np.float32), axis=1)) ** 2
    hertz = np.fft.rfftfreq(window, 1 / rate)
    edges = np.searchsorted(hertz, np.geomspace(100, min(4000, rate / 2), BANDS + 1))
    edges = np.maximum.accumulate(np.maximum(edges, np.arange(1, BANDS + 2)))  # no band is empty
    bands = np.add.reduceat(power[:, : edges[-1]], np.minimum(edges[:-1], power.shape[1] - 1), axis=1)
    parts = np.linspace(0, len(frames), PARTS + 1).astype(int)
    grid = np.add.reduceat(bands, parts[:-1], axis=0).astype(np.float64)
    decibels: NDArray[np.float64] = 10 * np.log10(np.maximum(grid, grid.max() * 1e-3 + 1e-12))
    return decibels


def _blocks(values: NDArray[Any], channels: int) -> Iterator[NDArray[np.float32]]:
    """16-bit values as `sounds.blocks` gives those of a file."""
    step = max(1, sounds.BLOCK // channels)
    for start in range(0, len(values), step):
        yield values[start : start + step].reshape(-1, channels).astype(np.float32) / np.float32(Audio.scale)


def _decibels(power: float) -> str:
    return f"{10 * math.log10(power):.0f} dB" if power else "minus infinity dB"
