"""Small waveforms and what reads them, for tests."""

import math

import torch

from selfray import encoders

RATE = 16_000
FACTS = {"rate": RATE, "pad": -32768}
LENGTH = 4800
SMALL = {
    "cpc": {"width": 32, "inner": 32},
    "wav2vec2": {"shape": "tiny", "layers": 1, "dropout": 0.0, "reach": 16},
    "melconv": {"width": 32, "channels_inside": 8, "stages": 2, "mels": 32, "dropout": 0.0},
    "meltransformer": {"width": 32, "layers": 1, "mels": 20, "stack": 2},
}


def encoder(name, length=LENGTH, **settings):
    """A small encoder that knows a corpus's facts; without dropout unless it is set."""
    made = encoders.find(name)(1, (length,), **(SMALL[name] | settings))
    made.facts = dict(FACTS)
    return made


def waves(count, length=LENGTH, seed=0, ragged=True):
    """Chirps with harmonics and noise as a corpus stores them, each of its own length with padding behind."""
    generator = torch.Generator().manual_seed(seed)
    low, rise = 100 + 400 * torch.rand(2, count, 1, generator=generator)
    time = torch.arange(length) / RATE
    phase = 2 * math.pi * (low * time + rise * time**2)
    sound = sum((phase * (k + 1)).sin() * 0.15 / (k + 1) for k in range(4))
    sound = sound + 0.01 * torch.randn(count, length, generator=generator)
    samples = (sound * 32768).round().clamp(-32767, 32767).to(torch.int16)
    if ragged:
        own = torch.randint(length // 2, length + 1, (count, 1), generator=generator)
        samples = torch.where(torch.arange(length) < own, samples, FACTS["pad"])
    return samples
