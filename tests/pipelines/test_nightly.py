"""The nightly scenario: train and promote, go on with new files after a crash, refuse corrupted ones."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from selfray import run
from selfray.errors import Refused
from selfray.registry import Registry
from selfray.tracking import store

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and what it imports deprecate things of their own

PIPELINE = """
name: nightly
corpus: {{source: {source}, holdout: 0.2, prepare: {{size: 16}}}}
pretrain:
  objective: {{name: simclr, temperature: 0.2, width: 16}}
  encoder: {{name: conv, width: 16, stages: 1}}
  views: {{flip: 0.0, blur: 0.0, scale: [0.5, 1.0]}}
  start_from: champion
  batch: 32
  steps: 60
  workers: 0
  threads: 1
  precision: fp32
  compile: false
  log_every: 5
  health_every: 30
  checkpoint: {{every_steps: 10}}
evaluate: {{probes: {{knn: {{}}}}}}
gate: {{require: ["knn > untrained - 0.2", "knn >= champion - 0.15", "score/rankme > 1"]}}
register: {{}}
"""


def bring(source, first, last):
    """Put real digits at the source, a folder a class."""
    bunch = load_digits()
    for i in range(first, last):
        folder = source / str(bunch.target[i])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((bunch.images[i] * 15.9).astype(np.uint8)).save(folder / f"{i:04d}.png")


def died_in_training(pipeline, date, run):
    """Start a run as a program and kill it as soon as a checkpoint is there; returns the checkpoint's step."""
    command = [sys.executable, "-m", "selfray", "run", str(pipeline), "--date", date, "steps=600", "--quiet"]
    process = subprocess.Popen(command, env=os.environ)
    deadline = time.monotonic() + 60
    while not (found := sorted((run / "checkpoints").glob("step_*"))):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return int(found[-1].name.removeprefix("step_"))


def note(run, stage):
    return json.loads((run / "stages" / f"{stage}.json").read_text())


def test_a_week_of_nights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("selfray.tracking.FLUSH_SECONDS", 0.05)
    source, pipeline, runs = tmp_path / "incoming", tmp_path / "nightly.yaml", tmp_path / "runs"
    pipeline.write_text(PIPELINE.format(source=source))
    registry = Registry(store(runs))

    # Day 1: no champion yet, so training begins with random weights; the gate lets pass and the version is promoted
    bring(source, 0, 300)
    first = run(pipeline, date="2026-01-01", quiet=True)
    assert first["run"] == str(runs / "nightly-2026-01-01")
    assert first["model"] == "models:/nightly/1"
    assert note(runs / "nightly-2026-01-01", "pretrain")["start"]["uri"] == ""
    assert registry.version("nightly", "champion").version == "1"

    # Day 2: new files make a new version of the corpus; training is killed in the middle, and the same command goes on
    bring(source, 300, 450)
    day = runs / "nightly-2026-01-02"
    killed_at = died_in_training(pipeline, "2026-01-02", day)
    assert note(day, "pretrain")["state"] == "running"
    assert json.loads((day / "status.json").read_text())["status"] == "running"
    bring(source, 450, 460)  # what arrives meanwhile waits for the next night
    second = run(pipeline, "steps=600", date="2026-01-02", quiet=False)
    said = capsys.readouterr().err
    assert "corpus     unchanged" in said
    assert int(said.split("continuing from step ")[1].split()[0]) >= killed_at
    assert second["model"] == "models:/nightly/2"
    assert second["corpus"] != first["corpus"]
    champion = registry.version("nightly", "champion")
    assert champion.version == "2"
    assert champion.tags["selfray.parent"] == "models:/nightly/1"
    assert champion.tags["selfray.former"] == "1"
    assert champion.tags["selfray.date"] == "2026-01-02"
    judged = json.loads((day / "gate.json").read_text())
    assert judged["passed"]
    assert judged["champion"] == "models:/nightly/1"
    assert (day / "champion" / "results.json").is_file()  # the corpus had grown, so the champion was evaluated again
    steps = [json.loads(line)["step"] for line in (day / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 600

    # Day 3: a transfer broke off and left halves of files; the data are refused and nothing else is touched
    for file in sorted(source.glob("*/*.png"))[:40]:
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(Refused, match=r"the corpus is refused: .* samples are bad"):
        run(pipeline, date="2026-01-03", quiet=True)
    day = runs / "nightly-2026-01-03"
    status = json.loads((day / "status.json").read_text())
    assert (status["status"], status["exit"]) == ("refused", 3)
    assert status["stages"]["pretrain"] == {"state": "waiting"}
    assert not (day / "encoder").exists()
    assert registry.version("nightly", "champion").version == "2"

    # Day 4: the files are whole again, but nothing that is learned in two steps passes a gate that asks for much
    bring(source, 0, 460)
    with pytest.raises(Refused, match=r"knn is 0\.\d+, asked was > 0\.99"):
        run(pipeline, "steps=2", "gate.require=[knn > 0.99]", date="2026-01-04", quiet=True)
    day = runs / "nightly-2026-01-04"
    (condition,) = json.loads((day / "gate.json").read_text())["conditions"]
    assert not condition["met"]
    assert (day / "encoder" / "encoder.safetensors").is_file()  # kept, to find out why
    assert registry.version("nightly", "champion").version == "2"
    run_id = json.loads((day / "mlflow.json").read_text())["run_id"]
    tags = registry.client.get_run(run_id).data.tags
    assert tags["selfray.gate"] == "refused"
    assert "asked was > 0.99" in tags["selfray.gate.reasons"]
    assert len(registry.versions("nightly")) == 2

    # And back: one call, which knows who was champion before
    back, lost = registry.rollback("nightly")
    assert (back.version, lost.version) == ("1", "2")
    assert registry.version("nightly", "champion").version == "1"
