"""The bare step and selfray's loop, as bench_text.py and bench_audio.py measure them in processes of their own."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beside import Task

WARM_ROWS = 2
HELD_OUT = 512  # samples whose loss is compared


class Clock:
    """Units per second of a loop, such as tokens, over some steps at a time."""

    def __init__(self, row: int):
        self.row, self.steps, self.units, self.rates = row, 0, 0.0, list[float]()
        self.since = time.perf_counter()

    def step(self, units: float) -> None:
        """Count a step of so many units."""
        self.steps, self.units = self.steps + 1, self.units + units
        if self.steps % self.row == 0:
            now = time.perf_counter()
            self.rates.append(self.units / (now - self.since))
            self.since, self.units = now, 0.0

    @property
    def rate(self) -> float:
        """The median over rows, without those at the start."""
        return median(self.rates[WARM_ROWS:])


def limit(task: "Task", one: Any, real: Callable[[Any], Any], unit: float = 1.0) -> dict[str, Any]:
    """Loss, gradients and optimizer on one batch of views, again and again.

    Args:
        one: the recipe.
        real: which numbers of samples are no padding.
        unit: what one of them counts.
    """
    import torch

    from selfray.corpus import stream
    from selfray.train import build, device, optimizers
    from selfray.views.random import sample_keys

    settings = one.pretrain
    torch.set_num_threads(task.threads)
    device.keep_memory()  # as the loop does
    plan = stream.plan(one.corpus.path, task.batch, one.seed, settings.lanes)
    objective = build.objective(settings, plan.manifest, one.seed)
    optimizer = optimizers.build(modules=[objective], **settings.optimizer)
    batch = next(stream.local(plan, 0, 1))
    samples, ids = torch.tensor(batch.samples), torch.tensor(batch.ids)
    seen = build.views(settings, plan.manifest.facts).make(objective.views, samples, sample_keys(ids, one.seed, 0))
    counted = int(real(samples).sum())
    precision = device.precision(task.precision, torch.device("cpu"))
    clock = Clock(task.row)
    for step in range(task.steps):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss, _ = objective(seen)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step((step + 1) / task.steps)
        clock.step(counted * unit)
    return {"rate": clock.rate, "useful": counted / samples.numel(), "parameters": trained_numbers(objective)}


def selfray(
    one: Any, real: Callable[[Any], Any], unit: float = 1.0, judged: Callable[[Any, Any], float] | None = None
) -> dict[str, Any]:
    """The product's loop and stream, without Ray.

    Args:
        judged: the held-out loss of an objective on its views.
    """
    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.features import load
    from selfray.summary import trained_objective
    from selfray.train import build
    from selfray.train.loop import Job, train

    rows, corpus = list[float](), Path(one.corpus.path)
    manifest = Manifest.read(corpus)
    useful = float(real(load(corpus, "train", 10**6).data).mean())
    with tempfile.TemporaryDirectory() as folder:
        train(Job(one, str(corpus), folder), lambda row: rows.append(row["speed/samples_per_second"]))
        objective = trained_objective(Path(folder), one, manifest).eval()
    rate = median(rows[WARM_ROWS:]) * manifest.shape[0] * useful * unit
    found = {"rate": rate, "useful": useful, "parameters": trained_numbers(objective)}
    return found | ({"loss": judged(objective, build.views(one.pretrain, manifest.facts))} if judged else {})


def here(task: "Task") -> dict[str, Any]:
    """Settings of the key `pretrain` for one process on this machine."""
    return {
        "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01},
        **{"batch": task.batch, "steps": task.steps, "warmup": 0.1, "precision": task.precision},
        **{"workers": 0, "gpu": False, "compile": False, "threads": task.threads, "log_every": task.row},
    }


def trained_numbers(module: Any) -> int:
    """How many numbers of a module are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
