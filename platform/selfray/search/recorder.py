"""What Ray Tune does, entered in the ledger, told to MLflow and shown; one thread, so one writer."""

import json
import time
from typing import Any

from ray import tune

from . import ledger
from .display import Display
from .space import short
from .track import SweepTracker
from .trial import Plan
from .tuning import id_of

DIED = "its process died, most often because the machine had no memory left; lower batch or --max-concurrent"


class Recorder(tune.Callback):
    """Follows the trials of one call of Tune.

    Args:
        plan: What all trials have in common.
        book: Where they are entered.
        tracker: MLflow.
        display: What is shown.
        kind: search, or repeat.
        deadline: Monotonic time after which a trial that ends was only interrupted.
    """

    def __init__(
        self,
        plan: Plan,
        book: ledger.Ledger,
        tracker: SweepTracker,
        display: Display,
        kind: str,
        deadline: float | None = None,
    ):
        self.plan, self.book, self.tracker, self.display = plan, book, tracker, display
        self.kind, self.deadline = kind, deadline

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore of its own, which never happens: the ledger has it all

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Enter a trial."""
        self._entered(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A judgement, or why the trial failed."""
        known = self._entered(trial)
        if known.ended or "row" not in result:
            return
        if result["failed"]:
            self._end(known.id, ledger.FAILED, result["failed"])
            return
        row = json.loads(result["row"])
        scores = {f"sweep/{key}": row[key] for key in ("score", "error") if key in row}
        measures = {f"health/{key}": row[key] for key in ("feature_std", "rankme", "uniformity") if key in row}
        self.book.refresh(known.id)
        self.tracker.rows(known.id, [*row.get("rows", []), {"step": row["step"], **scores, **measures}])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial went to its end, or the scheduler stopped it."""
        id = self._entered(trial).id
        known = self.book.refresh(id)
        if known.ended or not known.curve:
            return
        if known.curve[-1]["report"] >= self.plan.judged[-1][0]:
            self._end(id, ledger.FINISHED)
        elif self.deadline is None or time.monotonic() < self.deadline:
            self._end(id, ledger.STOPPED)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's process died, or there is a mistake in the program."""
        known = self._entered(trial)
        if known.ended:
            return
        error = trial.get_error() if hasattr(trial, "get_error") else None
        cause = getattr(error, "cause", None) or error
        named = type(cause).__name__ if cause is not None else ""
        lost = not named or any(word in named for word in ("ActorDied", "ActorUnavailable", "OutOfMemory", "NodeDied"))
        self._end(known.id, ledger.FAILED, DIED if lost else f"{named}: {' '.join(str(cause).split())[-200:]}")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Draw."""
        self.display.show(list(self.book.trials.values()))

    def _entered(self, trial: Any) -> ledger.Trial:
        told = json.loads(trial.config["trial"])
        id = id_of(self.plan, trial.trial_id, told)
        new = id not in self.book.trials
        if new:
            recipe = self.plan.of(told["settings"], told["seed"])
            self.book.add(id, told["settings"], told["seed"], self.kind, self.plan.total(recipe))
        elif self.book.trials[id].settings != told["settings"] and not self.book.trials[id].ended:
            self.book.update(id, settings=told["settings"])  # a population changes them on the way
        known = self.book.trials[id]
        if id not in self.tracker.known and not known.ended:
            parameters = {short(key): value for key, value in known.settings.items()} | {"seed": known.seed}
            self.tracker.trial(self.book.of(id), f"trial-{known.number:03d}", parameters)
        return known

    def _end(self, id: str, status: str, reason: str = "") -> None:
        self.book.refresh(id)
        ended = self.book.update(id, status=status, reason=reason)
        self.tracker.end(id, status, reason)
        self.display.ended(ended)
