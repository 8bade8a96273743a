"""Samples as vectors without any network: what a probe can do before anything was learned. One function a data type."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

PIXELS = 32  # a side: images are compared at this size at most
TOPICS = 256
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


def text(train: NDArray[Any], test: NDArray[Any], facts: Mapping[str, Any]) -> tuple[Vectors, Vectors]:
    """TF-IDF of the tokens in 256 dimensions (latent semantic analysis); both steps are fitted on the train split."""
    from sklearn.decomposition import TruncatedSVD

    weighted = weights(train, test, facts)
    size = min(TOPICS, len(train) - 1, weighted[0].shape[1] - 1)
    shrink = TruncatedSVD(size, n_iter=3, random_state=0).fit(weighted[0])
    found = [shrink.transform(part).astype(np.float32) for part in weighted]
    return found[0], found[1]


def weights(train: NDArray[Any], test: NDArray[Any], facts: Mapping[str, Any]) -> tuple[Any, Any]:
    """TF-IDF of all tokens, fitted on the train split: two sparse matrices of rows x vocabulary."""
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = [_counts(samples, facts) for samples in (train, test)]
    weigh = TfidfTransformer(sublinear_tf=True).fit(counts[0])
    return weigh.transform(counts[0]), weigh.transform(counts[1])


def _counts(samples: NDArray[Any], facts: Mapping[str, Any]) -> Any:
    """How often each row has each token: a sparse matrix of rows x vocabulary, without the special tokens."""
    from scipy.sparse import csr_matrix

    special = [facts[name] for name in ("pad", "cls", "sep", "mask") if name in facts]
    rows = np.repeat(np.arange(len(samples)), samples.shape[1])
    tokens = samples.reshape(-1).astype(np.int64)
    kept = ~np.isin(tokens, special)
    ones = np.ones(int(kept.sum()), np.float32)
    counts = csr_matrix((ones, (rows[kept], tokens[kept])), (len(samples), facts["vocabulary"]))
    counts.sum_duplicates()
    return counts


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
    "audio": audio,
}
NAMES = {"image": "raw pixels", "series": "raw values", "text": "TF-IDF", "audio": "spectrum statistics"}


def vectors(kind: str, train: NDArray[Any], test: NDArray[Any], facts: Mapping[str, Any]) -> tuple[Vectors, Vectors]:
    """Both splits of a data type as vectors, (samples, features) each."""
    if kind == "text":
        return text(train, test, facts)
    return FUNCTIONS[kind](train, facts), FUNCTIONS[kind](test, facts)
