"""Probes against definitions written out, and the comparison around them."""

import json
import math

import numpy as np
import pytest
import torch

from selfray import probes, verbs
from selfray.evaluation.intervals import of_share
from selfray.probes.knn import KNN
from selfray.probes.probe import Features, Probe


def blobs(count, seed=0, classes=3):
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    centres = np.eye(8)[:classes] * 3
    return Features((centres[labels] + random.normal(size=(count, 8))).astype(np.float32), labels.astype(np.int64))


@pytest.mark.parametrize("name", probes.names())
def test_every_probe_names_its_protocol_with_its_source(name):
    assert "arXiv" in probes.find(name).protocol


@pytest.mark.parametrize("name", probes.names("labels"))
def test_every_probe_of_labels_reads_what_is_there_and_nothing_from_noise(name):
    probe = probes.find(name)()
    first, *others = probe.scores(blobs(300), blobs(200, 1))
    assert first.value > (0.9 if first.metric == "accuracy" else 0.7)
    assert first.interval[0] <= first.value <= first.interval[1]
    assert first.part == ""
    assert len({score.part for score in others} - {""}) == len(others)
    noise, unseen = (
        Features(np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32), blobs(count, seed).labels)
        for seed, count in ((2, 300), (3, 200))
    )
    assert probe.scores(noise, unseen)[0].value < 0.6


def test_a_probe_that_says_right_or_wrong_is_scored_by_its_accuracy():
    class Told(Probe):
        def correct(self, train, test):
            return test.labels == 0

    (score,) = Told().scores(blobs(30), blobs(90, 1))
    assert (score.metric, score.value) == ("accuracy", (blobs(90, 1).labels == 0).mean())


def test_knn_is_the_weighted_vote_of_the_papers():
    train, test = blobs(60), blobs(40, 1)
    correct = KNN(neighbours=7, temperature=0.1).correct(train, test)
    for query, label, found in zip(test.vectors, test.labels, correct, strict=True):
        similarity = train.vectors @ query / np.linalg.norm(train.vectors, axis=1) / np.linalg.norm(query)
        votes = [0.0] * 3
        for i in np.argsort(-similarity)[:7]:
            votes[train.labels[i]] += math.exp(similarity[i] / 0.1)
        assert (int(np.argmax(votes)) == label) == found


def test_the_order_of_training_samples_does_not_matter():
    train, test = blobs(80), blobs(50, 1)
    mixed = np.random.default_rng(0).permutation(80)
    other = Features(train.vectors[mixed], train.labels[mixed])
    assert np.array_equal(KNN().correct(train, test), KNN().correct(other, test))


def test_intervals_narrow_with_samples():
    few, many = of_share(np.arange(100) % 5 > 0), of_share(np.arange(10_000) % 5 > 0)
    assert few[0] < 0.8 < few[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 5


def test_a_comparison_stands_beside_untrained_and_raw_and_leaves_files(digits, recipe, tmp_path):
    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.compare import compare
    from selfray.train import build

    settings, manifest = recipe().pretrain, Manifest.read(digits)
    encoder = build.objective(settings, manifest, 0).encoder
    results = compare(encoder, encoder, build.views(settings), digits, {"knn": {}, "linear": {}}, tmp_path)
    assert [row["probe"] for row in results["probes"]] == ["knn", "linear"]
    for row in results["probes"]:
        assert row["pretrained"] == row["untrained"]
        assert row["interval"][0] <= row["pretrained"] <= row["interval"][1]
        assert row["raw"] > 0.8
    assert "No probe shows a gain" in results["verdict"]
    assert {r["score"] for r in results["scores"]} == {"feature_std", "rankme", "uniformity", "alignment"}
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    with np.load(tmp_path / "samples.npz") as samples:
        assert len(samples["embedding"]) == len(samples["image"]) == manifest.rows("test")
        assert samples["classes"].tolist() == list(manifest.classes)


def test_features_do_not_depend_on_the_batch(digits, recipe):
    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.features import embed, load
    from selfray.train import build

    encoder = build.objective(recipe().pretrain, Manifest.read(digits), 0).encoder
    images = load(digits, "test", 1000).data

    def prepare(samples):
        return samples.permute(0, 3, 1, 2) / 255

    torch.testing.assert_close(embed(encoder, images, prepare, 7), embed(encoder, images, prepare, 512))


def test_a_limit_takes_whole_samples_with_their_labels(digits):
    from selfray.evaluation.features import load

    everything, some = load(digits, "train", 10_000), load(digits, "train", 100)
    assert len(some.ids) == 100
    known = dict(zip(everything.ids.tolist(), everything.labels.tolist(), strict=True))
    assert [known[i] for i in some.ids.tolist()] == some.labels.tolist()


def test_few_labels_limit_what_is_fitted_on_labels_and_nothing_else(digits, recipe, tmp_path):
    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.compare import compare
    from selfray.train import build

    settings = recipe().pretrain
    encoder = build.objective(settings, Manifest.read(digits), 0).encoder
    views, asked = build.views(settings), {"knn": {}, "clustering": {}, "retrieval": {}}
    every, one = (
        {
            row["probe"]: row["raw"]
            for row in compare(encoder, encoder, views, digits, asked, tmp_path, labels=n)["probes"]
        }
        for n in (None, 1)
    )
    assert one.pop("knn") < every.pop("knn") - 0.1
    assert one == every


def test_an_evaluation_that_names_no_probes_leaves_out_what_takes_hours_on_large_corpora(tmp_path):
    for kind in ("image", "text", "audio"):
        assert not {"svm", "ridge"} & set(verbs._fitting(kind, tmp_path))
    assert {"svm", "ridge", "knn", "linear"} <= set(verbs._fitting("series", tmp_path))
