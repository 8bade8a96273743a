"""The map and the neighbours against definitions."""

import numpy as np
import pytest

from selfray.report.space import agreement, layout, neighbours


def test_neighbours_are_the_most_similar_others() -> None:
    embedding = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    order, similarity = neighbours(embedding, 3)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    for query in range(40):
        cosines = {other: float(unit[query] @ unit[other]) for other in range(40) if other != query}
        expected = sorted(cosines, key=lambda other: -cosines[other])[:3]
        assert order[query].tolist() == expected
        assert similarity[query] == pytest.approx([cosines[other] for other in expected], abs=1e-5)


def test_agreement_is_the_share_of_equal_labels() -> None:
    order = np.array([[1, 2], [0, 2], [0, 1]])
    assert agreement(order, np.array([0, 0, 1])) == pytest.approx(2 / 6)
    assert agreement(order, np.array([-1, -1, -1])) is None


def test_the_map_keeps_groups_apart() -> None:
    groups = np.repeat(np.arange(3), 30)
    embedding = np.eye(3, 8, dtype=np.float32)[groups] * 10 + np.random.default_rng(0).normal(0, 0.1, (90, 8))
    place, method = layout(embedding.astype(np.float32))
    assert method == "t-SNE"
    order, _ = neighbours((place - place.mean(axis=0)).astype(np.float32), 5)
    assert agreement(order, groups) == pytest.approx(1.0, abs=0.05)
