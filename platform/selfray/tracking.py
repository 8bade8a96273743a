"""MLflow: one run for one output folder, written by one thread, never in the way of training.

The store is a sqlite database beside the runs unless MLFLOW_TRACKING_URI names another. A continued run goes on in
the same MLflow run, after the last step that the store already has. A store that is away delays what is logged.
"""

import json
import os
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .corpus.manifest import Manifest
from .errors import Temporary
from .storage import Local
from .train.meter import Row, finite

FLUSH_SECONDS = 2.0
RETRY_SECONDS = 10.0
CLOSE_SECONDS = 180.0  # MLflow's own client waits up to 64 s between two attempts


def store(runs: Path) -> str:
    """The tracking URI: MLFLOW_TRACKING_URI, else a sqlite database in the folder of the runs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs.resolve() / 'mlflow.db'}"


@contextmanager
def pointed_at(uri: str) -> Iterator[None]:
    """Point MLflow's own functions at a store, and back: they set the environment variable that `store` obeys."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it


class Tracker:
    """A sink for rows of metrics that remembers its MLflow run in `mlflow.json` of the run's folder."""

    def __init__(self, run: Path, experiment: str, parameters: Mapping[str, Any], manifest: Manifest, corpus: str):
        self.run, self.experiment, self.uri = run, experiment, store(run.parent)
        self.problem = ""
        self.run_id = ""
        self._parameters, self._manifest, self._corpus = parameters, manifest, corpus
        self._waiting: queue.SimpleQueue[Callable[[], Any] | tuple[int, Row]] = queue.SimpleQueue()
        self._closing, self._started = threading.Event(), threading.Event()
        self._seen = -1
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def __call__(self, row: Row) -> None:
        """Log a row some time soon."""
        self._waiting.put((_now(), row))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run some time soon."""
        self._waiting.put(lambda: [self._client.set_tag(self.run_id, key, value) for key, value in tags.items()])

    def measure(self, numbers: Mapping[str, float]) -> None:
        """Log numbers that do not belong to a step some time soon."""
        now = _now()
        self._waiting.put(lambda: self._log(numbers, now))

    def wait_started(self) -> None:
        """Wait until the MLflow run exists.

        Raises:
            Temporary: the store cannot be reached.
        """
        if not self._started.wait(timeout=CLOSE_SECONDS):
            raise Temporary(self.problem or f"MLflow at {self.uri} does not answer")

    def finish(self, status: str, results: Mapping[str, float], files: list[Path]) -> None:
        """Log final results and files, mark the run FINISHED, FAILED or KILLED, and wait until all is written."""
        now = _now()
        self._waiting.put(lambda: self._end(status, results, files, now))
        self._closing.set()
        self._thread.join(timeout=CLOSE_SECONDS)
        if self._thread.is_alive() and not self.problem:
            self.problem = f"MLflow at {self.uri} did not answer in time; metrics are in metrics.jsonl"

    def _work(self) -> None:
        started, monitor, unsent = False, None, []
        gave_up = 0.0
        while True:
            closing = self._closing.is_set()
            try:
                if not started:
                    self._start()
                    monitor = _monitor(self.run_id, self.uri)
                    started = True
                    self._started.set()
                while True:
                    try:
                        unsent.append(self._waiting.get_nowait())
                    except queue.Empty:
                        break
                self._send(unsent)
                unsent = []
                self.problem = ""
            except Exception as error:
                self.problem = f"MLflow at {self.uri} cannot be reached ({type(error).__name__}); will try again"
                if closing:
                    gave_up = gave_up or time.monotonic()
                    if time.monotonic() - gave_up > CLOSE_SECONDS / 2:
                        break
                self._closing.wait(RETRY_SECONDS if not closing else 1.0)
                continue
            if closing:
                break
            self._closing.wait(FLUSH_SECONDS)
        if monitor is not None:
            monitor.finish()

    def _start(self) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        quiet()
        self._client = MlflowClient(self.uri)
        note = self.run / "mlflow.json"
        known = json.loads(note.read_text()) if note.is_file() else {}
        if known.get("tracking_uri") == self.uri:
            try:
                self._client.update_run(known["run_id"], status="RUNNING")
                history = self._client.get_metric_history(known["run_id"], "train/loss")
                self.run_id, self._seen = known["run_id"], max((m.step for m in history), default=-1)
                return
            except MlflowException:
                known = {}
        found = self._client.get_experiment_by_name(self.experiment)
        location = None if os.environ.get("MLFLOW_TRACKING_URI") else (self.run.parent / "mlflow-artifacts").as_uri()
        experiment_id = found.experiment_id if found else self._client.create_experiment(self.experiment, location)
        self.run_id = self._client.create_run(experiment_id, run_name=self.run.name).info.run_id
        self._describe()
        noted = {"tracking_uri": self.uri, "run_id": self.run_id, "experiment": self.experiment}
        Local(str(self.run)).write(note.name, json.dumps(noted, indent=1).encode())  # others may read at any time

    def _describe(self) -> None:
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag, Param

        parameters = [Param(k, str(v)[:500]) for k, v in self._parameters.items()]
        for i in range(0, len(parameters), 100):
            self._client.log_batch(self.run_id, params=parameters[i : i + 100])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # MLflow registers the source of local files twice
            source = resolve_dataset_source(str(Path(self._corpus).resolve()))
        dataset: Any = MetaDataset(  # type: ignore[abstract]
            source, name=self._manifest.name, digest=self._manifest.fingerprint
        )
        tag = InputTag("mlflow.data.context", "pretraining")
        self._client.log_inputs(self.run_id, [DatasetInput(dataset._to_mlflow_entity(), [tag])])

    def _send(self, items: list[Callable[[], Any] | tuple[int, Row]]) -> None:
        from mlflow.entities import Metric

        metrics, seen = [], self._seen
        for item in items:
            if isinstance(item, tuple) and item[1]["step"] > seen:
                moment, row = item
                seen = int(row["step"])
                metrics += [
                    Metric(name, value, moment, seen)
                    for name, value in finite(row).items()
                    if value is not None and "/" in name
                ]
        # A request that failed is made again: the store keeps one of two points that agree in all, moment included
        for i in range(0, len(metrics), 1000):
            self._client.log_batch(self.run_id, metrics=metrics[i : i + 1000])
        self._seen = seen
        for item in items:
            if callable(item):
                item()

    def _end(self, status: str, results: Mapping[str, float], files: list[Path], now: int) -> None:
        self._log(results, now)
        for file in files:
            if file.exists():
                self._client.log_artifact(self.run_id, str(file))
        self._client.set_terminated(self.run_id, status)

    def _log(self, numbers: Mapping[str, float], now: int) -> None:
        from mlflow.entities import Metric

        if numbers:
            step = max(self._seen, 0)
            self._client.log_batch(self.run_id, metrics=[Metric(k, v, now, step) for k, v in numbers.items()])


def _now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


def quiet() -> None:
    """Keep MLflow's and alembic's informational messages off the terminal."""
    import logging

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("mlflow", "alembic", "alembic.runtime.migration"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _monitor(run_id: str, uri: str) -> Any:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor
