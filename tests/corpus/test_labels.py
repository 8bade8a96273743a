"""Samples for evaluation: every class of a corpus that is sorted by class, and few labels of each."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest
from selfray.errors import RecipeError
from selfray.evaluation.features import Samples, few, load
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


def labelled(labels, ids=None):
    return Samples(np.arange(len(labels)) if ids is None else ids, np.zeros((len(labels), 1)), labels)


@pytest.mark.parametrize(
    ("many", "expected"), [(0.01, [1, 1, 5]), (0.1, [1, 10, 50]), (3, [3, 3, 3]), (30, [4, 30, 30])]
)
def test_few_labels_are_of_every_class(many, expected):
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, -1], [4, 100, 500, 50]))
    chosen = few(labelled(labels), many, seed=1)
    assert np.unique(labels[chosen], return_counts=True)[1].tolist() == expected
    assert np.array_equal(chosen, few(labelled(labels), many, seed=1))
    assert not np.array_equal(chosen, few(labelled(labels), many, seed=2))


def test_more_labels_hold_the_fewer():
    samples = labelled(np.random.default_rng(0).integers(0, 5, 500))
    one, ten, share, more = (set(few(samples, many, 3).tolist()) for many in (1, 10, 0.5, 0.9))
    assert one < ten < share < more


def test_the_numbers_of_samples_decide_whose_labels_are_known_and_not_their_order():
    labels = np.random.default_rng(0).integers(0, 5, 500)
    mixed = np.random.default_rng(1).permutation(500)
    ids = few(labelled(labels), 0.1, 3)
    again = labelled(labels[mixed], mixed)
    assert sorted(again.ids[few(again, 0.1, 3)].tolist()) == ids.tolist()


def test_probes_on_few_labels_compare_the_same_ones_and_know_less(digits_comparison):
    whole, some, pair = (digits_comparison(labels) for labels in (None, 5, 2))
    assert whole["samples"]["labels"] == whole["samples"]["train"]
    assert (some["samples"]["labels"], pair["samples"]["labels"]) == (50, 20)
    for row, fewer in zip(whole["probes"][:2], some["probes"][:2], strict=True):
        assert fewer["raw"] < row["raw"]
        assert fewer["raw"] > 0.3  # chance is 0.1
        assert fewer["pretrained"] == fewer["untrained"]  # the same encoder, the same labels
    assert some == digits_comparison(5)


def test_a_curve_has_every_share_for_probes_of_labels_and_the_report_shows_it(digits_comparison, tmp_path):
    from selfray.report.build import build

    found = digits_comparison(shares=(1, 0.05, 0.2))
    curve = found["label_shares"]
    assert [(row["probe"], row["share"]) for row in curve] == [
        *(("knn", share) for share in (0.05, 0.2, 1)),
        *(("linear", share) for share in (0.05, 0.2, 1)),
    ]  # clusters are found without labels
    whole = {row["probe"]: row for row in found["probes"]}
    for fewest, some, every in (curve[:3], curve[3:]):
        assert 10 < fewest["labels"] < some["labels"] < every["labels"] == found["samples"]["train"]
        assert fewest["raw"] < some["raw"] < every["raw"]
        assert every["raw"] == whole[every["probe"]]["raw"]
    page = build(tmp_path).read_text(encoding="utf-8")
    assert page.count("share-line of-pretrained") == 2
    assert "linear, accuracy by share of the labels" in page
    assert f"{100 * curve[3]['raw']:.1f}\N{NO-BREAK SPACE}%" in page
    assert digits_comparison()["label_shares"] == []
    assert "share-line" not in build(tmp_path).read_text(encoding="utf-8").partition("<body")[2]


@pytest.mark.parametrize("given", [[0], [1.5], [-0.1], ["all"], 0.1])
def test_shares_that_are_none_are_refused(given, recipe):
    with pytest.raises(RecipeError, match=r"evaluate\.label_shares"):
        parse(recipe().plain() | {"evaluate": {"label_shares": given}})


def test_classes_with_one_label_do_not_keep_a_linear_probe_from_choosing_its_strength():
    from selfray.probes.linear import Linear
    from selfray.probes.probe import Features

    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [30, 20, 20, 1])
    vectors = (3 * np.eye(8)[labels] + random.normal(size=(71, 8))).astype(np.float32)
    known, unseen = Features(vectors, labels), Features(vectors[:70], labels[:70])
    assert Linear().correct(known, unseen).mean() > 0.9
    assert Linear(strengths=(0.001,)).correct(known, unseen).mean() < 0.8  # the largest class takes the others


@pytest.fixture
def digits_comparison(sorted_corpus, recipe, tmp_path):
    """Compares an encoder with itself on few labels."""
    from selfray.evaluation.compare import compare
    from selfray.train import build

    settings = recipe().pretrain
    encoder = build.objective(settings, Manifest.read(sorted_corpus), 0).encoder

    def run(labels=None, shares=()):
        views, probes = build.views(settings), {"knn": {}, "linear": {}, "clustering": {}}
        out = tmp_path / "evaluation"
        found = compare(encoder, encoder, views, sorted_corpus, probes, out, labels=labels, label_shares=shares)
        assert json.loads((out / "results.json").read_text())["samples"] == found["samples"]
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
