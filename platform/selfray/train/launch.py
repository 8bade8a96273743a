"""Start training here or on the Ray cluster; the loop itself knows nothing of either."""

import json
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import distributed
from .fence import FencedOut
from .loop import Interrupted, Job, train
from .meter import Row

Sink = Callable[[Row], None]
POLL_SECONDS = 1.0
UNFETCHED = "rows.jsonl"
"""In the run's folder while it trains: what is reported, for a driver that is killed before it has passed it on."""
COLLECTIVE_SECONDS = 120  # after which workers give up waiting for one that hangs; 30 minutes by default
RESIZE_SECONDS = 20.0  # between two looks for nodes that were added, where min_workers allows another number
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
"""A Ray worker trains in a thread; a glibc arena of its own would map every large tensor anew."""


def pretrain(job: Job, sinks: Sequence[Sink] = ()) -> int:
    """Train a job to its end and pass what it reports to the sinks; returns the number of steps.

    Raises:
        UserError: training is impossible or failed for a reason that the user can act on.
        KeyboardInterrupt: it was interrupted; the same call resumes.
    """
    for row in _unfetched(job.run):
        for sink in sinks:
            sink(row)
    steps = _here(job, sinks) if job.recipe.pretrain.workers == 0 else _on_ray(job, sinks)
    (Path(job.run) / UNFETCHED).unlink(missing_ok=True)
    return steps


def _here(job: Job, sinks: Sequence[Sink]) -> int:
    rows: queue.SimpleQueue[Row] = queue.SimpleQueue()

    def take() -> list[Row]:
        return [rows.get() for _ in range(rows.qsize())]

    with _delivered(take, sinks), _asked_to_stop() as stop:
        try:
            return train(job, _noting(job.run, rows.put), stop=stop)
        except Interrupted as interrupted:
            raise KeyboardInterrupt(str(interrupted)) from None


def _on_ray(job: Job, sinks: Sequence[Sink]) -> int:
    import ray
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from .. import cluster

    cluster.start()
    run_config: Any = ray.train.RunConfig  # typed as the one of Ray's former version
    # beside the driver: on a worker's node, the loss of that node would be the end of every later attempt
    here: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    mailbox: Any = ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote()
    trainer: Any = TorchTrainer(
        _work,  # type: ignore[arg-type]
        train_loop_config={"job": job, "mailbox": mailbox},
        torch_config=TorchConfig(timeout_s=COLLECTIVE_SECONDS),
        scaling_config=_scaling(job),
        run_config=run_config(
            name="ray",
            storage_path=str(Path(job.run).resolve()),
            failure_config=ray.train.FailureConfig(max_failures=job.recipe.pretrain.max_failures),
            worker_runtime_env={"env_vars": ONE_ARENA},
        ),
    )
    with (
        _delivered(lambda: ray.get(mailbox.take.remote()), sinks),
        _asked_to_stop() as stop,
        ThreadPoolExecutor(1, "ray-train") as thread,
    ):
        fitting = thread.submit(trainer.fit)
        while not fitting.done():
            if stop():
                mailbox.stop.remote()
            wait([fitting], timeout=POLL_SECONDS)
        steps, error = (fitting.result().return_value, None) if not fitting.exception() else (0, fitting.exception())
        interruption = ray.get(mailbox.interruption.remote())
        failure = ray.get(mailbox.failure.remote())
    if interruption:
        raise KeyboardInterrupt(interruption)
    if failure:
        raise UserError(failure) from error
    if error:
        raise error
    return int(steps)


def _scaling(job: Job) -> Any:
    """Workers of the size that leaves the cluster room to read data, or an error that says what is missing."""
    import ray
    import ray.train

    settings = job.recipe.pretrain
    resources = ray.cluster_resources()
    cpus = resources.get("CPU", 0)
    if settings.gpu and resources.get("GPU", 0) < (settings.min_workers or settings.workers):
        raise UserError(
            f"gpu is true and workers is {settings.workers}, but the cluster has {resources.get('GPU', 0):.0f} GPUs; "
            "set gpu=false or fewer workers"
        )
    each = settings.cpus_per_worker or min(1.0, max(0.1, round((cpus - 1) / settings.workers, 2)))
    fewest = settings.min_workers or settings.workers
    if fewest * each > cpus - 0.1:
        raise UserError(
            f"{fewest} workers of {each} CPUs leave none of the cluster's {cpus:.0f} CPUs for reading data; "
            "lower workers or cpus_per_worker"
        )
    config: Any = ray.train.ScalingConfig  # typed as the one of Ray's former version
    count = settings.workers if fewest == settings.workers else (fewest, settings.workers)
    return config(
        num_workers=count,
        use_gpu=settings.gpu,
        resources_per_worker={"CPU": each},
        elastic_resize_monitor_interval_s=RESIZE_SECONDS,
    )


class Mailbox:
    """Carries rows from the first worker to the driver, and the reason why a worker gave up."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._failure = self._interruption = ""
        self._stopping = False

    def put(self, row: Row) -> None:
        """Leave a row; the worker does not wait."""
        self._rows.append(row)

    def take(self) -> list[Row]:
        """All rows since the last time."""
        rows, self._rows = self._rows, []
        return rows

    def stop(self) -> None:
        """Ask the workers to save and end."""
        self._stopping = True

    def stopping(self) -> bool:
        """Whether the workers were asked to end."""
        return self._stopping

    def fail(self, reason: str) -> None:
        """Say that trying again is of no use."""
        self._failure = self._failure or reason

    def interrupt(self, where: str) -> None:
        """Say that the state is saved as asked."""
        self._interruption = where

    def interruption(self) -> str:
        """Where training stopped because it was asked to, or nothing."""
        return self._interruption

    def failure(self) -> str:
        """The reason given, or nothing."""
        return self._failure


class _Asked:
    """Whether the driver wants the first worker to stop, asked now and then and never waited for."""

    def __init__(self, mailbox: Any):
        self.mailbox, self.asked = mailbox, 0.0
        self.answer: Any = None
        self.first = distributed.rank() == 0

    def __call__(self) -> bool:
        import ray

        if not self.first or time.monotonic() - self.asked < POLL_SECONDS:
            return False
        if self.answer is None:
            self.answer = self.mailbox.stopping.remote()
        if not ray.wait([self.answer], timeout=0)[0]:
            return False
        answer, self.answer, self.asked = ray.get(self.answer), None, time.monotonic()
        return bool(answer)


def _noting(run: str, send: Callable[[Row], Any]) -> Callable[[Row], None]:
    """Send rows to the driver, each noted in the run's folder first."""

    def record(row: Row) -> None:
        with (Path(run) / UNFETCHED).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        send(row)

    return record


def _unfetched(run: str) -> list[Row]:
    """What workers noted whose driver was killed; sinks know themselves which steps they have already."""
    file, rows = Path(run) / UNFETCHED, list[Row]()
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        with suppress(ValueError):  # a line cut off by a kill
            rows.append(json.loads(line))
    return rows


def _noticed() -> bool:
    """Whether Ray was told that a node of this run is about to be taken away; a barrier over all workers."""
    import ray.train

    return ray.train.get_preemption_info() is not None


def _work(config: dict[str, Any]) -> int:
    """What a Ray Train worker runs; after a loss of workers Ray calls it again on all of them."""
    import ray

    from ..corpus import stream

    mailbox = config["mailbox"]
    if any(ray.get([mailbox.failure.remote(), mailbox.interruption.remote()])):
        return 0
    try:
        record = _noting(config["job"].run, mailbox.put.remote)
        return train(config["job"], record, stream.distributed, _Asked(mailbox), _noticed)
    except Interrupted as interrupted:
        ray.get(mailbox.interrupt.remote(str(interrupted)))
        raise
    except FencedOut:
        raise  # newer workers train: what they do is not over
    except UserError as error:
        ray.get(mailbox.fail.remote(str(error)))
        raise


@contextmanager
def _delivered(take: Callable[[], list[Row]], sinks: Sequence[Sink]) -> Iterator[None]:
    """Pass rows to the sinks from a thread until the block ends, the last ones included."""
    over = threading.Event()
    errors: list[Exception] = []

    def deliver() -> None:
        while True:
            last = over.is_set()
            try:
                for row in take():
                    for sink in sinks:
                        sink(row)
            except Exception as error:
                errors.append(error)
                return
            if last:
                return
            over.wait(POLL_SECONDS)

    thread = threading.Thread(target=deliver, name="deliver", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=60)
    if errors:
        raise errors[0]


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM finish the step and save; a second one ends at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print("\nstopping after this step, saving the state ...", file=sys.stderr)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
