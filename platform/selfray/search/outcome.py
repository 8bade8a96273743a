"""What a sweep found: the best settings, their uncertainty, which knob mattered, and what stopping early saved."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..recipe import Recipe
from . import ledger, metric
from .ledger import FAILED, FINISHED, STOPPED, Trial
from .space import Settings, Space, apply, short
from .tuning import describe

FEWEST_TRIALS = 8
"""Fewer points than this and a forest's importances are noise."""


@dataclass(frozen=True)
class Group:
    """The trials of one setting, over seeds."""

    settings: Settings
    scores: tuple[float, ...]
    error: float  # of the mean: over seeds where there are several, else of the probe's own samples
    complete: bool
    reached: float  # share of the steps

    @property
    def mean(self) -> float:
        """Mean score."""
        return float(np.mean(self.scores))


def groups(trials: Sequence[Trial]) -> list[Group]:
    """Settings with the scores of their seeds; failed trials are not among them."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(json.dumps(trial.settings, sort_keys=True), []).append(trial)
    made = []
    for same in found.values():
        judged = [t for t in same if t.status != FAILED and t.score is not None]
        if not judged:
            continue
        scores = tuple(float(t.score or 0.0) for t in judged)
        if len(scores) > 1:
            error = float(np.std(scores, ddof=1)) / math.sqrt(len(scores))
        else:
            error = float(judged[0].curve[-1].get("error", 0.0))
        reached = min(t.steps / max(t.total, 1) for t in judged)
        complete = len(judged) == len(same) and all(t.status == FINISHED for t in same)
        made.append(Group(judged[0].settings, scores, error, complete, reached))
    return made


def best(trials: Sequence[Trial], mode: str) -> Group | None:
    """The best settings: of those that went all the way with every seed, else of those that got furthest."""
    known = groups(trials)
    if not known:
        return None
    sign = 1.0 if mode == "max" else -1.0
    furthest = max(group.reached for group in known)
    among = [g for g in known if g.complete] or [g for g in known if g.reached == furthest]
    return max(among, key=lambda group: sign * group.mean)


def importance(trials: Sequence[Trial], keys: Sequence[str]) -> dict[str, Any]:
    """How much each knob matters: the loss of a forest's fit when that knob's values are shuffled among the trials.

    How far a trial came is a feature, too, so that early-stopped ones count without looking like bad settings.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    used = [t for t in trials if t.status != FAILED and t.score is not None]
    varied = [key for key in keys if len({_text(t.settings.get(key)) for t in used}) > 1]
    if len(used) < FEWEST_TRIALS or not varied:
        return {"knobs": [], "explained": None, "trials": len(used)}
    columns = [_column([t.settings.get(key) for t in used]) for key in varied]
    columns.append([t.steps / max(t.total, 1) for t in used])
    features, scores = np.array(columns).T, np.array([t.score for t in used], dtype=float)
    if np.ptp(scores) == 0:
        return {"knobs": [], "explained": None, "trials": len(used)}
    forest = RandomForestRegressor(n_estimators=200, oob_score=True, random_state=0, min_samples_leaf=2)
    forest.fit(features, scores)
    found = permutation_importance(forest, features, scores, n_repeats=20, random_state=0)
    knobs = [
        {"key": key, "mean": float(mean), "deviation": float(deviation)}
        for key, mean, deviation in zip(varied, found.importances_mean, found.importances_std, strict=False)
    ]
    knobs.sort(key=lambda knob: -knob["mean"])  # type: ignore[operator]
    return {"knobs": knobs, "explained": float(forest.oob_score_), "trials": len(used)}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _column(values: list[Any]) -> list[float]:
    """Numbers as they are (ranges of decades by their logarithm), others by their place; -1 where there is none."""
    if all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in values):
        known = [v for v in values if v is not None]
        logarithmic = min(known) > 0 and max(known) / min(known) > 20
        scaled = [None if v is None else math.log(v) if logarithmic else float(v) for v in values]
        least = min(v for v in scaled if v is not None)
        return [least - 1.0 if v is None else v for v in scaled]
    places = sorted({_text(v) for v in values if v is not None})
    return [-1.0 if v is None else float(places.index(_text(v))) for v in values]


def saved(trials: Sequence[Trial]) -> dict[str, float]:
    """Steps trained, steps of as many whole trials, and the share that stopping saved."""
    ended = [t for t in trials if t.status in (FINISHED, STOPPED)]
    taken, whole = sum(t.steps for t in ended), sum(t.total for t in ended)
    return {"steps": taken, "whole": whole, "share": 1 - taken / whole if whole else 0.0}


def collect(space: Space, name: str, mode: str, book: ledger.Ledger) -> dict[str, Any]:
    """The sweep in plain values, as trials.json has it."""
    searched, repeats = book.of_kind("search"), book.of_kind("repeat")
    top = best(searched, mode)
    again = [float(t.score) for t in repeats if t.status == FINISHED and t.score is not None]
    return {
        "metric": name,
        "mode": mode,
        "search": space.search,
        "scheduler": space.scheduler,
        "knobs": [short(key) for key in space.order()],
        "best": top and {"settings": top.settings, "score": top.mean, "error": top.error, "seeds": len(top.scores)},
        "repeat": {"scores": again, "mean": float(np.mean(again)), "deviation": float(np.std(again, ddof=1))}
        if len(again) > 1
        else None,
        "importance": importance(searched, space.order()),
        "saved": saved(searched),
        "counts": {s: sum(t.status == s for t in searched) for s in (FINISHED, STOPPED, FAILED, ledger.RUNNING)},
        "trials": [plain(t) for t in book.trials.values()],
    }


def plain(trial: Trial) -> dict[str, Any]:
    """A trial as plain values."""
    keys = ("id", "number", "kind", "status", "reason", "seed", "settings", "score", "steps", "total", "seconds")
    found = {key: getattr(trial, key) for key in keys}
    rows = [{k: row[k] for k in ("report", "step", "score", "error") if k in row} for row in trial.curve]
    return {**found, "curve": rows}


def write(folder: Path, recipe: Recipe, found: dict[str, Any]) -> None:
    """`trials.json`, `trials.parquet` and `best.yaml`, a pipeline file that needs nothing else."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ledger.whole(folder / "trials.json", json.dumps(found, indent=1))
    rows = [
        {k: v for k, v in trial.items() if k not in ("settings", "curve")}
        | {short(k): v if isinstance(v, int | float | str) else _text(v) for k, v in trial["settings"].items()}
        for trial in found["trials"]
    ]
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        pq.write_table(pa.table({c: _arrow([row.get(c) for row in rows]) for c in columns}), folder / "trials.parquet")
    if found["best"]:
        chosen = apply(recipe, found["best"]["settings"])
        chosen = chosen.model_copy(update={"name": f"{recipe.name}-best"})
        score = metric.shown(found["metric"], found["best"]["score"])
        said = f"# {describe(found['best']['settings'])}: {score} ({metric.settle(found['metric'])})\n"
        ledger.whole(folder / "best.yaml", f"# Found by selfray sweep in {folder.name}.\n{said}{chosen.to_yaml()}")


def _arrow(values: list[Any]) -> list[Any]:
    """A column of one type: numbers if all are, else text."""
    if all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in values):
        whole = all(v is None or isinstance(v, int) for v in values)
        return values if whole else [None if v is None else float(v) for v in values]
    return [None if v is None else str(v) for v in values]
