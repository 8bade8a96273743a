"""MLflow: one run for the sweep and a child for each trial, written by one thread of the driver."""

import json
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..storage import Local
from ..tracking import quiet, store
from ..train.meter import finite

RETRY_SECONDS, CLOSE_SECONDS = 10.0, 60.0


class SweepTracker:
    """Does what it is told in order, some time soon; a store that is away delays it and no trial.

    Args:
        folder: Of the sweep; `mlflow.json` there remembers the parent run.
        experiment: The pipeline's name.
        parameters: Of the parent run.
    """

    def __init__(self, folder: Path, experiment: str, parameters: Mapping[str, Any]):
        self.folder, self.experiment, self.uri = folder, experiment, store(folder.parent)
        self.problem = ""
        self.known: set[str] = set()  # trials that have a child run
        self._runs: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._todo.put(lambda: self._start(parameters))
        self._thread = threading.Thread(target=self._work, name="mlflow-sweep", daemon=True)
        self._thread.start()

    def trial(self, folder: Path, name: str, parameters: Mapping[str, Any]) -> None:
        """Begin a child run, or go on with the one that `mlflow.json` in the trial's folder names."""
        self.known.add(folder.name)
        self._todo.put(lambda: self._child(folder, name, dict(parameters)))

    def rows(self, id: str, rows: Sequence[Mapping[str, float]]) -> None:
        """Log rows of numbers of a trial; steps that are there already are left out."""
        self._todo.put(lambda: self._log(id, rows))

    def end(self, id: str, status: str, reason: str) -> None:
        """Close a child run: FINISHED, also where it was stopped early, or FAILED."""
        self._todo.put(lambda: self._end(id, status, reason))

    def finish(self, status: str, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        """Close the parent run and wait until all is written."""
        self._todo.put(lambda: self._finish(status, metrics, files))
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self.problem = f"MLflow at {self.uri} did not answer in time; the trials are in trials.json"

    def _work(self) -> None:
        waiting: Callable[[], None] | None = None
        gave_up = 0.0
        while True:
            try:
                waiting = waiting or self._todo.get(timeout=0.5)
                waiting()
                waiting, self.problem = None, ""
            except queue.Empty:
                if self._closing.is_set():
                    return
            except Exception as error:
                self.problem = f"MLflow at {self.uri} cannot be reached ({type(error).__name__}: {error})"
                if self._closing.is_set():
                    gave_up = gave_up or time.monotonic()
                    if time.monotonic() - gave_up > CLOSE_SECONDS / 2:
                        return
                self._closing.wait(RETRY_SECONDS) if not self._closing.is_set() else time.sleep(1)

    def _start(self, parameters: Mapping[str, Any]) -> None:
        import os

        from mlflow import MlflowClient

        quiet()
        self._client = MlflowClient(self.uri)
        found = self._client.get_experiment_by_name(self.experiment)
        runs = self.folder.parent
        location = None if os.environ.get("MLFLOW_TRACKING_URI") else (runs / "mlflow-artifacts").as_uri()
        self._experiment = found.experiment_id if found else self._client.create_experiment(self.experiment, location)
        self._parent = self._open(self.folder, self.folder.name, dict(parameters), {"selfray.sweep": "parent"})

    def _open(self, folder: Path, name: str, parameters: dict[str, Any], tags: dict[str, str]) -> str:
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        note = folder / "mlflow.json"
        known = json.loads(note.read_text()) if note.is_file() else {}
        if known.get("tracking_uri") == self.uri:
            try:
                self._client.update_run(known["run_id"], status="RUNNING")
                return str(known["run_id"])
            except MlflowException:
                pass  # it was deleted from the store
        run = self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id
        listed = [Param(key, str(value)[:500]) for key, value in parameters.items()]
        for i in range(0, len(listed), 100):
            self._client.log_batch(run, params=listed[i : i + 100])
        noted = {"tracking_uri": self.uri, "run_id": run, "experiment": self.experiment}
        Local(str(folder)).write(note.name, json.dumps(noted, indent=1).encode())
        return str(run)

    def _child(self, folder: Path, name: str, parameters: dict[str, Any]) -> None:
        tags = {"mlflow.parentRunId": self._parent, "selfray.sweep": "trial"}
        run = self._open(folder, name, parameters, tags)
        self._runs[folder.name] = run
        history = self._client.get_metric_history(run, "sweep/score")
        self._seen[folder.name] = max((m.step for m in history), default=-1)

    def _log(self, id: str, rows: Sequence[Mapping[str, float]]) -> None:
        from mlflow.entities import Metric

        now, seen = int(time.time() * 1000), self._seen[id]
        metrics = [
            Metric(name, value, now, int(row["step"]))
            for row in rows
            if row["step"] > seen
            for name, value in finite(dict(row)).items()
            if value is not None and "/" in name
        ]
        for i in range(0, len(metrics), 1000):
            self._client.log_batch(self._runs[id], metrics=metrics[i : i + 1000])
        self._seen[id] = max([seen, *(int(row["step"]) for row in rows)])

    def _end(self, id: str, status: str, reason: str) -> None:
        run = self._runs[id]
        self._client.set_tag(run, "selfray.status", status)
        if reason:
            self._client.set_tag(run, "selfray.reason", reason[:500])
        self._client.set_terminated(run, "FAILED" if status == "failed" else "FINISHED")

    def _finish(self, status: str, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        for name, value in metrics.items():
            self._client.log_metric(self._parent, name, value)
        for file in files:
            if file.exists():
                self._client.log_artifact(self._parent, str(file))
        self._client.set_terminated(self._parent, status)
