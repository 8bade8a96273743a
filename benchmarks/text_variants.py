"""The variants of bench_text.py, each measured in a process of its own."""

import math
import tempfile
import time
import warnings
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench_text import Task

WARM_ROWS = 2
HELD_OUT = 512  # rows whose loss is compared


class Clock:
    """Useful tokens per second of a loop, over some steps at a time."""

    def __init__(self, row: int):
        self.row, self.steps, self.tokens, self.rates = row, 0, 0, list[float]()
        self.since = time.perf_counter()

    def step(self, tokens: int) -> None:
        """Count a step of so many useful tokens."""
        self.steps, self.tokens = self.steps + 1, self.tokens + tokens
        if self.steps % self.row == 0:
            now = time.perf_counter()
            self.rates.append(self.tokens / (now - self.since))
            self.since, self.tokens = now, 0

    @property
    def rate(self) -> float:
        """The median over rows, without those at the start."""
        return median(self.rates[WARM_ROWS:])


def measured(task: "Task") -> dict[str, Any]:
    """Rate, share of useful tokens, trained numbers and held-out loss of one variant."""
    warnings.filterwarnings("ignore")
    if task.variant == "limit":
        return limit(task)
    if task.variant == "selfray":
        return selfray(task)
    return trainer(task, packed="packed" in task.variant)


def limit(task: "Task") -> dict[str, Any]:
    """Loss, gradients and optimizer on one batch of views, again and again."""
    import torch

    from selfray.corpus import stream
    from selfray.train import build, device, optimizers
    from selfray.views.random import sample_keys

    one = task.recipe
    settings = one.pretrain
    torch.set_num_threads(task.threads)
    plan = stream.plan(one.corpus.path, task.batch, one.seed, settings.lanes)
    objective = build.objective(settings, plan.manifest, one.seed)
    optimizer = optimizers.build(modules=[objective], **settings.optimizer)
    batch = next(stream.local(plan, 0, 1))
    samples, ids = torch.tensor(batch.samples), torch.tensor(batch.ids)
    seen = build.views(settings, plan.manifest.facts).make(objective.views, samples, sample_keys(ids, one.seed, 0))
    useful = int((samples != plan.manifest.facts["pad"]).sum())
    precision = device.precision(task.precision, torch.device("cpu"))
    clock = Clock(task.row)
    for _ in range(task.steps):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss, _ = objective(seen)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step(useful)
    return {"rate": clock.rate, "useful": useful / samples.numel(), "parameters": trained_numbers(objective)}


def selfray(task: "Task") -> dict[str, Any]:
    """The product's loop and stream."""
    import numpy as np
    from quality import held_out

    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.features import load
    from selfray.summary import trained_objective
    from selfray.train import build
    from selfray.train.loop import Job, train

    one, rows = task.recipe, list[float]()
    corpus = Path(one.corpus.path)
    manifest = Manifest.read(corpus)
    useful = float(np.mean(load(corpus, "train", 10**6).data != manifest.facts["pad"]))
    with tempfile.TemporaryDirectory() as folder:
        train(Job(one, str(corpus), folder), lambda row: rows.append(row["speed/samples_per_second"]))
        objective = trained_objective(Path(folder), one, manifest).eval()
    tokens, views = manifest.shape[0] * useful, build.views(one.pretrain, manifest.facts)
    return {
        "rate": median(rows[WARM_ROWS:]) * tokens,
        "useful": useful,
        "parameters": trained_numbers(objective),
        "loss": mean(map(math.log, held_out(objective, views, corpus, "perplexity", HELD_OUT))),
    }


def trainer(task: "Task", packed: bool) -> dict[str, Any]:
    """The Trainer of transformers with its own collator, on packed rows or on paragraphs."""
    import torchvision_stub  # noqa: F401  (before transformers, which finds torchvision)
    from peer_trainer import train

    return train(task, packed)


def trained_numbers(module: Any) -> int:
    """How many numbers of a module are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
