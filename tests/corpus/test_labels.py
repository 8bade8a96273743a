"""Samples for evaluation: every class of a corpus that is sorted by class, and few labels of each."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest
from selfray.errors import RecipeError
from selfray.evaluation.features import few, load
from selfray.recipe import parse


@pytest.fixture(scope="module")
def sorted_corpus(tmp_path_factory):
    """1,000 digits sorted by class, in row groups of 16, so that most of them hold one class only; a fifth held out."""
    raw, folder = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("corpora") / "sorted"
    bunch = load_digits()
    for number, (picture, label) in enumerate(zip(bunch.images[:1000], bunch.target[:1000], strict=True)):
        (raw / str(label)).mkdir(exist_ok=True)
        Image.fromarray((picture * 15.9).astype(np.uint8)).save(raw / str(label) / f"{number:04d}.png")
    prepare(raw, folder, holdout=0.2, rows_per_group=16, ray=False)
    return folder


@pytest.mark.parametrize("limit", [10, 37, 200, 500])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_class_of_a_sorted_corpus_is_there(limit, seed, sorted_corpus):
    some = load(sorted_corpus, "train", limit, seed)
    assert len(some.ids) == len(set(some.ids.tolist())) == limit
    assert len(np.unique(some.labels)) == 10
    everything = load(sorted_corpus, "train", 10_000)
    known = dict(zip(everything.ids.tolist(), everything.labels.tolist(), strict=True))
    assert [known[id] for id in some.ids.tolist()] == some.labels.tolist()
    again = load(sorted_corpus, "train", limit, seed)
    assert np.array_equal(again.ids, some.ids)
    assert np.array_equal(again.data, some.data)


def test_a_rare_class_among_large_groups_is_there(tmp_path, digits):
    raw, images = tmp_path / "raw", digits[0]
    for number in range(120):
        folder = raw / ("rare" if number == 77 else "common")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[number]).save(folder / f"{number:03d}.png")
    prepare(raw, tmp_path / "out", rows_per_group=60, ray=False)
    assert sorted(load(tmp_path / "out", "train", 20).labels.tolist()) == [0] * 19 + [1]


@pytest.mark.parametrize(
    ("many", "expected"), [(0.01, [1, 1, 5]), (0.1, [1, 10, 50]), (3, [3, 3, 3]), (30, [4, 30, 30])]
)
def test_few_labels_are_of_every_class(many, expected):
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, -1], [4, 100, 500, 50]))
    chosen = few(labels, many, seed=1)
    assert np.unique(labels[chosen], return_counts=True)[1].tolist() == expected
    assert np.array_equal(chosen, few(labels, many, seed=1))
    assert not np.array_equal(chosen, few(labels, many, seed=2))


def test_more_labels_hold_the_fewer():
    labels = np.random.default_rng(0).integers(0, 5, 500)
    one, ten, share = (set(few(labels, many, 3).tolist()) for many in (1, 10, 0.5))
    assert one < ten < share


def test_probes_on_few_labels_compare_the_same_ones_and_know_less(digits_comparison):
    whole, some, pair = (digits_comparison(labels) for labels in (None, 5, 2))
    assert whole["samples"]["labels"] == whole["samples"]["train"]
    assert (some["samples"]["labels"], pair["samples"]["labels"]) == (50, 20)
    for row, fewer in zip(whole["probes"], some["probes"], strict=True):
        assert fewer["raw"] < row["raw"]
        assert fewer["raw"] > 0.3  # chance is 0.1
        assert fewer["pretrained"] == fewer["untrained"]  # the same encoder, the same labels
    assert some == digits_comparison(5)


@pytest.fixture
def digits_comparison(sorted_corpus, recipe, tmp_path):
    """Compares an encoder with itself on few labels."""
    from selfray.evaluation.compare import compare
    from selfray.train import build

    settings = recipe().pretrain
    encoder = build.objective(settings, Manifest.read(sorted_corpus), 0).encoder

    def run(labels):
        views = build.views(settings)
        found = compare(encoder, encoder, views, sorted_corpus, {"knn": {}, "linear": {}}, tmp_path, labels=labels)
        assert json.loads((tmp_path / "results.json").read_text())["samples"] == found["samples"]
        return found

    return run


@pytest.mark.parametrize(("given", "taken"), [(0.01, 0.01), (10, 10), (1, 1), (None, None)])
def test_a_recipe_says_how_many_labels(given, taken, recipe):
    plain = recipe().plain() | {"evaluate": {"labels": given}}
    assert parse(plain).evaluate.labels == taken


@pytest.mark.parametrize("given", [0, 1.0, 2.5, -3, "all"])
def test_a_number_of_labels_that_is_none_is_refused(given, recipe):
    with pytest.raises(RecipeError, match=r"evaluate\.labels"):
        parse(recipe().plain() | {"evaluate": {"labels": given}})
