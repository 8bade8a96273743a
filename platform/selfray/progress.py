"""What a person sees while a pipeline runs: a live line on a terminal, plain lines elsewhere, nothing if quiet."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from .train.meter import Row  # imports torch

PLAIN_SECONDS = 10.0


class _Numbers(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("numbers", "")), style="cyan")


class Training:
    """A sink for rows that shows how training goes."""

    def __init__(self, console: Console, total: int, quiet: bool = False):
        self.console, self.total, self.quiet = console, total, quiet
        self.live = console.is_terminal and not quiet
        self.last, self.rate, self.health = -PLAIN_SECONDS, 0.0, ""
        self.warned: set[str] = set()
        self.bar = Progress(
            TextColumn("  [bold]step {task.completed:>6,.0f}[/] of {task.total:,.0f}"),
            BarColumn(bar_width=24),
            _Numbers(),
            console=console,
            transient=True,
            disable=not self.live,
        )
        self.task = self.bar.add_task("", total=total, numbers="starting workers ...")

    def __enter__(self) -> "Training":
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None) -> None:
        self.bar.stop()

    def __call__(self, row: "Row") -> None:
        """Show a row."""
        if "health/feature_std" in row:
            self.health = f"std {row['health/feature_std']:.2f} rank {row['health/rankme']:.0f}"
        numbers = self._numbers(row)
        self.bar.update(self.task, completed=row["step"], numbers=numbers)
        done = row["step"] >= self.total
        if not self.live and not self.quiet and (done or time.monotonic() - self.last >= PLAIN_SECONDS):
            self.last = time.monotonic()
            self.console.print(
                f"  step {row['step']:,.0f} of {self.total:,}  {numbers}", highlight=False, soft_wrap=True
            )

    def warn(self, sentence: str) -> bool:
        """Show a warning, once; returns whether it is new."""
        key = sentence.split(" is ")[0]
        new = key not in self.warned
        if new:
            self.warned.add(key)
            self.console.print(f"  [yellow]warning:[/] {sentence}", highlight=False, soft_wrap=True)
        return new

    def _numbers(self, row: "Row") -> str:
        speed = row["speed/samples_per_second"]
        self.rate = speed if not self.rate else 0.7 * self.rate + 0.3 * speed
        per_step = row["samples"] / row["step"]
        left = (self.total - row["step"]) * per_step / max(self.rate, 1e-9)
        parts = [
            f"loss {row['train/loss']:.3f}",
            f"{self.rate:,.0f} samples/s",
            f"{clock(left)} left",
            f"wait {row['speed/data_wait_share']:.0%}",
            self.health,
        ]
        return "  ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    """A duration for people: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
