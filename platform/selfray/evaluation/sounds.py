"""Waveforms as sounds that a browser plays."""

import io
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PAD = np.iinfo(np.int16).min
RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Hertz that MP3 knows."""
SECONDS = 4.0
"""Longer sounds are cut, so that a page of many stays small."""


class Sounds(NamedTuple):
    """MP3 files one behind the other, and where each of them ends."""

    sound: NDArray[np.uint8]
    ends: NDArray[np.int64]


def encoded(waves: NDArray[Any], rate: int) -> Sounds:
    """int16 with padding or float in [-1, 1], (n, time) or (n, time, channels) -> MP3."""
    files = [_mp3(wave, rate) for wave in waves]
    joined = np.frombuffer(b"".join(files), np.uint8) if files else np.zeros(0, np.uint8)
    return Sounds(joined, np.cumsum([len(file) for file in files], dtype=np.int64))


def split(sounds: Sounds) -> list[bytes]:
    """The single files again."""
    joined = sounds.sound.tobytes()
    return [joined[begin:end] for begin, end in pairwise([0, *sounds.ends.tolist()])]


def _mp3(wave: NDArray[Any], rate: int) -> bytes:
    import soundfile
    import soxr

    if wave.dtype == np.int16:
        valid = wave != PAD if wave.ndim == 1 else (wave != PAD).all(1)
        wave = wave[valid].astype(np.float32) / 2**15
    mono = np.nan_to_num(wave.astype(np.float32)) if wave.ndim == 1 else wave.astype(np.float32).mean(1)
    mono = mono[: round(SECONDS * rate)]
    known = next((one for one in RATES if one >= min(rate, RATES[-1])), RATES[-1])
    if known != rate:
        mono = soxr.resample(mono, rate, known)
    file = io.BytesIO()
    soundfile.write(file, np.clip(mono, -1, 1), known, format="MP3")
    return file.getvalue()
