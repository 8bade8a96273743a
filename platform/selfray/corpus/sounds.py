"""Sound files in memory: what their headers say, and their samples block by block."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

from .bad import BadSample

FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")  # libsndfile's names; it knows more, which nobody asks for
MAX_CHANNELS = 64
MAX_RATE = 768_000  # hertz; higher ones are lies, and a resampler's tables grow with the ratio
BLOCK = 1 << 18  # values decoded at once: 1 MiB
_UNKNOWN = 1 << 62  # frames: libsndfile's word for a stream without a length is the largest integer
_OPEN_END = (0xFFFFFFFF, 0x7FFFFFFF, 0)  # data sizes that recorders write before they know


@dataclass(frozen=True)
class Header:
    """What a file says of itself; `frames` is None where it does not say how long it is."""

    rate: int
    channels: int
    frames: int | None

    @property
    def seconds(self) -> float | None:
        """How long it plays."""
        return None if self.frames is None else self.frames / self.rate


def header(data: bytes) -> Header:
    """What the header says; nothing is decoded.

    Raises:
        BadSample: `empty`, `not_audio`, `undecodable`, or a rate or number of channels that is none.
    """
    with _opened(data) as file:
        return _header(file)


def blocks(data: bytes) -> Iterator[NDArray[np.float32]]:
    """The samples in blocks of at most `BLOCK` values; each float32 (frames, channels), full scale at 1.

    Raises:
        BadSample: as of `header`; `truncated`, `undecodable`, or `not_finite` once a block shows it.
    """
    if missing := _missing(data):
        raise BadSample("truncated", missing)
    with _opened(data) as file:
        head, done = _header(file), 0
        frames = max(1, BLOCK // head.channels)
        while len(block := file.read(frames, dtype="float32", always_2d=True)):
            if not np.isfinite(block).all():
                raise BadSample("not_finite", f"values that are no numbers after {done / head.rate:.1f} s")
            done += len(block)
            yield block
        if head.frames is not None and done < head.frames:
            raise BadSample("truncated", f"{done:,} frames instead of {head.frames:,}")


@contextmanager
def _opened(data: bytes) -> Iterator[soundfile.SoundFile]:
    """The open file; whatever libsndfile raises becomes a `BadSample`."""
    if not data:
        raise BadSample("empty", "no bytes")
    if not _looks_like_sound(data):
        raise BadSample("not_audio", f"not a WAV, FLAC, Ogg or MP3 file; it begins with {data[:12]!r}")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in FORMATS:
                raise BadSample("not_audio", f"a {file.format} file")
            yield file
    except BadSample:
        raise
    except (soundfile.LibsndfileError, soundfile.SoundFileRuntimeError, MemoryError, ValueError) as error:
        missing = _missing(data)
        what = getattr(error, "error_string", "") or type(error).__name__
        raise BadSample("truncated" if missing else "undecodable", missing or what) from None


def _header(file: soundfile.SoundFile) -> Header:
    if not 0 < file.channels <= MAX_CHANNELS:
        raise BadSample("wrong_channels", f"{file.channels} channels, more than {MAX_CHANNELS}")
    if not 0 < file.samplerate <= MAX_RATE:
        raise BadSample("wrong_rate", f"{file.samplerate} Hz, more than {MAX_RATE}")
    return Header(file.samplerate, file.channels, file.frames if 0 <= file.frames < _UNKNOWN else None)


def _looks_like_sound(data: bytes) -> bool:
    if data[:4] in (b"RIFF", b"RF64"):
        return data[8:12] == b"WAVE"
    return data.startswith((b"fLaC", b"OggS", b"ID3")) or (data[0] == 0xFF and len(data) > 1 and data[1] >= 0xE0)


def _missing(data: bytes) -> str:
    """What a file lacks of what it announces, else nothing.

    libsndfile plays the rest of a cut WAV, Ogg or MP3 file as if it were whole.
    """
    if data[:4] == b"RIFF":
        return _wav_missing(data)
    if data[:4] == b"OggS":
        return _ogg_missing(data)
    return _mp3_missing(data)


def _wav_missing(data: bytes) -> str:
    """Walk the chunks up to the samples and compare their size with what is there."""
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"data":
            there = len(data) - at - 8
            whole = size <= there or size in _OPEN_END
            return "" if whole else f"{there:,} bytes of samples instead of {size:,}"
        at += 8 + size + size % 2
    return "it ends before its samples"


def _ogg_missing(data: bytes) -> str:
    """Compare the last page with the size that its header tells (RFC 3533, section 6).

    A stream may end with any page: a recorder that was stopped sets no flag of an end.
    """
    last = data.rfind(b"OggS")
    if len(data) <= last + 26:
        return "it ends in the header of a page"
    segments = data[last + 27 : last + 27 + data[last + 26]]
    there, said = len(data) - last, 27 + data[last + 26] + sum(segments)
    ended = data[last + 5] & 4  # what follows the flagged end is not of this stream
    return "" if there == said or (ended and there > said) else f"the last page has {there:,} bytes instead of {said:,}"


def _mp3_missing(data: bytes) -> str:
    """Compare with the number of bytes in the encoder's first frame, if there is one."""
    start = 0
    if data[:3] == b"ID3" and len(data) >= 10:
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    for tag in (b"Xing", b"Info"):
        at = data.find(tag, start, start + 64)
        if at < 0 or len(data) < at + 16:
            continue
        flags = struct.unpack_from(">I", data, at + 4)[0]
        if flags & 2:
            said = struct.unpack_from(">I", data, at + 8 + 4 * (flags & 1))[0]
            there = len(data) - start
            # Encoders count with or without their first frame, which has at most 1,441 bytes
            return "" if there + 1441 >= said else f"{there:,} bytes instead of {said:,}"
    return ""
