"""Small real data: the handwritten digits of scikit-learn as files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from selfray.corpus.ingest import prepare

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """300 digits: uint8 (300 x 8 x 8) and their labels."""
    data = load_digits()
    return (data.images[:300] * 15.9).astype(np.uint8), data.target[:300]


@pytest.fixture(scope="session")
def digits_folder(digits, tmp_path_factory) -> Path:
    """The digits as PNG files, one folder a class."""
    folder = tmp_path_factory.mktemp("digits")
    for number, (image, label) in enumerate(zip(*digits, strict=True)):
        path = folder / NAMES[label] / f"{number:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


@pytest.fixture(scope="session")
def digits_corpus(digits_folder, tmp_path_factory) -> Path:
    """The digits prepared: three shards of small row groups, a fifth held out."""
    folder = tmp_path_factory.mktemp("corpora") / "digits"
    prepare(digits_folder, folder, rows_per_fragment=100, rows_per_group=32, holdout=0.2, ray=False)
    return folder
