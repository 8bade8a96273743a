"""Sweeps on real Ray Tune, small ones."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfray import recipe as recipes
from selfray.errors import UserError
from selfray.search.space import Space
from selfray.search.sweep import Sweep

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]


def of(knobs, **settings) -> Space:
    return Space.model_validate({"knobs": knobs, "samples": 300, "reports": 2, **settings})


@pytest.fixture
def sweep(recipe, tmp_path, ray_cluster):
    def make(space: Space, changes=None, out="sweep", **options) -> Sweep:
        options = {"quiet": True, "max_concurrent": 2, **options}
        return Sweep(recipe(**(changes or {})), space, "test", tmp_path / out, **options)

    return make


def curves(out: Path) -> dict[str, list[str]]:
    return {file.parent.name: file.read_text().splitlines() for file in sorted(out.glob("trials/*/curve.jsonl"))}


def test_four_trials_are_searched_told_and_never_done_again(sweep, tmp_path):
    knobs = {"objective.temperature": {"choice": [0.1, 0.5]}, "optimizer.lr": {"choice": [1e-3, 1e30]}}
    asked = of(knobs, search="grid", scheduler="none")
    before = signal.getsignal(signal.SIGINT)
    made = sweep(asked, {"log_every": 1, "clip": None}).run()
    assert made["counts"] == {"finished": 2, "stopped": 0, "failed": 2, "running": 0}
    assert signal.getsignal(signal.SIGINT) is before, "Ctrl-C would be swallowed after a sweep"
    assert made["settings"]["optimizer.lr"] == 1e-3
    found = json.loads((tmp_path / "sweep/trials.json").read_text())
    assert all("infinite or not a number" in t["reason"] for t in found["trials"] if t["status"] == "failed")
    for name in ("best.yaml", "sweep.html", "trials.parquet", "encoder/encoder.safetensors"):
        assert (tmp_path / "sweep" / name).is_file(), name

    from mlflow import MlflowClient

    client = MlflowClient(made["tracking_uri"])
    parent = json.loads((tmp_path / "sweep/mlflow.json").read_text())["run_id"]
    runs = client.search_runs([client.get_run(parent).info.experiment_id])
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent]
    assert sorted(r.info.status for r in children) == ["FAILED", "FAILED", "FINISHED", "FINISHED"]
    assert all("train/loss" in r.data.metrics for r in children if r.info.status == "FINISHED")

    before, begun = curves(tmp_path / "sweep"), time.monotonic()
    again = sweep(asked, {"log_every": 1, "clip": None}).run()
    assert curves(tmp_path / "sweep") == before
    assert again["score"] == made["score"]
    assert time.monotonic() - begun < 20
    with pytest.raises(UserError, match="holds a sweep with other settings"):
        sweep(of(knobs, search="grid", scheduler="none", seed=1), {"log_every": 1, "clip": None}).run()


@pytest.mark.slow
def test_asha_stops_trials_and_the_best_is_repeated(sweep, tmp_path):
    knobs = {"objective.temperature": {"loguniform": [0.02, 2.0]}}
    asked = of(knobs, scheduler="asha", trials=8)
    made = sweep(asked, {"steps": 27}, repeat=2).run()
    found = json.loads((tmp_path / "sweep/trials.json").read_text())
    assert made["counts"]["stopped"] > 0
    assert found["saved"]["share"] > 0
    assert len(found["repeat"]["scores"]) == 2
    assert all(t["steps"] == 27 for t in found["trials"] if t["status"] == "finished")


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["hyperband", "asha", "none"])
def test_optuna_chooses_settings_that_meet_the_constraints_and_goes_on(scheduler, sweep, tmp_path):
    pytest.importorskip("optuna")
    knobs = {
        "objective.temperature": {"loguniform": [0.02, 2.0]},
        "optimizer.name": {"choice": ["adamw", "sgd"]},
        "optimizer.momentum": {"uniform": [0.5, 0.9], "when": {"optimizer.name": "sgd"}},
    }
    settings = {"search": "optuna", "scheduler": scheduler, "constraints": ["objective.temperature < 0.5"]}
    sweep(of(knobs, **settings, trials=3), {"steps": 18}).run()
    before = curves(tmp_path / "sweep")
    made = sweep(of(knobs, **settings, trials=5), {"steps": 18}).run()
    after = curves(tmp_path / "sweep")
    assert len(after) == 5
    assert all(after[id] == before[id] for id in before)
    assert made["counts"]["finished"] + made["counts"]["stopped"] == 5
    found = json.loads((tmp_path / "sweep/trials.json").read_text())
    assert all(t["settings"]["pretrain.objective.temperature"] < 0.5 for t in found["trials"])


@pytest.mark.slow
def test_a_population_exchanges_real_checkpoints(sweep, tmp_path):
    knobs = {"optimizer.lr": {"loguniform": [1e-6, 1e-2]}}
    made = sweep(of(knobs, scheduler="pbt", trials=4, reports=5), {"steps": 40}).run()
    assert made["counts"]["finished"] == 4
    rows = [json.loads(line) for lines in curves(tmp_path / "sweep").values() for line in lines]
    donors = {row["from"] for row in rows if row.get("from")}
    assert donors
    assert donors <= {p.name for p in (tmp_path / "sweep/trials").iterdir()}


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_was(recipe, digits, tmp_path):
    (tmp_path / "mine.yaml").write_text(recipe(steps=60, checkpoint={"every_steps": 5}).to_yaml())
    (tmp_path / "space.yaml").write_text(
        "knobs: {objective.temperature: {choice: [0.05, 0.1, 0.2, 0.5, 1.0]}}\n"
        "search: grid\nscheduler: none\nreports: 6\nsamples: 300\n"
    )
    command = [sys.executable, "-m", "selfray", "sweep", "mine.yaml", "--space", "space.yaml", "--json", "--out", "out"]
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 120
        while sum(map(len, curves(tmp_path / "out").values())) < 8 and time.monotonic() < deadline:
            assert first.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    time.sleep(5)  # the actors notice that their driver is gone
    before = curves(tmp_path / "out")
    assert sum(map(len, before.values())) < 30
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    after = curves(tmp_path / "out")
    assert json.loads(done.stdout)["counts"] == {"finished": 5, "stopped": 0, "failed": 0, "running": 0}
    for lines in after.values():
        assert [json.loads(line)["step"] for line in lines] == [10, 20, 30, 40, 50, 60]
    assert all(after[id][: len(lines)] == lines for id, lines in before.items())


@pytest.mark.slow
def test_a_time_budget_ends_the_search_early_and_the_same_sweep_goes_on(sweep, tmp_path):
    asked = of({"objective.temperature": {"uniform": [0.1, 1.0], "points": 200}}, search="grid", scheduler="none")
    made = sweep(asked, {"steps": 40}, time_budget=0.5).run()
    finished = made["counts"]["finished"]
    assert 0 < finished < 200
    assert made["counts"]["stopped"] == made["counts"]["failed"] == 0  # the rest was interrupted, not judged worse
    best = recipes.load(tmp_path / "sweep/best.yaml").pretrain.objective["temperature"]
    assert best == made["settings"]["objective.temperature"]
    before = {id: lines for id, lines in curves(tmp_path / "sweep").items() if len(lines) == 2}
    assert len(before) >= finished
    again = sweep(asked, {"steps": 40}, time_budget=0.5).run()
    after = curves(tmp_path / "sweep")
    assert again["counts"]["finished"] > finished
    assert all(after[id] == lines for id, lines in before.items())
