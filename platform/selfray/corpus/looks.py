"""How samples of each data type look on a sheet, and what about them a histogram says."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .manifest import Manifest


class Measure(NamedTuple):
    """One number a sample."""

    title: str
    values: NDArray[np.float64]
    low: float
    high: float


def what(manifest: Manifest) -> str:
    """What the samples are: `images of 28 x 28 x 1`."""
    shape, facts = manifest.shape, manifest.facts
    if manifest.kind == "audio":
        return f"segments of up to {shape[0] / facts['rate']:.3g} s of sound at {facts['rate']:,} Hz"
    if manifest.kind == "series":
        return f"series of up to {shape[0]:,} steps of {shape[1]} channel{'s' if shape[1] > 1 else ''}"
    if manifest.kind == "text":
        return f"rows of {shape[0]:,} tokens, of a vocabulary of {facts['vocabulary']:,}"
    return f"images of {' x '.join(map(str, shape))}"


def pictures(data: NDArray[Any], manifest: Manifest) -> NDArray[np.uint8]:
    """Samples of a data type that can be drawn, (n, ...) -> (n, height, width, 1 or 3)."""
    from ..evaluation.pictures import drawn

    found = drawn(manifest.kind, data)
    assert found is not None, manifest.kind
    return found


def texts(data: NDArray[Any], manifest: Manifest, folder: Path) -> NDArray[np.str_]:
    """Samples of text as a person reads them."""
    from ..evaluation.words import texts as said

    return said(data, manifest, folder)


def measure(data: NDArray[Any], manifest: Manifest) -> Measure:
    """Brightness of images, loudness of sounds, missing values of series, filling of rows of text."""
    flat = data.reshape(len(data), -1)
    if manifest.kind == "audio":
        valid = flat != np.iinfo(np.int16).min
        power = np.where(valid, (flat / 2**15) ** 2, 0).sum(1) / np.maximum(valid.sum(1), 1)
        return Measure("loudness of a segment in dB of full scale", 10 * np.log10(np.maximum(power, 1e-9)), -90, 0)
    if manifest.kind == "series":
        return Measure("share of values that are missing, padding too", np.isnan(flat).mean(1), 0, 1)
    if manifest.kind == "text":
        return Measure("share of a row that is no padding", (flat != manifest.facts["pad"]).mean(1), 0, 1)
    return Measure("mean brightness of a sample", flat.mean(1) / 255, 0, 1)
