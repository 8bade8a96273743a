"""What must hold of a run's history whatever was done to it; checked from records and files, not from the code."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from selfray.corpus import stream
from selfray.recipe import load
from selfray.train import publish
from selfray.train.trace import Record

from .runs import Run


def violations(run: Run, corpus: Path, ended: bool = True) -> list[str]:
    """One sentence for each broken invariant.

    I1 the newest checkpoint verifies. I2 every step consumed what the plan says, each sample once an epoch. I3 a step
    that was repeated consumed the same samples. I4 an attempt starts at a checkpoint's step and skips nothing. I5 no
    step is done by two attempts at once. I6 the learning curve has no gap and no step twice. I7, the same final
    parameters, is for the caller, who has the other run.
    """
    recipe = load(run.file)
    plan = stream.plan(corpus, recipe.pretrain.batch, recipe.seed, recipe.pretrain.lanes)
    records = run.records()
    return [
        *_checkpoints(run),
        *_plan(records, plan, recipe.pretrain.steps or 0, ended),
        *_starts(records, recipe.pretrain.checkpoint.every_steps or 1),
        *_one_owner(records),
        *_curve(run, recipe.pretrain.log_every, recipe.pretrain.steps or 0, ended),
    ]


def _checkpoints(run: Run) -> list[str]:
    store = run.store()
    if not any(publish.committed(store.storage)):
        return []
    return [] if store.newest() else ["I1: checkpoints are there and none of them verifies"]


def _plan(records: list[Record], plan: stream.Plan, steps: int, ended: bool) -> list[str]:
    found: list[str] = []
    by_step: dict[tuple[int, str], dict[int, Record]] = defaultdict(dict)
    for record in records:
        by_step[record.step, f"{record.world} workers from {record.start}"][record.rank] = record
    complete: dict[int, list[int]] = {}
    for (step, _), parts in sorted(by_step.items()):
        if len(parts) < next(iter(parts.values())).world:
            continue  # some workers were killed before the step was theirs
        ids = [id for rank in sorted(parts) for id in parts[rank].ids]
        if step in complete and complete[step] != ids:
            found.append(f"I3: step {step} was repeated with other samples")
        complete[step] = ids
    for step, ids in complete.items():
        wanted = next(stream.local(plan, step, step + 1)).ids.tolist()
        if ids != wanted:
            found.append(f"I2: step {step} did not consume what the plan says")
    if ended and sorted(complete) != list(range(steps)):
        found.append(f"I2: {sorted(set(range(steps)) - set(complete))} were never done by all workers")
    length = plan.order.steps
    for epoch in range(steps // length if ended else 0):
        seen = np.concatenate([complete[step] for step in range(epoch * length, (epoch + 1) * length)])
        if len(np.unique(seen)) != len(seen):
            found.append(f"I2: epoch {epoch} has a sample twice")
    return found


def _starts(records: list[Record], every: int) -> list[str]:
    found = []
    first: dict[tuple[str, int], Record] = {}
    for record in records:
        first.setdefault((record.attempt, record.rank), record)
    for (attempt, rank), record in first.items():
        if record.step != record.start:
            began = f"resumed from {record.start} but began at {record.step}"
            found.append(f"I4: attempt {attempt} of worker {rank} {began}")
    return found


def _one_owner(records: list[Record]) -> list[str]:
    """Records are in the order of time: once a newer attempt of a worker has begun, the older one is silent."""
    newest: dict[int, str] = {}
    found = []
    for record in records:
        current = newest.get(record.rank, "")
        if int(record.attempt.split("-")[0]) < int(current.split("-")[0] or 0):
            found.append(f"I5: attempt {record.attempt} still worked at step {record.step} after {current} had begun")
        else:
            newest[record.rank] = record.attempt
    return found


def _curve(run: Run, log_every: int, steps: int, ended: bool) -> list[str]:
    if not (run.out / "metrics.jsonl").is_file():
        return ["I6: there is no learning curve"] if ended else []
    logged = [int(row["step"]) for row in run.rows()]
    wanted = sorted({*range(log_every, steps + 1, log_every), steps})
    if len(set(logged)) != len(logged):
        return ["I6: the learning curve has a step twice"]
    missing = sorted(set(wanted) - set(logged)) if ended else []
    return [f"I6: the learning curve lacks steps {missing}"] if missing else []
