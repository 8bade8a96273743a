"""Pictures that an objective makes end up beside the views, made with the trained weights."""

import numpy as np
import pytest
import torch

from selfray import objectives
from selfray.corpus.manifest import Manifest
from selfray.evaluation.clusters import gallery
from selfray.objectives.objective import Objective
from selfray.summary import write_views


def test_pictures_are_stored_beside_the_views_with_the_trained_weights(recipe, fit, digits, tmp_path):
    from selfray.train import build

    settings = recipe(objective={"name": "autoencoder", "noise": 0.2}, steps=6)
    (tmp_path / "run").mkdir()
    fit(settings)
    write_views(tmp_path / "run" / "views.npz", settings, digits)
    with np.load(tmp_path / "run" / "views.npz") as stored:
        assert sorted(stored.files) == ["damaged", "images", "reconstructed", "sample"]
        assert all(stored[name].dtype == np.uint8 and stored[name].shape[0] == 8 for name in stored.files)
        views = {"images": torch.tensor(stored["images"]).permute(0, 3, 1, 2) / 255}
        trained = stored["reconstructed"]
    fresh = build.objective(settings.pretrain, Manifest.read(digits), settings.seed).eval()
    with torch.inference_mode():
        untrained = fresh.pictures(views | {"keys": torch.arange(8)})["reconstructed"]
    assert np.abs(trained / 255 - untrained.permute(0, 2, 3, 1).numpy()).mean() > 0.01


def test_objectives_without_pictures_store_their_views_only(recipe, fit, digits, tmp_path):
    assert objectives.find("simclr").pictures is Objective.pictures
    (tmp_path / "run").mkdir()
    settings = recipe(steps=2)
    fit(settings)
    write_views(tmp_path / "run" / "views.npz", settings, digits)
    with np.load(tmp_path / "run" / "views.npz") as stored:
        assert sorted(stored.files) == ["first", "sample", "second"]


@pytest.mark.parametrize("name", ["swav", "dino", "deepcluster"])
def test_objectives_that_cluster_store_a_gallery_of_their_largest_clusters(name, recipe, fit, digits, tmp_path):
    few = {"clusters": 20, "components": 8} if name == "deepcluster" else {"prototypes": 20}
    (tmp_path / "run").mkdir()
    settings = recipe(objective={"name": name, **few}, steps=2)
    fit(settings)
    write_views(tmp_path / "run" / "views.npz", settings, digits)
    with np.load(tmp_path / "run" / "clusters.npz") as stored:
        assert set(stored["cluster"]) == set(stored["number"])
        assert len(stored["image"]) == len(stored["cluster"]) <= 12 * 10
        assert (np.diff(stored["share"]) <= 0).all()
        assert stored["share"].sum() <= 1 + 1e-9
        assert len(stored["number"]) <= stored["used"] <= 20


def test_a_gallery_shows_the_first_samples_of_the_largest_clusters():
    cluster = np.array([7, 3, 7, 7, 5, 3])
    found = gallery(cluster, np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1))
    assert found["number"].tolist() == [7, 3, 5]
    assert found["share"].tolist() == [3 / 6, 2 / 6, 1 / 6]
    assert found["image"].ravel().tolist() == [0, 2, 3, 1, 5, 4]


def test_objectives_without_clusters_store_no_gallery(recipe, fit, digits, tmp_path):
    (tmp_path / "run").mkdir()
    settings = recipe(steps=2)
    fit(settings)
    write_views(tmp_path / "run" / "views.npz", settings, digits)
    assert not (tmp_path / "run" / "clusters.npz").exists()
