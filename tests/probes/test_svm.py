"""The support vector machine and the ridge classifier: cases with a known answer."""

import numpy as np
import pytest

from selfray.probes import find
from selfray.probes.probe import Features


def ring(seed, count=120):
    """Two classes that no plane separates: inside and outside of a circle."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, 2)).astype(np.float32)
    return Features(vectors, (np.linalg.norm(vectors, axis=1) > 1.2).astype(np.int64))


def test_the_machine_separates_a_ring_with_and_without_a_choice_of_penalty():
    assert find("svm")().correct(ring(0), ring(1)).mean() > 0.93
    assert find("svm")().correct(ring(0, 30), ring(1)).mean() > 0.8


def test_ridge_separates_planes_and_no_ring():
    def planes(seed):
        return Features(ring(seed).vectors, (ring(seed).vectors[:, 0] > 0).astype(np.int64))

    assert find("ridge")().correct(planes(0), planes(1)).mean() > 0.95
    assert find("ridge")().correct(ring(0), ring(1)).mean() < 0.75


@pytest.mark.parametrize("name", ["svm", "ridge"])
def test_what_says_nothing_predicts_nothing(name):
    random = np.random.default_rng(0)
    train, test = (
        Features(random.normal(size=(200, 5)).astype(np.float32), random.integers(0, 2, 200)) for _ in range(2)
    )
    assert 0.3 < find(name)().correct(train, test).mean() < 0.7
