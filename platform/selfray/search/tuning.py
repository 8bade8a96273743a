"""Ray Tune: schedulers, searchers, and trials as functions in actors that are used again and again."""

import json
import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..recipe import Recipe, flat
from . import ledger, trial
from .draw import feasible, identity, nudged
from .space import Settings, Space, short
from .trial import Plan

WORST = 1e9
"""What a failed trial reports; schedulers and searchers only rank scores, and some cannot take infinities."""
ASKED_AGAIN = 100  # times that a searcher may propose settings against the constraints


def member(trial_id: str) -> str:
    """The id of a population's member: its place, since its settings change."""
    return f"member-{trial_id.rpartition('_')[2]}"


def id_of(plan: Plan, trial_id: str, told: dict[str, Any]) -> str:
    """The ledger's id of one of Ray's trials."""
    return member(trial_id) if plan.exchanges else identity(told["settings"], told["seed"])


def trainable(config: dict[str, Any], *, plan: Plan, worst: float) -> None:
    """What an actor runs for a trial."""
    from ray import tune

    told = json.loads(config["trial"])
    id = id_of(plan, tune.get_context().get_trial_id(), told)

    def report(row: ledger.Row, checkpoint: Path | None) -> None:
        numbers = {"report": row["report"], "score": row["score"], "row": json.dumps(row), "failed": ""}
        if not plan.exchanges or checkpoint is None:
            tune.report(numbers)
            return
        with tempfile.TemporaryDirectory(prefix="selfray-") as parcel:
            shutil.copytree(checkpoint, Path(parcel) / checkpoint.name)
            (Path(parcel) / "judged.json").write_text(json.dumps({**row, "id": id}), encoding="utf-8")
            tune.report(numbers, checkpoint=tune.Checkpoint.from_directory(parcel))

    found = tune.get_checkpoint() if plan.exchanges else None
    if found is None:
        reason = trial.run(plan, id, told["settings"], told["seed"], report)
    else:
        with found.as_directory() as parcel:
            reason = trial.run(plan, id, told["settings"], told["seed"], report, Path(parcel))
    if reason:
        tune.report({"report": plan.judged[-1][0], "score": worst, "row": "", "failed": reason})


def scheduler(space: Space, recipe: Recipe) -> Any:
    """The scheduler of a space."""
    from ray.tune import schedulers

    last = space.judged()[-1][0]
    if space.scheduler == "asha":
        return schedulers.AsyncHyperBandScheduler(
            time_attr="report", max_t=last, grace_period=1, reduction_factor=space.reduction
        )
    if space.scheduler == "hyperband":
        return schedulers.HyperBandScheduler(time_attr="report", max_t=last, reduction_factor=space.reduction)
    if space.scheduler == "pbt":
        random = np.random.default_rng(space.seed + 1)

        def explore(config: dict[str, Any]) -> dict[str, Any]:
            told = json.loads(config["trial"])
            told["settings"] = nudged(space, recipe, told["settings"], random)
            return {**config, "trial": json.dumps(told)}

        return schedulers.PopulationBasedTraining(
            time_attr="report", perturbation_interval=1, custom_explore_fn=explore, log_config=False
        )
    return schedulers.FIFOScheduler()


def optuna(space: Space, recipe: Recipe, mode: str, earlier: Sequence[Settings]) -> Any:
    """Optuna's tree-structured Parzen estimator, through Ray Tune's own integration.

    Raises:
        UserError: optuna is not installed.
    """
    try:
        import optuna as library
    except ImportError:
        raise UserError(
            "search: optuna needs the package optuna; install it with: pip install 'selfray[optuna]'"
        ) from None
    from ray.tune.search import Searcher
    from ray.tune.search.optuna import OptunaSearch

    library.logging.set_verbosity(library.logging.ERROR)
    base = flat(recipe.plain())

    def propose(asked: Any) -> dict[str, Any]:
        found: Settings = {}
        for key in space.order():
            values = space.active(key, found, base)
            if values is None:
                continue
            name = f"{key}#{[v for k, v in space.branches() if k == key].index(values)}"
            if values.choice is not None:  # by number: Optuna takes no lists
                found[key] = values.choice[asked.suggest_categorical(name, list(range(len(values.choice))))]
                continue
            low, high = values.bounds
            found[key] = values.rounded(asked.suggest_float(name, low, high, log=values.loguniform is not None))
        return {"settings": json.dumps(found)}

    seed = space.seed + len(earlier)  # what was asked for before is not proposed again
    points = [_point(space, base, settings) for settings in earlier]
    inner = OptunaSearch(space=propose, metric="score", mode=mode, points_to_evaluate=points, seed=seed)

    class Feasible(Searcher):
        """Asks again where the constraints are not met or a trial would be done twice, and lets Optuna know."""

        def __init__(self) -> None:
            super().__init__(metric="score", mode=mode)
            self.names: dict[str, str] = {}  # Ray's trial -> the one that Optuna knows
            self.seen: set[str] = set()

        def suggest(self, trial_id: str) -> dict[str, Any] | None:
            for again in range(ASKED_AGAIN):
                name = f"{trial_id}/{again}"
                settings = json.loads((inner.suggest(name) or {})["settings"])
                id = identity(settings, recipe.seed)
                if id not in self.seen and feasible(space, recipe, settings):
                    self.names[trial_id] = name
                    self.seen.add(id)
                    return {"trial": json.dumps({"settings": settings, "seed": recipe.seed})}
                inner.on_trial_complete(name, error=True)
            finished: Any = Searcher.FINISHED  # a bare None would be asked again for ever
            return finished

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            pass  # Optuna's own pruning is off; the scheduler stops trials

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            inner.on_trial_complete(self.names[trial_id], result, error)

        def save(self, checkpoint_path: str) -> None:
            pass  # the ledger is what a sweep is continued from

        def restore(self, checkpoint_path: str) -> None:
            raise NotImplementedError

    return Feasible()


def _point(space: Space, base: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Settings as Optuna's parameters."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        values = space.active(key, settings, base)
        if values is not None:
            name = f"{key}#{[v for k, v in space.branches() if k == key].index(values)}"
            found[name] = values.choice.index(value) if values.choice is not None else value
    return found


def room(gpus: float, share: float) -> int:
    """Trials that fit on GPUs at once: a trial's share lies on one of them, so what is left of each stays unused."""
    return max(1, int(gpus) * int(1 / share + 1e-9))


def resources(cpus: float, concurrent: int, gpu: float) -> dict[str, float]:
    """What a trial asks of Ray: its part of the CPUs, rounded down so that all fit at once, and its GPU share if any.

    Args:
        cpus: Of the cluster.
        concurrent: Trials at once.
        gpu: Share of one GPU; 0 for none.
    """
    return {"cpu": max(0.01, int(100 * cpus / concurrent) / 100), **({"gpu": gpu} if gpu else {})}


def tune_all(
    plan: Plan,
    mode: str,
    folder: Path,
    concurrent: int,
    gpu: float,
    callback: Any,
    chosen: Sequence[dict[str, Any]] = (),
    searcher: Any = None,
    count: int = 0,
    stopping: Any = None,
    seconds: float | None = None,
) -> None:
    """Let Ray Tune run trials: those of `chosen`, or `count` that a searcher proposes.

    Args:
        plan: What all trials have in common.
        mode: Whether the highest (max) or lowest (min) score is the best.
        folder: Scratch space for Ray; nothing is ever read back from it.
        concurrent: Trials at once.
        gpu: GPU of a trial.
        callback: A `ray.tune.Callback`.
        chosen: Settings and seed of each trial.
        searcher: Who proposes them instead.
        count: How many it may propose.
        stopping: A scheduler.
        seconds: After which no trial goes on.
    """
    import ray
    from ray import tune

    worst = -WORST if mode == "max" else WORST
    work: Any = tune.with_resources(
        tune.with_parameters(trainable, plan=plan, worst=worst),
        resources(ray.cluster_resources().get("CPU", 1.0), concurrent, gpu),
    )
    name: Callable[[Any], str] = lambda one: str(one.trial_id)  # noqa: E731
    shutil.rmtree(folder, ignore_errors=True)
    tuner = tune.Tuner(
        work,
        param_space={} if searcher else {"trial": tune.grid_search([json.dumps(one) for one in chosen])},
        tune_config=tune.TuneConfig(
            metric="score",
            mode=mode,
            scheduler=stopping,
            search_alg=searcher,
            num_samples=count if searcher else 1,
            max_concurrent_trials=concurrent,
            time_budget_s=seconds,
            reuse_actors=True,
            trial_name_creator=name,
            trial_dirname_creator=name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            callbacks=[callback],
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=1),  # a killed actor goes on from its own checkpoint
        ),
    )
    before = signal.getsignal(signal.SIGINT)
    try:
        tuner.fit()
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)  # Tune's own stays, and would swallow the next Ctrl-C
    shutil.rmtree(folder, ignore_errors=True)


def prepare_ray() -> None:
    """Connect to Ray, or start it here, quietly and as trials like it."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")  # trials train in a thread: launch.ONE_ARENA
    from .. import cluster

    logging.getLogger("ray.tune").setLevel(logging.ERROR)  # it misses result files that nobody needs
    cluster.start()


def describe(settings: Settings) -> str:
    """Settings in one line."""
    return ", ".join(f"{short(key)}={value}" for key, value in settings.items())
