"""The training loop: the same for one process and for many workers, for every objective and data type."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ..corpus import stream
from ..corpus.order import mix
from ..corpus.stream import Batch, Plan
from ..errors import UserError
from ..objectives.objective import Embeddings, Objective
from ..parts.norm import synchronise
from ..recipe import Pretrain, Recipe
from ..views.random import sample_keys
from . import build, device, distributed, health, optimizers, rules, walk
from .checkpoint import Checkpoints
from .meter import Meter, Row
from .schedule import learning_rate_factor
from .start import begins_with
from .trace import Trace


@dataclass(frozen=True)
class Job:
    """All that a worker needs; plain values, so that it can travel to any machine."""

    recipe: Recipe
    corpus: str | dict[str, float]  # where the prepared corpus is; or several, with the weight of each
    run: str  # folder of the run


class Interrupted(Exception):
    """Training was asked to stop; its state is saved."""


Record = Callable[[Row], None]
Source = Callable[[Plan, int, int, float], Iterator[Batch]]


def total_steps(settings: Pretrain, steps_per_epoch: int) -> int:
    """Steps of a whole run."""
    return settings.steps or max(1, round((settings.epochs or 0) * steps_per_epoch))


def divisible(plan: Plan, settings: Pretrain) -> None:
    """Raise a UserError unless batches can be cut as the settings ask."""
    for own in worker_batches(plan):
        if own % settings.accumulate:
            raise UserError(f"accumulate {settings.accumulate} does not divide a worker's batch of {own}")


def worker_batches(plan: Plan) -> list[int]:
    """Samples of each worker in a step."""
    return [replace(plan, rank=rank).per_step for rank in range(plan.world)]


def train(
    job: Job,
    record: Record,
    source: Source = stream.local,
    stop: Callable[[], bool] = lambda: False,
    notice: Callable[[], bool] = lambda: False,
) -> int:
    """Train until the recipe's last step, from the newest checkpoint if there is one; returns the steps taken.

    Args:
        job: What to train.
        record: Called on the first worker with a row of numbers now and then.
        source: Where batches come from.
        stop: Asked after every step; when true, the state is saved and `Interrupted` is raised.
        notice: Asked on every worker after each `log_every` steps; when it becomes true, because a node is about to
            be lost, the state is saved at once and training goes on.

    Raises:
        UserError: what the recipe asks for is impossible here, or the loss is not finite.
    """
    with Checkpoints.of(job.recipe.pretrain.checkpoint, job.run) as checkpoints:
        return _train(job, record, source, stop, notice, checkpoints)


def _train(
    job: Job,
    record: Record,
    source: Source,
    stop: Callable[[], bool],
    notice: Callable[[], bool],
    checkpoints: Checkpoints,
) -> int:
    settings, seed = job.recipe.pretrain, job.recipe.seed
    rank, world = distributed.rank(), distributed.world()
    place = device.choose(settings.gpu)
    torch.set_num_threads(device.threads(settings))
    device.keep_memory()
    plan = stream.plan(job.corpus, settings.batch, seed, settings.lanes, settings.max_samples)
    plan = replace(plan, rank=rank, world=world)
    divisible(plan, settings)
    distributed.share(worker_batches(plan))
    total = total_steps(settings, plan.order.steps)
    objective = build.objective(settings, plan.manifest, seed, begins_with(settings, job.run))
    if world > 1 and objective.synchronised_batch_norm:
        synchronise(objective)
    objective.to(place).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = optimizers.build(modules=[objective], **settings.optimizer)
    start = _resume(checkpoints, objective, optimizer)
    step_module = build.Step(objective, build.views(settings, plan.manifest.facts))
    model = _wrapped(step_module, settings, place, total)
    precision = device.precision(settings.precision, place)
    meter, saved_at, done = Meter(settings.batch), time.monotonic(), start
    trace = Trace(job.run, rank, world, start) if settings.trace else None
    warned = False
    latest: Row = {}

    for batch, samples, ids in meter.timed(device.fed(source(plan, start, total, settings.stall_seconds), place)):
        done = batch.step + 1
        if trace:
            trace(batch)  # before the gradients meet: a step that one worker finished is noted by all
        factor = learning_rate_factor(batch.step, total, settings.warmup, settings.final_lr)
        for group in optimizer.param_groups:
            group["lr"] = settings.optimizer["lr"] * factor
        if batch.step % plan.order.steps == 0:
            look = partial(
                walk.embeddings, step_module, source, plan, batch.epoch, place, precision, settings.stall_seconds
            )
            _begin_epoch(objective, optimizer, batch.epoch, seed, look)
        torch.manual_seed(mix(seed, batch.step, rank) >> 1)
        keys = sample_keys(ids, seed, batch.epoch)
        loss, scalars = _backward(model, (samples, keys, ids), settings.accumulate, precision)
        norm = _clip(objective, settings.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step(done / total)
        meter.add(loss, scalars, norm)

        stopping, leaving = stop(), False
        if done % settings.log_every == 0 or done == total:
            warned, before = notice(), warned
            leaving = warned and not before
            row = meter.row(done, plan.order.steps, settings.optimizer["lr"] * factor)
            rules.stop_if_not_finite(row.pop("train/not_finite"), done)
            if rank == 0 and (done % settings.health_every < settings.log_every or done == total):
                row |= _look(step_module, samples, keys)
            if rank == 0:
                record(row | ({"checkpoint/failed": checkpoints.failures} if checkpoints.failures else {}))
                latest = row
        if rank == 0 and _due(settings, done, total, saved_at, stopping or leaving):
            if meter.bad():
                rules.stop_if_not_finite(1.0, done)
            notes = {"samples": done * settings.batch, "world": world}
            if leaving:
                checkpoints.wait()  # so that this one is not left out
            if checkpoints.save(done, objective, optimizer, notes, latest, needed=stopping or done == total):
                saved_at = time.monotonic()
            if leaving:
                checkpoints.wait()
        if stopping and done < total:
            raise Interrupted(f"stopped after step {done} of {total}")
    return done


def _begin_epoch(objective: Objective, optimizer: Optimizer, epoch: int, seed: int, embeddings: Embeddings) -> None:
    """Let the objective look at the corpus, and the optimizer forget what was made anew."""
    torch.manual_seed(mix(seed, epoch) >> 1)  # the same on all workers
    for parameter in objective.before_epoch(epoch, embeddings):
        optimizer.state.pop(parameter, None)


def _backward(
    model: nn.Module, batch: Sequence[Tensor], parts: int, precision: torch.dtype
) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradients of the mean loss over the parts of a batch; the last part's backward pass averages over workers."""
    results = []
    for i, part in enumerate(zip(*(column.chunk(parts) for column in batch), strict=True)):
        alone = isinstance(model, DistributedDataParallel) and i < parts - 1
        with model.no_sync() if alone else nullcontext():  # type: ignore[operator]
            with torch.autocast(part[0].device.type, precision, enabled=precision != torch.float32):
                loss, scalars = model(*part)
            (loss / (parts / distributed.weight())).backward()  # a worker with more samples counts for more
        results.append((loss.detach(), scalars))
    mean = torch.stack([loss for loss, _ in results]).mean()
    return mean, {name: torch.stack([s[name] for _, s in results]).mean() for name in results[0][1]}


def _clip(objective: Objective, largest: float | None) -> Tensor:
    """The gradient norm, after scaling gradients down to `largest` if they are longer."""
    gradients = [p for p in objective.parameters() if p.grad is not None]
    return torch.nn.utils.clip_grad_norm_(gradients, largest or float("inf"), foreach=True)


def _wrapped(step: build.Step, settings: Pretrain, place: torch.device, steps: int) -> nn.Module:
    model: nn.Module = step
    if device.compiles(settings.compile, place, steps):
        model = torch.compile(step)  # type: ignore[assignment]
    if distributed.world() > 1:
        # Batch-norm statistics are synchronised or meant to differ, queues are identical: nothing to broadcast.
        model = DistributedDataParallel(model, forward_sync_buffers=False)
    return model


def _resume(checkpoints: Checkpoints, objective: Objective, optimizer: Optimizer) -> int:
    """Continue from the newest checkpoint that the first worker finds; returns its step."""
    found: list[Any] = [None]
    if distributed.rank() == 0:
        checkpoints.own()
        found = [checkpoints.newest()]
    if distributed.world() > 1:
        torch.distributed.broadcast_object_list(found, src=0)
    return checkpoints.restore(found[0], objective, optimizer) if found[0] else 0


def _due(settings: Pretrain, done: int, total: int, saved_at: float, stopping: bool) -> bool:
    marks = [steps for steps in (settings.checkpoint.every_steps, settings.checkpoint.keep_every) if steps]
    late = time.monotonic() - saved_at > 60 * settings.checkpoint.every_minutes
    return done == total or stopping or late or any(done % steps == 0 for steps in marks)


@torch.no_grad()
def _look(step: build.Step, samples: Tensor, keys: Tensor) -> Row:
    """Collapse measures of what the encoder, as it would be used, makes of up to 256 samples."""
    embedding = walk.embed_plain(step, samples[:256], keys[:256])
    with walk.evaluating(step.objective) as objective:
        measures = health.measures(embedding, objective.projection(embedding))
    return {name: float(value) for name, value in measures.items()}
