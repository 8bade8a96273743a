"""MLflow, with a real sqlite store."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from selfray.corpus.manifest import Manifest
from selfray.tracking import Tracker, pointed_at

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and what it imports deprecate things of their own


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("selfray.tracking.FLUSH_SECONDS", 0.05)
    monkeypatch.setattr("selfray.tracking.RETRY_SECONDS", 0.2)


def rows(first, last):
    return [{"step": s, "train/loss": 10.0 / s, "seconds": 1.0, "train/odd": float("nan")} for s in range(first, last)]


def tracked(run, digits, items, status="FINISHED", results=None):
    run.mkdir(parents=True, exist_ok=True)
    tracker = Tracker(run, "experiment", {"pretrain.batch": 32, "seed": 0}, Manifest.read(digits), str(digits))
    for row in items:
        tracker(row)
    report = run / "report.html"
    report.write_text("<p>hello</p>")
    tracker.finish(status, results or {}, [report])
    return tracker


def test_a_run_is_logged_with_parameters_metrics_corpus_and_files(tmp_path, digits):
    tracker = tracked(tmp_path / "run", digits, rows(1, 6), results={"probe/knn/pretrained": 0.9})
    client = MlflowClient(tracker.uri)
    run = client.get_run(tracker.run_id)
    assert tracker.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"pretrain.batch": "32", "seed": "0"}
    history = client.get_metric_history(tracker.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(s, 10.0 / s) for s in range(1, 6)]
    assert run.data.metrics["probe/knn/pretrained"] == 0.9
    assert "train/odd" not in run.data.metrics
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == Manifest.read(digits).fingerprint
    assert [f.path for f in client.list_artifacts(tracker.run_id)] == ["report.html"]


def test_a_continued_run_goes_on_in_the_same_mlflow_run_without_repeating_points(tmp_path, digits):
    first = tracked(tmp_path / "run", digits, rows(1, 6), status="KILLED")
    second = tracked(tmp_path / "run", digits, rows(4, 9))
    assert second.run_id == first.run_id
    history = MlflowClient(first.uri).get_metric_history(first.run_id, "train/loss")
    assert [m.step for m in history] == list(range(1, 9))
    assert len(MlflowClient(first.uri).search_runs(["1"])) == 1


def test_whoever_reads_the_note_of_the_mlflow_run_sees_all_of_it_or_none(tmp_path, digits, monkeypatch):
    found, replace = [], os.replace

    def watched(source, target):
        if str(target).endswith("mlflow.json"):
            found.append((Path(target).exists(), json.loads(Path(source).read_text())["run_id"]))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    tracker = tracked(tmp_path / "run", digits, rows(1, 3))
    assert found == [(False, tracker.run_id)]


def test_a_store_that_is_away_delays_logging_and_stops_nothing(tmp_path, digits, monkeypatch):
    monkeypatch.setattr("selfray.tracking.CLOSE_SECONDS", 1.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/no/such/place.db")
    tracker = tracked(tmp_path / "run", digits, rows(1, 3))
    assert "cannot be reached" in tracker.problem or "did not answer" in tracker.problem  # on a busy machine
    assert not (tmp_path / "run" / "mlflow.json").exists()


def test_what_a_failed_request_held_is_sent_again_and_stored_once(tmp_path, digits, monkeypatch):
    asked, answered = [], MlflowClient.log_batch

    def uncertain(client, run_id, metrics=(), **rest):
        """The first request with numbers does nothing, and the second one fails after it was carried out."""
        asked.append(len(metrics))
        if metrics and len([count for count in asked if count]) == 1:
            raise ConnectionError("the server is away")
        answered(client, run_id, metrics=metrics, **rest)
        if metrics and len([count for count in asked if count]) == 2:
            raise ConnectionError("the answer was lost")

    monkeypatch.setattr(MlflowClient, "log_batch", uncertain)
    tracker = tracked(tmp_path / "run", digits, rows(1, 6), results={"probe/knn/pretrained": 0.9})
    assert not tracker.problem
    history = MlflowClient(tracker.uri).get_metric_history(tracker.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(s, 10.0 / s) for s in range(1, 6)]


def test_a_registered_encoder_has_an_alias_a_card_and_no_pickle(tmp_path, digits, recipe, monkeypatch):
    import torch

    from selfray import load
    from selfray.registry import register
    from selfray.summary import export_encoder
    from selfray.train.loop import Job, train

    run = tmp_path / "run"
    settings = recipe(steps=2)
    train(Job(settings, str(digits), str(run)), lambda row: None)
    export_encoder(run, settings, Manifest.read(digits), 2, None)
    tracker = tracked(run, digits, rows(1, 2))
    uri = register(run, run / "encoder", "digits", "candidate", {"probes": [{"probe": "knn", "pretrained": 0.5}]})
    assert uri == "models:/digits/1"
    assert "MLFLOW_TRACKING_URI" not in os.environ, "the next run of this process would go to this one's store"
    client = MlflowClient(tracker.uri)
    version = client.get_model_version_by_alias("digits", "candidate")
    assert version.run_id == tracker.run_id
    assert version.tags["selfray.knn"] == "0.5000"
    assert "selfray.load" in version.description
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    loaded, exported = load("models:/digits@candidate"), load(run / "encoder")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), exported.parameters(), strict=True))
    import mlflow

    with pointed_at(tracker.uri):
        served = mlflow.pyfunc.load_model("models:/digits@candidate")
    pictures = np.random.default_rng(0).random((4, 1, 16, 16), dtype=np.float32)
    with torch.inference_mode():
        expected = exported.embed(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(served.predict(pictures), expected, rtol=1e-4, atol=1e-5)
    stored = [f for f in tmp_path.rglob("*") if f.suffix in (".pkl", ".pickle", ".pth")]
    assert not stored
    assert json.loads((run / "mlflow.json").read_text())["run_id"] == tracker.run_id
