"""What a person sees of a sweep: a live table on a terminal, a line for each trial that ends elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ..progress import clock
from . import metric
from .ledger import FAILED, RUNNING, Trial
from .tuning import describe

SHOWN = 12  # trials at once
REFRESH_SECONDS = 0.5


class Display:
    """Shows trials as they go."""

    def __init__(self, console: Console, name: str, better: str, quiet: bool = False):
        self.console, self.name, self.better, self.quiet = console, name, better, quiet
        self.begun = self.last = time.monotonic()
        self.count = 0
        self.live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "Display":
        if self.live and not self.quiet:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.live and not self.quiet:
            self.live.stop()

    def show(self, trials: Sequence[Trial], at_once: bool = False) -> None:
        """Draw the table, at most twice a second."""
        now = time.monotonic()
        if not self.live or self.quiet or not (at_once or now - self.last > REFRESH_SECONDS):
            return
        self.last = now
        self.live.update(table(trials, self.name, self.better, self.count, now - self.begun), refresh=True)

    def ended(self, trial: Trial) -> None:
        """Say how a trial ended."""
        if not self.quiet and not self.live:
            self.console.print(f"  {line(trial, self.name)}", highlight=False, soft_wrap=True)


def line(trial: Trial, name: str) -> str:
    """A trial in one line."""
    score = metric.shown(name, trial.score)
    end = trial.reason if trial.status == FAILED else f"{score} at step {trial.steps:,} of {trial.total:,}"
    return f"trial {trial.number:>3}  {trial.status:<8} {describe(trial.settings)}  seed {trial.seed}  {end}"


def best_first(trials: Sequence[Trial], better: str) -> list[Trial]:
    """Trials by score; those without one last."""
    sign = -1.0 if better == "max" else 1.0
    return sorted(trials, key=lambda t: (t.status == FAILED, t.score is None, sign * (t.score or 0.0)))


def table(trials: Sequence[Trial], name: str, better: str, count: int, seconds: float) -> Table:
    """The running trials and the best of the others."""
    running = [trial for trial in trials if trial.status == RUNNING]
    rest = best_first([trial for trial in trials if trial.ended], better)[: max(3, SHOWN - len(running))]
    ended = sum(trial.ended for trial in trials)
    title = f"{ended} of {count} trials, {len(running)} running, {clock(seconds)}"
    shown = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2), header_style="bold")
    for column in ("trial", "settings", "seed", "steps", name, ""):
        shown.add_column(column, overflow="fold")
    for trial in [*running, *rest]:
        done = f"{trial.steps:,} / {trial.total:,}"
        shown.add_row(
            str(trial.number),
            describe(trial.settings),
            str(trial.seed),
            done,
            metric.shown(name, trial.score),
            trial.status if trial.status != FAILED else f"failed: {trial.reason[:60]}",
        )
    return shown
