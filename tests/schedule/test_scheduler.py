"""The scheduler, which runs pipelines as programs."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from selfray.errors import UserError
from selfray.schedule.scheduler import Job, Scheduler

PIPELINE = """
name: {name}
corpus: {{path: "{corpus}"}}
pretrain:
  objective: {{name: simclr, width: 16}}
  encoder: {{name: conv, width: 16, stages: 1}}
  batch: 32
  steps: {steps}
  workers: 0
  log_every: 1
schedule: {{cron: "{cron}", missed: {missed}}}
"""
NIGHT = datetime(2026, 5, 10, 2, 0, tzinfo=UTC)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Makes a pipeline file that ends at once, since its corpus is missing."""
    monkeypatch.chdir(tmp_path)

    def make(name="broken", cron="0 2 * * *", missed="latest", corpus="/no/such/corpus", steps=2):
        file = tmp_path / f"{name}.yaml"
        file.write_text(PIPELINE.format(name=name, cron=cron, missed=missed, corpus=corpus, steps=steps))
        return Job(file)

    return make


class Clock:
    """Says what time it is."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


def test_a_date_is_run_once_as_a_program_and_its_end_is_remembered(job):
    mine, clock = job(), Clock(NIGHT - timedelta(hours=1))
    scheduler = Scheduler([mine], Console(quiet=True), clock)
    scheduler.begin()
    assert scheduler.once(mine) == []
    clock.now = NIGHT + timedelta(minutes=1)
    (row,) = scheduler.once(mine)
    assert (row["date"], row["status"], row["exit"]) == ("2026-05-10", "failed", 2)
    assert "the folder does not exist" in row["reason"]
    assert mine.leases.ended("2026-05-10")["exit"] == 2
    assert scheduler.once(mine) == []
    again = Job(mine.file)  # the scheduler is started again
    assert Scheduler([again], Console(quiet=True), clock).once(again) == []


def test_a_date_that_another_scheduler_has_run_is_left_to_it(job):
    mine, clock = job(), Clock(NIGHT - timedelta(hours=1))
    scheduler = Scheduler([mine], Console(quiet=True), clock)
    scheduler.begin()
    clock.now = NIGHT + timedelta(minutes=1)
    with mine.leases.claim("2026-05-10") as other:
        (row,) = scheduler.once(mine)
        assert row["status"] == "busy"
        assert scheduler.due(mine) == [NIGHT]  # it stays due, since the other may fail to end
        other.end({"status": "done"})
    (row,) = scheduler.once(mine)
    assert row["status"] == "elsewhere"
    assert not (mine.history.file.parent / "broken-2026-05-10.log").exists()


def test_nights_that_passed_while_nothing_ran_are_noted_as_missed(job):
    mine, clock = job(missed="skip"), Clock(NIGHT - timedelta(hours=1))
    scheduler = Scheduler([mine], Console(quiet=True), clock)
    scheduler.begin()
    clock.now = NIGHT + timedelta(days=2, hours=5)
    assert [(row["date"], row["status"]) for row in scheduler.once(mine)] == [
        ("2026-05-10", "missed"),
        ("2026-05-11", "missed"),
        ("2026-05-12", "missed"),
    ]


def test_a_pipeline_without_a_schedule_cannot_be_scheduled(tmp_path):
    (tmp_path / "plain.yaml").write_text(
        "corpus: {path: a}\npretrain: {objective: {name: simclr}, encoder: {name: conv}, steps: 1}\n"
    )
    with pytest.raises(UserError, match="has no schedule; add schedule"):
        Job(tmp_path / "plain.yaml")


@pytest.mark.slow
def test_the_foreground_command_runs_what_is_due_and_ctrl_c_saves_it(job, digits, tmp_path):
    mine = job("endless", "* * * * *", "latest", str(digits), 100_000)
    mine.history.add(due=(datetime.now(UTC) - timedelta(minutes=2)).isoformat(), status="scheduled")
    command = [sys.executable, "-m", "selfray", "schedule", "run", str(mine.file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("runs/endless-*/metrics.jsonl")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert "Every minute, UTC" in said
    assert "begins" in said
    assert "interrupted" in said
    (folder,) = tmp_path.glob("runs/endless-*")
    assert json.loads((folder / "status.json").read_text())["exit"] == 130
    assert list((folder / "checkpoints").glob("step_*"))
    assert mine.leases.holder() is None  # so that the same date goes on at the next start
    assert mine.leases.ended(folder.name.removeprefix("endless-")) is None
