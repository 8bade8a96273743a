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
from ..sources.source import Sample
from .kind import Draw, Kind, Row

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
        self.min_power, self.max_clipped = 10 ** (min_level / 10), max_clipped

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
        if not isinstance(sample.data, bytes):
            raise BadSample("not_audio", "no bytes of a sound file")
        head = sounds.header(sample.data)
        self._check_header(head)
        segments, power, total, count = [], 0.0, np.zeros(self.channels), 0
        for segment in _segments(self._resampled(sample.data, head), self.shape[0]):
            wide = segment.reshape(-1, self.channels).astype(np.float64) / self.scale
            power, total, count = power + float((wide**2).sum()), total + wide.sum(0), count + len(wide)
            segments.append(segment.astype("<i2", copy=False).tobytes())
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
        ]
        if len(rows) > 1 and rows[-1].length < self.min_seconds * self.rate:
            rows.pop()
        return rows

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

    def _resampled(self, data: bytes, head: sounds.Header) -> Iterator[NDArray[np.int16]]:
        """The file at the corpus's rate and channels; int16 (frames,) or (frames, channels)."""
        stream = None
        if head.rate != self.rate:
            stream = soxr.ResampleStream(head.rate, self.rate, self.channels, dtype="float32")
        before = np.zeros((2, head.channels), bool)
        clipped = frames = 0
        for block in sounds.blocks(data):
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


def _decibels(power: float) -> str:
    return f"{10 * math.log10(power):.0f} dB" if power else "minus infinity dB"
