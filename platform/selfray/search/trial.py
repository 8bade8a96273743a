"""One trial: an ordinary pretraining run in this process, cut where it is judged and continued from its checkpoint."""

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..corpus import stream
from ..errors import UserError
from ..recipe import Recipe
from ..train import build
from ..train.checkpoint import Checkpoints
from ..train.loop import Interrupted, Job, total_steps, train
from ..train.meter import Row
from . import ledger, metric
from .space import Settings, apply

Report = Callable[[ledger.Row, Path | None], None]
"""Tells the scheduler of a judgement, with the checkpoint that belongs to it; it may end the trial by not returning."""

LEAST_FEATURE_STD, LEAST_RANKME = 0.02, 1.5
"""All embeddings coincide, or lie on one line. `train/rules.py` warns much earlier; this ends a trial."""
COLLAPSE_AFTER = 0.5
"""Share of the steps before which a collapse may yet pass: networks start collapsed and spread while warming up."""


@dataclass(frozen=True)
class Plan:
    """What all trials of a sweep have in common; plain values that travel to any machine."""

    recipe: Recipe
    corpus: str | dict[str, float]
    folder: str  # of the sweep
    metric: str
    judged: tuple[tuple[int, float], ...]  # the scheduler's count, and the share of the steps
    samples: int
    threads: int
    exchanges: bool  # whether trials take over each other's checkpoints

    def of(self, settings: Settings, seed: int) -> Recipe:
        """The recipe of a trial: settings applied, one process, one checkpoint."""
        found = apply(self.recipe, settings)
        own = {"workers": 0, "min_workers": None, "threads": self.threads, "trace": False}
        kept = found.pretrain.checkpoint.model_copy(update={"storage": None, "keep": 1, "keep_every": None})
        pretrain = found.pretrain.model_copy(update={**own, "checkpoint": kept})
        return found.model_copy(update={"seed": seed, "pretrain": pretrain})

    def total(self, recipe: Recipe) -> int:
        """Steps of a whole trial."""
        settings = recipe.pretrain
        plan = stream.plan(self.corpus, settings.batch, recipe.seed, settings.lanes, settings.max_samples)
        return total_steps(settings, plan.order.steps)

    def marks(self, total: int) -> list[tuple[int, int]]:
        """The scheduler's count and the step of each judgement."""
        return [(count, max(1, round(total * share))) for count, share in self.judged]


class Failed(Exception):
    """The trial cannot go on; says why."""


def run(plan: Plan, id: str, settings: Settings, seed: int, report: Report, given: Path | None = None) -> str:
    """Train a trial to its end and report every judgement, those of earlier attempts first; returns why it failed.

    A trial that has ended is only reported again: a scheduler that starts anew learns what its predecessor knew.

    Args:
        plan: What all trials have in common.
        id: Of the trial; its folder is `trials/<id>`.
        settings: Of this trial.
        seed: Of this trial.
        report: Told of each judgement.
        given: A checkpoint of another trial, to go on from instead of its own.
    """
    folder = Path(plan.folder) / "trials" / id
    folder.mkdir(parents=True, exist_ok=True)
    try:
        rows = ledger.curve(folder)
        note = folder / "trial.json"
        known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        if known.get("status") in ledger.ENDED:
            for row in rows:
                report(row, None)
            return str(known.get("reason", ""))
        recipe = plan.of(settings, seed)
        if plan.exchanges:
            ledger.whole(folder / "settings.json", json.dumps(settings))
        if given is not None:
            rows = _take_over(folder, given, rows)
        marks = plan.marks(plan.total(recipe))
        done = {row["report"] for row in rows}
        for row in rows[-1:] if plan.exchanges else rows:
            if given is None:
                report(row, _newest(recipe, folder))
        for count, step in marks:
            if count in done or count < max(done, default=0):
                continue
            row = _judged(plan, recipe, folder, count, step, marks[-1][1])
            ledger.append(folder, row)
            report(row, _newest(recipe, folder))
    except (UserError, Failed, MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        return _reason(error)
    return ""


def _judged(plan: Plan, recipe: Recipe, folder: Path, count: int, step: int, total: int) -> ledger.Row:
    """Train up to a step and judge the encoder of the checkpoint there."""
    begun = time.monotonic()
    numbers: list[Row] = []
    job = Job(recipe, plan.corpus, str(folder))
    start = _step(_newest(recipe, folder))
    if start < step:
        with suppress(Interrupted):
            train(job, numbers.append, stop=_After(step - start))
    corpus = plan.corpus if isinstance(plan.corpus, str) else next(iter(plan.corpus))
    last = numbers[-1] if numbers else {}
    manifest = stream.manifest_of(plan.corpus)
    found = metric.judge(
        plan.metric,
        _encoder(recipe, manifest, folder),
        build.views(recipe.pretrain, manifest.facts),
        corpus,
        plan.samples,
        last,
    )
    row: ledger.Row = {"report": count, "step": step, "seconds": time.monotonic() - begun, **found}
    row["rows"] = [{k: v for k, v in number.items() if k == "step" or "/" in k} for number in numbers]
    collapsed = found["feature_std"] < LEAST_FEATURE_STD or found["rankme"] < LEAST_RANKME
    if collapsed and step > COLLAPSE_AFTER * total:
        raise Failed(
            f"collapse: at step {step} feature_std is {found['feature_std']:.3f} and RankMe {found['rankme']:.1f}"
        )
    return row


class _After:
    """Asks training to stop after so many steps."""

    def __init__(self, steps: int):
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def _encoder(recipe: Recipe, manifest: Any, folder: Path) -> Any:
    from safetensors.torch import load_file

    objective = build.objective(recipe.pretrain, manifest, recipe.seed)
    newest = _newest(recipe, folder)
    assert newest is not None
    objective.load_state_dict(load_file(newest / "objective.safetensors"))
    gpu = recipe.pretrain.gpu and torch.cuda.is_available()
    return objective.encoder.to("cuda" if gpu else "cpu")


def _newest(recipe: Recipe, folder: Path) -> Path | None:
    return Checkpoints.of(recipe.pretrain.checkpoint, folder).newest()


def _step(checkpoint: Path | None) -> int:
    return int(checkpoint.name.removeprefix("step_")) if checkpoint else 0


def _take_over(folder: Path, given: Path, rows: list[ledger.Row]) -> list[ledger.Row]:
    """Make another trial's checkpoint this one's only one; returns the judgements up to there."""
    source = next(given.glob("step_*"))
    note = json.loads((given / "judged.json").read_text(encoding="utf-8"))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / "checkpoints").mkdir()
    aside = folder / "checkpoints" / f".writing-{source.name}"
    shutil.copytree(source, aside)
    aside.rename(folder / "checkpoints" / source.name)
    kept = [row for row in rows if row["report"] < note["report"]]
    kept.append({**note, "from": note.get("id", ""), "seconds": 0.0})
    ledger.rewrite(folder, kept)
    return kept


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "out of memory" in str(error).lower():
        return "out of memory; lower batch, or raise accumulate or gpu_share"
    if isinstance(error, UserError | Failed):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
