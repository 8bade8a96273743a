"""Clustering and retrieval: formulas against scikit-learn and written-out loops, and what they say of real digits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from selfray.errors import UserError
from selfray.evaluation import intervals
from selfray.evaluation.agreement import cells, mutual_information, rand_index
from selfray.probes.clustering import Clustering
from selfray.probes.probe import Features
from selfray.probes.retrieval import Retrieval


@pytest.fixture(scope="module")
def digits():
    """Handwritten digits as pixels: 800 to fit on, 400 to be asked about."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.astype(np.float32)
    return Features(pixels[:800], labels[:800]), Features(pixels[800:1200], labels[800:1200])


def nothing(labels, seed=0):
    """Features that say nothing of labels."""
    return Features(np.random.default_rng(seed).normal(size=(len(labels), 16)).astype(np.float32), labels)


@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("agreeing", [0.0, 0.5, 1.0])
def test_agreement_is_that_of_scikit_learn(classes, agreeing):
    random = np.random.default_rng(classes)
    labels = random.integers(classes, size=300)
    clusters = np.where(random.random(300) < agreeing, (labels + 3) % classes, random.integers(classes + 2, size=300))
    table = cells(labels, clusters)
    assert mutual_information(table, table.counts) == pytest.approx(normalized_mutual_info_score(labels, clusters))
    assert rand_index(table, table.counts) == pytest.approx(adjusted_rand_score(labels, clusters))


def test_one_cluster_for_everything_agrees_with_nothing():
    labels = np.arange(60) % 3
    table = cells(labels, np.zeros(60, np.int64))
    assert mutual_information(table, table.counts) == pytest.approx(0)
    assert rand_index(table, table.counts) == pytest.approx(0)


def test_clusters_of_digits_are_digits_and_those_of_noise_are_nothing(digits):
    information, index = Clustering().scores(*digits)
    assert (information.metric, information.part) == ("NMI", "")
    assert (index.metric, index.part) == ("ARI", "ari")
    assert information.interval[0] <= information.value <= information.interval[1]
    assert information.value > 0.65
    assert index.value > 0.5
    train, test = digits
    information, index = Clustering().scores(nothing(train.labels), nothing(test.labels, 1))
    assert information.value < 0.12
    assert index.value < 0.05
    assert index.interval[0] < 0.02


def test_clustering_never_reads_training_labels_when_it_knows_how_many_clusters(digits):
    train, test = digits
    other = Features(train.vectors, np.zeros_like(train.labels))
    one, two = (Clustering(clusters=10).assigned(known, test) for known in (train, other))
    assert np.array_equal(one, two)


def test_more_clusters_than_samples_are_refused(digits):
    train, test = digits
    few = Features(train.vectors[:5], train.labels[:5])
    with pytest.raises(UserError, match=r"clustering\.clusters is 10, but there are 5 training samples; lower it"):
        Clustering(clusters=10).scores(few, test)


def test_ranks_are_those_of_a_sorted_list(digits):
    test = Features(digits[1].vectors[:80], digits[1].labels[:80])
    found = Retrieval().ranks(test)
    unit = test.vectors / np.linalg.norm(test.vectors, axis=1, keepdims=True)
    for query, rank in enumerate(found):
        others = [i for i in range(80) if i != query]
        nearest = sorted(others, key=lambda i: -float(unit[query] @ unit[i]))
        assert next(place for place, i in enumerate(nearest, 1) if test.labels[i] == test.labels[query]) == rank


def test_retrieval_finds_digits_and_recall_grows_with_what_is_looked_at(digits):
    found = Retrieval(within=(1, 3, 400)).scores(*digits)
    reciprocal, *recalls = found
    assert [score.metric for score in found] == ["MRR", "recall@1", "recall@3", "recall@400"]
    assert recalls[0].value < reciprocal.value < recalls[1].value
    assert recalls[0].value > 0.9
    assert recalls[2].value == 1
    assert all(score.interval[0] <= score.value <= score.interval[1] for score in found)


def test_features_that_are_all_alike_find_nothing(digits):
    same = Features(np.ones((400, 4), np.float32), digits[1].labels)
    assert Retrieval().scores(same, same)[0].value < 0.01


def test_a_sample_without_a_like_is_no_query_and_only_such_ones_are_refused():
    vectors = np.eye(5, dtype=np.float32)
    assert len(Retrieval().ranks(Features(vectors, np.array([0, 0, 1, 2, 3])))) == 2
    with pytest.raises(UserError, match="retrieval needs a class with two test samples"):
        Retrieval().ranks(Features(vectors, np.arange(5)))


def test_intervals_of_sums_are_those_of_resampled_rows():
    random = np.random.default_rng(3)
    parts = np.stack([random.exponential(size=200), random.integers(1, 4, size=200)], axis=1)
    low, high = intervals.of_sums(parts, intervals.mean)
    drawn = []
    for _ in range(2000):
        some = parts[random.integers(200, size=200)]
        drawn.append(some[:, 0].sum() / some[:, 1].sum())
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), rel=0.03)


def test_an_interval_of_agreement_holds_its_value_where_chance_lifts_every_draw():
    random = np.random.default_rng(0)
    table = cells(random.integers(10, size=60), random.integers(10, size=60))
    value = mutual_information(table, table.counts)
    drawn = [mutual_information(table, random.multinomial(60, table.counts / 60)) for _ in range(200)]
    assert np.quantile(drawn, 0.025) > value
    low, high = intervals.of_cells(table.counts, lambda counts: mutual_information(table, counts), (0, 1))
    assert low < value < high


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    truth, held = 0.3, 0
    for seed in range(200):
        values = np.random.default_rng(seed).random(60) < truth
        low, high = intervals.of_sums(np.stack([values, np.ones(60)], axis=1), intervals.mean, draws=300)
        held += low <= truth <= high
    assert 0.88 < held / 200 < 0.99
