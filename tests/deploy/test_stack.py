"""The parts of the compose stack for real: a pipeline on MLflow with passwords, PostgreSQL and S3, and an outage."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from . import stack
from .tools import ROOT, place

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # MLflow deprecates things of its own

OUTAGE_SECONDS = float(os.environ.get("SELFRAY_OUTAGE_SECONDS", "60"))
PAUSE = 0.1  # seconds added to every step
PASSWORD, KEY, SECRET = "of-the-admin-%-12345", "AKIATESTS", "s3cret-of-tests"


@dataclass
class Services:
    """Where the stack is, and the environment in which clients reach it."""

    mlflow: stack.MLflow
    s3: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    place()
    folder = tmp_path_factory.mktemp("stack")
    with stack.postgres("of the % database") as database, stack.seaweedfs(folder / "s3", KEY, SECRET, "selfray") as s3:
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
        settings = {
            "MLFLOW_BACKEND_STORE_URI": database,
            "MLFLOW_ARTIFACTS_DESTINATION": "s3://selfray/mlflow",
            "MLFLOW_S3_ENDPOINT_URL": s3,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-long-random-text",
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        }
        server = stack.MLflow(folder / "mlflow.log", {**settings, **keys})
        server.start()
        user = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        yield Services(server, s3, {"MLFLOW_TRACKING_URI": server.uri, **user})
        server.stop()


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()


def test_strangers_and_unknown_names_of_the_host_are_refused(services: Services):
    listing = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert services.mlflow.status(listing) == 401
    assert services.mlflow.status(listing, Authorization=basic("wrong")) == 401
    assert services.mlflow.status(listing, Authorization=basic(PASSWORD)) == 200
    assert services.mlflow.status(listing, Authorization=basic(PASSWORD), Host="evil.example") == 403
    assert services.mlflow.status(listing, Authorization=basic(PASSWORD), Host="mlflow:5000") == 200


def test_the_server_runs_no_jobs_for_its_users(services: Services):
    names = [" ".join(process.cmdline()) for process in services.mlflow.processes()]
    assert 1 <= len(names) <= 4, names  # ten with jobs


def test_a_server_that_is_away_in_the_middle_of_a_run_costs_no_number_and_no_model(
    services: Services, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps = round((OUTAGE_SECONDS + 25) / PAUSE)
    pretrain = {
        "objective": {"name": "tests.faults.slow", "pause": PAUSE},
        "encoder": {"name": "conv", "width": 16, "stages": 1},
        "views": {"flip": 0.0, "blur": 0.0},
        **{"batch": 32, "steps": steps, "workers": 0, "threads": 1, "precision": "fp32", "compile": False},
        **{"log_every": 5, "health_every": 1000},
    }
    file = tmp_path / "away.yaml"
    content = {"name": "away", "corpus": {"path": str(digits)}, "pretrain": pretrain}
    content |= {"evaluate": {"probes": {"knn": {}}}, "register": {}}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    out, log = tmp_path / "runs" / "away", tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **services.environment}
    command: list[str | Path] = [sys.executable, "-m", "selfray", "run", file, "--out", out]
    with stack.process(command, log, env=environment, cwd=tmp_path) as running:
        stack.until(lambda: _rows(out) > 10, running, log)
        services.mlflow.stop()
        before = _rows(out)
        time.sleep(OUTAGE_SECONDS)
        assert running.poll() is None, "the run was to be longer than the outage"
        assert _rows(out) > before, "training must not wait for MLflow"
        services.mlflow.start()
        assert running.wait(OUTAGE_SECONDS + 240) == 0, log.read_text(encoding="utf-8")
    assert "warning" not in log.read_text(encoding="utf-8")

    for name, value in services.environment.items():
        monkeypatch.setenv(name, value)
    from mlflow import MlflowClient

    client = MlflowClient(services.mlflow.uri)
    run_id = json.loads((out / "mlflow.json").read_text())["run_id"]
    history = client.get_metric_history(run_id, "train/loss")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [(m.step, m.value) for m in history] == [(row["step"], row["train/loss"]) for row in rows]
    assert [m.step for m in history] == list(range(5, steps + 1, 5))
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["pretrain.batch"] == "32"
    assert "probe/knn/pretrained" in run.data.metrics
    version = client.get_model_version_by_alias("away", "candidate")
    assert version.run_id == run_id
    assert {f.path for f in client.list_artifacts(run_id)} >= {"report.html", "recipe.yaml", "summary.json"}
    assert _objects(services) >= {"report.html", "encoder.safetensors"}
    import selfray

    encoder = selfray.load("models:/away@candidate")
    assert encoder.width == 16
    secrets = subprocess.run(["grep", "-rlF", PASSWORD, out], capture_output=True, text=True, check=False)
    assert secrets.stdout == "", "a password reached the run's folder"


def _rows(out: Path) -> int:
    file = out / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def _objects(services: Services) -> set[str]:
    """The names of all files in the object store, without their folders."""
    from pyarrow import fs

    files = fs.S3FileSystem(
        access_key=KEY, secret_key=SECRET, endpoint_override=services.s3, region="us-east-1", scheme="http"
    )
    return {info.base_name for info in files.get_file_info(fs.FileSelector("selfray/mlflow", recursive=True))}
