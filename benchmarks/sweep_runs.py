"""What the benchmarks of sweeps share: `selfray sweep` as users call it, its trials as rows, and their uncertainty."""

import hashlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import machine
import quality
from quality import Row

TRIALS = quality.Ledger("sweeps", "sweep", "value", "seed")
"""Every trial of these sweeps with its probe and its label-free scores; `selection.py` reads them, too."""
SCORES = ("feature_std", "rankme", "uniformity")
COMMON = (
    *("corpus.path=null", "corpus.fetch=fashion-mnist", "register=null"),
    *("gpu=false", "workers=0", "threads=1", "compile=false"),
    *("batch=256", "lanes=8", "warmup=0.1", "optimizer.name=adamw", "optimizer.lr=2e-3", "optimizer.weight_decay=1e-4"),
    *("views.size=null", "views.flip=0.5", "views.blur=0.0"),
)
"""What makes a pipeline for many GPUs one for two cores: the network and budget of `quality_image.py`, smaller."""
SMALL = (
    *("encoder.name=conv", "encoder.width=32", "encoder.stages=3"),
    *("views.scale=[0.3,1.0]", "views.brightness=0.4", "views.contrast=0.4"),
)
"""The convolutions and views of the methods that compare views."""


@dataclass(frozen=True)
class Asked:
    """One call of `selfray sweep`: a pipeline, a space, `key=value` pairs and options."""

    pipeline: str
    space: str
    overrides: tuple[str, ...]
    options: tuple[str, ...] = ("--max-concurrent", "2")

    @property
    def fingerprint(self) -> str:
        """A number for everything that is asked for."""
        text = Path(self.space).read_text(encoding="utf-8") if Path(self.space).is_file() else self.space
        return hashlib.sha256(json.dumps([self.pipeline, text, *self.overrides]).encode()).hexdigest()[:12]

    def arguments(self) -> list[str]:
        """The command line behind `selfray`, without `--out`."""
        return ["sweep", self.pipeline, "--space", self.space, *self.overrides, *self.options]

    def shown(self, width: int = 116) -> list[str]:
        """The command as a page shows it, in lines that can be pasted."""
        lines, line = [], "selfray"
        for word in self.arguments():
            word = f"'{word}'" if any(letter in word for letter in "[]{} ") else word
            if len(line) + len(word) + 3 > width:
                lines.append(f"{line} \\")
                line = f"  {word}"
            else:
                line = f"{line} {word}"
        return [*lines, line]


def selfray(*arguments: str) -> float:
    """Run the command line in a process of its own; returns the seconds it took.

    Raises:
        SystemExit: the command failed, with its exit status; the same call of the benchmark goes on.
    """
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "selfray", *arguments], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return time.monotonic() - begun


def sweep(asked: Asked, out: Path) -> float:
    """Run a sweep, or go on with it; returns the seconds of this call."""
    return selfray(*asked.arguments(), "--out", str(out))


def trials(out: Path) -> list[Any]:
    """The trials of a sweep's folder that have ended."""
    from selfray.search.ledger import Ledger

    return [trial for trial in Ledger(out).of_kind("search") if trial.ended]


def row(name: str, value: str, trial: Any, fingerprint: str) -> Row:
    """A trial as a ledger keeps it: probe, label-free scores, loss, time, place."""
    last = trial.curve[-1] if trial.curve else {}
    losses = [number["train/loss"] for number in last.get("rows", []) if "train/loss" in number]
    return {
        "sweep": name,
        "value": value,
        "seed": trial.seed,
        "settings": fingerprint,
        "status": trial.status,
        "reason": trial.reason,
        "linear": last.get("score"),
        "error": last.get("error"),
        "scores": {score: round(last[score], 4) for score in SCORES if score in last},
        "loss": round(losses[-1], 4) if losses else None,
        "steps": trial.steps,
        "seconds": round(trial.seconds, 1),
        **place(),
    }


def place() -> Row:
    """Where and when something was measured."""
    facts = machine.facts()
    return {"machine": f"{facts['cpu']}, {facts['cores']} cores", "date": facts["date"], "commit": facts["commit"]}


def known(name: str, fingerprint: str) -> list[Row]:
    """The rows of a sweep with these settings."""
    return [one for one in TRIALS.rows() if one["sweep"] == name and one["settings"] == fingerprint]


def newest(ledger: quality.Ledger, **like: Any) -> Row:
    """The result that was added last of those with these fields; a ledger's own order is that of first results."""
    lines = ledger.file.read_text(encoding="utf-8").splitlines()
    return next(row for row in map(json.loads, reversed(lines)) if row.items() >= like.items())


def finished(rows: Sequence[Row]) -> list[Row]:
    """Rows of trials that went to their end."""
    return [one for one in rows if one["status"] == "finished" and one["linear"] is not None]


def by_value(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Probe accuracies of the seeds of each value, in the order in which values come."""
    found: dict[str, list[float]] = {}
    for one in rows:
        found.setdefault(one["value"], []).append(one["linear"])
    return found


def seed_noise(scores: Mapping[str, Sequence[float]]) -> tuple[float, int]:
    """Deviation of a run over seeds, pooled over all settings that have several, and its degrees of freedom."""
    groups = [values for values in scores.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in groups)
    if not freedom:
        return math.nan, 0
    return math.sqrt(sum((len(values) - 1) * variance(values) for values in groups) / freedom), freedom


def standard_error(values: Sequence[float]) -> float:
    """Of the mean over seeds; 0 for one seed, which says nothing."""
    return math.sqrt(variance(values) / len(values)) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class Difference:
    """How much lower one mean is than another, in units of the score."""

    value: str
    below: float
    error: float  # standard error of the difference, by the pooled deviation over seeds
    clear: bool  # beyond what 95 in 100 differences of equal settings would show (Student's t)


def below_best(scores: Mapping[str, Sequence[float]]) -> tuple[str, dict[str, Difference]]:
    """The value with the highest mean, and how far every value is below it."""
    from scipy.stats import t

    noise, freedom = seed_noise(scores)
    top = max(scores, key=lambda value: fmean(scores[value]))
    limit = float(t.ppf(0.975, freedom)) if freedom else math.inf
    found = {}
    for value, of in scores.items():
        below = fmean(scores[top]) - fmean(of)
        error = noise * math.sqrt(1 / len(of) + 1 / len(scores[top])) if freedom else math.nan
        found[value] = Difference(value, below, error, bool(freedom) and below > limit * error)
    return top, found


def write_page(name: str, lines: list[str]) -> None:
    """Write docs/results/sweeps/NAME.md."""
    (quality.PAGES / "sweeps").mkdir(parents=True, exist_ok=True)
    quality.write_page(f"sweeps/{name}", lines)


def provenance(rows: Sequence[Row]) -> str:
    """Where, when and from which code rows come."""
    places = "; ".join(sorted({row["machine"] for row in rows}))
    dates = sorted({row["date"][:10] for row in rows})
    commits = ", ".join(sorted({row["commit"] for row in rows}))
    return f"{places}; {dates[0] if len(dates) == 1 else f'{dates[0]} to {dates[-1]}'}, commit {commits}."


def points(share: float) -> str:
    """A difference of accuracies in percentage points."""
    return f"{100 * share:.1f}"
