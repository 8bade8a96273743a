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
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .corpus.manifest import Manifest
from .errors import UserError
from .train.meter import Row, finite

FLUSH_SECONDS = 2.0
RETRY_SECONDS = 10.0
CLOSE_SECONDS = 60.0


def store(runs: Path) -> str:
    """The tracking URI: MLFLOW_TRACKING_URI, else a sqlite database in the folder of the runs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs.resolve() / 'mlflow.db'}"


def use_default_store() -> None:
    """Point MLflow at the store that runs in this folder use, unless the user chose another."""
    import mlflow

    from . import paths

    mlflow.set_tracking_uri(store(paths.runs()))


class Tracker:
    """A sink for rows of metrics that remembers its MLflow run in `mlflow.json` of the run's folder."""

    def __init__(self, run: Path, experiment: str, parameters: Mapping[str, Any], manifest: Manifest, corpus: str):
        self.run, self.experiment, self.uri = run, experiment, store(run.parent)
        self.problem = ""
        self.run_id = ""
        self._parameters, self._manifest, self._corpus = parameters, manifest, corpus
        self._waiting: queue.SimpleQueue[Callable[[], None] | Row] = queue.SimpleQueue()
        self._closing, self._started = threading.Event(), threading.Event()
        self._seen = -1
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def __call__(self, row: Row) -> None:
        """Log a row some time soon."""
        self._waiting.put(row)

    def wait_started(self) -> None:
        """Wait until the MLflow run exists.

        Raises:
            UserError: the store cannot be reached.
        """
        if not self._started.wait(timeout=CLOSE_SECONDS):
            raise UserError(self.problem or f"MLflow at {self.uri} does not answer")

    def finish(self, status: str, results: Mapping[str, float], files: list[Path]) -> None:
        """Log final results and files, mark the run FINISHED, FAILED or KILLED, and wait until all is written."""
        self._waiting.put(lambda: self._end(status, results, files))
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
        note.write_text(
            json.dumps({"tracking_uri": self.uri, "run_id": self.run_id, "experiment": self.experiment}, indent=1)
        )

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

    def _send(self, items: list[Callable[[], None] | Row]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = []
        for item in items:
            if isinstance(item, dict) and item["step"] > self._seen:
                step = int(item["step"])
                metrics += [
                    Metric(name, value, now, step)
                    for name, value in finite(item).items()
                    if value is not None and "/" in name
                ]
                self._seen = step
        for i in range(0, len(metrics), 1000):
            self._client.log_batch(self.run_id, metrics=metrics[i : i + 1000])
        for item in items:
            if callable(item):
                item()

    def _end(self, status: str, results: Mapping[str, float], files: list[Path]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        if results:
            self._client.log_batch(
                self.run_id, metrics=[Metric(k, v, now, max(self._seen, 0)) for k, v in results.items()]
            )
        for file in files:
            if file.exists():
                self._client.log_artifact(self.run_id, str(file))
        self._client.set_terminated(self.run_id, status)


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


def register(run: Path, encoder: Path, model: str, alias: str, results: Mapping[str, Any] | None) -> str:
    """Log an exported encoder with the run and give it a version and an alias in the registry; returns its URI.

    The version holds a torch.export program for serving and, beside it, the folder that `selfray.load` reads; no
    file of it is a pickle.
    """
    import mlflow
    import torch
    from mlflow.models import infer_signature

    from .export import load, read_config

    quiet()
    noted = json.loads((run / "mlflow.json").read_text())
    mlflow.set_tracking_uri(noted["tracking_uri"])
    module, config = load(encoder), read_config(encoder)
    example = _example(config)
    with torch.inference_mode():
        output = module.embed(torch.from_numpy(example)).numpy()
    client = mlflow.MlflowClient()
    with mlflow.start_run(noted["run_id"]):
        info = mlflow.pytorch.log_model(
            _Embedding(module).eval(),
            name="encoder",
            input_example=example,
            signature=infer_signature(example, output),
            extra_files=[str(f) for f in sorted(encoder.iterdir())],
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", "selfray"],
            serialization_format="pt2",
        )
    with suppress(mlflow.MlflowException):  # it exists already
        client.create_registered_model(model)
    version = client.create_model_version(model, info.model_uri, run_id=noted["run_id"], model_id=info.model_id).version
    client.set_registered_model_alias(model, alias, version)
    training = config["training"]
    client.update_model_version(model, version, description=(encoder / "README.md").read_text(encoding="utf-8"))
    for key in ("objective", "corpus", "fingerprint", "steps", "seed"):
        client.set_model_version_tag(model, version, f"selfray.{key}", str(training[key]))
    for row in (results or {}).get("probes", []):
        client.set_model_version_tag(model, version, f"selfray.{row['probe']}", f"{row['pretrained']:.4f}")
    return f"models:/{model}/{version}"


def _example(config: Mapping[str, Any]) -> Any:
    """Four inputs as the encoder takes them."""
    import numpy as np

    random, size = np.random.default_rng(0), tuple(config["size"])
    if config["kind"] == "text":
        return random.integers(config["channels"], size=(4, *size))
    shape = {"image": (config["channels"], *size), "series": (*size, config["channels"])}.get(config["kind"], size)
    return random.random((4, *shape), dtype=np.float32)


def _Embedding(encoder: Any) -> Any:  # noqa: N802
    """A module whose forward pass is the encoder's embedding of float images, for torch.export."""
    from torch import Tensor, nn

    class Embedding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, images: Tensor) -> Tensor:
            embedding: Tensor = self.encoder.embed(images)
            return embedding

    return Embedding()
