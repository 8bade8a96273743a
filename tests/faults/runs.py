"""A run of `selfray run` in a process of its own, to which things can be done while it works."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from safetensors import safe_open

from selfray.recipe import load
from selfray.train import trace
from selfray.train.checkpoint import Checkpoints

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0  # seconds; more than any recovery should take on a busy machine
STEPS, EVERY = 160, 10


def recipe(folder: Path, corpus: Path, workers: int, **pretrain: Any) -> Path:
    """Write a recipe of `STEPS` slow steps with a checkpoint every `EVERY`; returns its file."""
    settings = {
        "objective": {"name": "tests.faults.slow", "pause": 0.05},
        "encoder": {"name": "conv", "width": 16, "stages": 1},
        "views": {"flip": 0.0, "blur": 0.0},
        **{"batch": 32, "steps": STEPS, "workers": workers, "threads": 1, "precision": "fp32", "compile": False},
        **{"log_every": 5, "health_every": 1000, "trace": True, "checkpoint": {"every_steps": EVERY}},
        **({"cpus_per_worker": 0.5} if workers else {}),
    }
    file = folder / "faulty.yaml"
    content = {"name": "faulty", "corpus": {"path": str(corpus)}, "pretrain": {**settings, **pretrain}}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


@dataclass
class Run:
    """One run, however often it is started."""

    file: Path
    out: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Type the command; the same every time."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
            **self.environment,
        }
        command = [sys.executable, "-m", "selfray", "run", str(self.file), "--out", str(self.out), *options]
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out.parent / f"{self.out.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.file.parent)

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit status, when it ends by itself."""
        assert self.process is not None, "start() comes first"
        return self.process.wait(seconds)

    def log(self) -> str:
        """All that it printed."""
        return (self.out.parent / f"{self.out.name}.log").read_text(encoding="utf-8", errors="replace")

    def records(self) -> list[trace.Record]:
        """What its workers consumed so far."""
        return trace.read(self.out)

    def until(self, done: Callable[[list[trace.Record]], bool], seconds: float = PATIENCE) -> list[trace.Record]:
        """Wait for something in the records."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            if done(records := self.records()):
                return records
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the run ended with status {self.process.returncode}:\n{self.log()[-2000:]}")
            time.sleep(0.1)
        raise AssertionError(f"nothing happened for {seconds:.0f} s:\n{self.log()[-2000:]}")

    def until_step(self, step: int) -> list[trace.Record]:
        """Wait until every worker has done a step."""
        return self.until(lambda records: any(r.step >= step and r.rank == r.world - 1 for r in records))

    def kill(self) -> None:
        """SIGKILL for the driver, and wait until everything that it started is gone."""
        assert self.process is not None, "start() comes first"
        mine = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        trained = [process for process in mine if process.is_running() and "Train" in _name(process)]
        psutil.wait_procs(trained, timeout=30)

    def end(self) -> None:
        """Leave nothing running."""
        if self.process is not None and self.process.poll() is None:
            mine = psutil.Process(self.process.pid).children(recursive=True)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
            for process in mine:
                if process.is_running():
                    process.kill()

    @property
    def checkpoints(self) -> list[Path]:
        """The published checkpoints, oldest first."""
        return sorted((self.out / "checkpoints").glob("step_*"))

    def store(self) -> Checkpoints:
        """The checkpoints where the recipe wants them, as the run itself finds them."""
        return Checkpoints.of(load(self.file).pretrain.checkpoint, self.out)

    def digest(self) -> str:
        """A digest of every number of the newest checkpoint's objective."""
        newest = self.store().newest()
        assert newest is not None, "there is no checkpoint"
        digest = hashlib.sha256()
        with safe_open(newest / "objective.safetensors", "np") as file:
            for name in sorted(file.keys()):
                digest.update(name.encode() + file.get_tensor(name).tobytes())
        return digest.hexdigest()[:16]

    def rows(self) -> list[dict[str, float]]:
        """The learning curve."""
        return [json.loads(line) for line in (self.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
