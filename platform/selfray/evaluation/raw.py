"""Samples as vectors without any network: what a probe can do before anything was learned. One function a data type."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

PIXELS = 32  # a side: images are compared at this size at most
STEPS = 256  # of a series: longer ones are shrunk to so many

Vectors = NDArray[np.float32]


def image(samples: NDArray[Any], facts: Mapping[str, Any]) -> Vectors:
    """Pixels in [0, 1], shrunk to 32 x 32 where they are more."""
    small = torch.tensor(samples).permute(0, 3, 1, 2).float() / 255
    if min(small.shape[2:]) > PIXELS:
        small = torch.nn.functional.adaptive_avg_pool2d(small, PIXELS)
    return small.flatten(1).numpy()


def series(samples: NDArray[Any], facts: Mapping[str, Any]) -> Vectors:
    """Values in order, missing ones 0, shrunk to 256 steps if they are more; and each channel's mean and deviation."""
    values = torch.nan_to_num(torch.tensor(samples, dtype=torch.float32)).transpose(1, 2)
    if values.shape[2] > STEPS:
        values = torch.nn.functional.adaptive_avg_pool1d(values, STEPS)
    return torch.cat([values.flatten(1), values.mean(2), values.std(2)], dim=1).numpy()


def text(samples: NDArray[Any], facts: Mapping[str, Any]) -> Vectors:
    """Term frequencies times inverse document frequencies of the tokens, folded into 1,024 columns."""
    columns = 1024
    counts = np.zeros((len(samples), columns), np.float32)
    valid = samples != facts.get("pad", 0)
    rows = np.broadcast_to(np.arange(len(samples))[:, None], samples.shape)
    np.add.at(counts, (rows[valid], samples[valid].astype(np.int64) * 2654435761 % 2**32 % columns), 1)
    weighted = np.log1p(counts) * np.log((1 + len(samples)) / (1 + (counts > 0).sum(0)))
    return (weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def audio(samples: NDArray[Any], facts: Mapping[str, Any]) -> Vectors:
    """Mean and deviation over time of 64 bands of the logarithmic spectrum."""
    values = torch.tensor(np.where(samples == facts.get("pad", 0), 0, samples)).float() / 32768
    window = min(1024, values.shape[1])
    spectrum = torch.stft(values, window, window // 2, window=torch.hann_window(window), return_complex=True).abs()
    bands = torch.log(torch.nn.functional.adaptive_avg_pool1d(spectrum.transpose(1, 2), 64) + 1e-5)
    return torch.cat([bands.mean(1), bands.std(1)], dim=1).numpy()


FUNCTIONS: dict[str, Callable[[NDArray[Any], Mapping[str, Any]], Vectors]] = {
    "image": image,
    "series": series,
    "text": text,
    "audio": audio,
}
NAMES = {"image": "raw pixels", "series": "raw values", "text": "TF-IDF", "audio": "spectrum statistics"}
