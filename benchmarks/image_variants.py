"""The variants of bench_image.py; each runs alone in a fresh process: `image_variants.py TASK.json RESULT.json`.

All take the same SimCLR step on the same corpus: encoder, projector, loss, optimizer and batch of the recipe. They
differ in where views come from and in the loop round the step.
"""

import ctypes
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import machine

WARM_ROWS = 2
"""Rows at the start that are not counted: allocation, the first batch of data, compilation."""


@dataclass(frozen=True)
class Task:
    """What one process is to measure."""

    variant: str  # limit, selfray or lightly
    precision: str  # fp32 or bf16
    compile: bool
    workers: int  # of selfray; 0 is without Ray
    corpus: str  # folder of the prepared corpus
    batch: int
    steps: int  # timed ones
    row: int  # steps over which a rate is taken
    threads: int
    keep_memory: bool  # the allocator gives nothing back, so that no page is faulted in twice

    @property
    def total(self) -> int:
        """Steps to take, those of the warm-up included."""
        return self.steps + WARM_ROWS * self.row

    @property
    def recipe(self) -> Any:
        """The recipe of the quickstart with this task's settings."""
        from selfray.recipe import load

        own = ("precision", "compile", "workers", "batch", "threads")
        changed = [f"{name}={getattr(self, name)}" for name in own]
        # Two stages: the small CNN of some 20 MFLOP an image, so that the step is work and not overhead.
        size = ["encoder.stages=2", f"steps={self.total}", "epochs=null", f"log_every={self.row}"]
        return load("quickstart", [*changed, *size])


@dataclass(frozen=True)
class Row:
    """Some steps of a variant: the clock at their end, their rate and the loss."""

    seconds: float
    rate: float
    loss: float


class Clock:
    """Makes rows of a loop's steps."""

    def __init__(self, task: Task):
        self.task, self.rows, self.done = task, list[Row](), 0
        self.begun = self.since = time.perf_counter()

    def step(self, loss: Any) -> None:
        """Count a step; the loss is read only where a row ends."""
        self.done += 1
        if self.done % self.task.row == 0:
            value, now = float(loss), time.perf_counter()
            rate = self.task.row * self.task.batch / (now - self.since)
            self.rows.append(Row(now - self.begun, rate, value))
            self.since = now


def limit(task: Task) -> tuple[list[Row], int]:
    """Forward, backward and optimizer on two resident tensors of views; nothing else."""
    import torch

    from selfray.corpus import stream
    from selfray.train import build, device, optimizers
    from selfray.views.random import sample_keys

    recipe = task.recipe
    settings = recipe.pretrain
    torch.set_num_threads(device.threads(settings))
    plan = stream.plan(task.corpus, task.batch, recipe.seed, settings.lanes)
    objective = build.objective(settings, plan.manifest, recipe.seed).to(memory_format=torch.channels_last)
    optimizer = optimizers.build(modules=[objective], **settings.optimizer)
    batch = next(stream.local(plan, 0, 1))
    keys = sample_keys(torch.tensor(batch.ids), recipe.seed, 0)
    views = build.views(settings).make(objective.views, torch.tensor(batch.samples), keys)
    precision = device.precision(task.precision, torch.device("cpu"))
    model = torch.compile(objective) if task.compile else objective
    clock = Clock(task)
    for _ in range(task.total):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss, _ = model(views)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step(loss.detach())
    return clock.rows, trainable(objective)


def selfray(task: Task, folder: Path) -> tuple[list[Row], int]:
    """The product: its launch, its loop, its stream; what it reports about itself."""
    from selfray.corpus.manifest import Manifest
    from selfray.train import build
    from selfray.train.launch import pretrain
    from selfray.train.loop import Job

    recipe, rows = task.recipe, list[Row]()

    def take(row: dict[str, float]) -> None:
        rows.append(Row(row["seconds"], row["speed/samples_per_second"], row["train/loss"]))

    pretrain(Job(recipe, task.corpus, str(folder / "run")), [take])
    return rows, trainable(build.objective(recipe.pretrain, Manifest.read(task.corpus), recipe.seed))


def keep_memory() -> None:
    """Let glibc neither map large tensors one by one nor trim its heap, where there is glibc."""
    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, 2**30)
        libc.mallopt(trim_threshold, 2**31 - 1)


def trainable(module: Any) -> int:
    """Trained numbers of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def measure(task: Task, folder: Path) -> dict[str, Any]:
    """Run a task; the figures are those of the rows after the warm-up."""
    share = machine.ask_for_a_fair_share()
    if task.keep_memory:
        keep_memory()
    begun = time.perf_counter()
    if task.variant == "lightly":
        import torchvision_stub  # noqa: F401  (before torchvision)
        from peer_lightly import lightly

        rows, parameters = lightly(task)
    else:
        rows, parameters = limit(task) if task.variant == "limit" else selfray(task, folder)
    counted = rows[WARM_ROWS:]
    seconds = counted[-1].seconds - rows[WARM_ROWS - 1].seconds
    return {
        **asdict(task),
        "median": median(row.rate for row in counted),
        "best": max(row.rate for row in counted),  # the least time
        "overall": len(counted) * task.row * task.batch / seconds,  # with what the median of rows passes over
        "rows": len(counted),
        "rates": [round(row.rate, 1) for row in counted],
        "loss": [rows[0].loss, rows[-1].loss],
        "parameters": parameters,
        "page_faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt,  # of a Ray worker they are not seen
        "wall_seconds": time.perf_counter() - begun,
        "session_priority": share,
        "versions": machine.versions(("torch", "lightly", "pytorch-lightning", "torchvision", "ray")),
    }


if __name__ == "__main__":
    asked, answer = Path(sys.argv[1]), Path(sys.argv[2])
    result = measure(Task(**json.loads(asked.read_text(encoding="utf-8"))), answer.parent)
    answer.write_text(json.dumps(result), encoding="utf-8")
