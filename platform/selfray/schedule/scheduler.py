"""A scheduler in the foreground: waits for what is due, runs it as a program of its own, and keeps a history."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from .. import paths, recipe
from ..errors import UserError
from ..settings import Recipe, Schedule
from ..stages.pipeline import folder
from ..storage import Storage
from .cron import Cron
from .due import choose
from .history import FOLDER, History
from .lease import BUSY, DONE, Lease, Leases

POLL_SECONDS = 20.0
RETRY_SECONDS = 600.0
STAYS_DUE = (BUSY, "interrupted", "away")
ENDS = {0: "done", 3: "refused", 75: "away", 124: "too long", 130: "interrupted"}


class Job:
    """A pipeline file with its schedule."""

    def __init__(self, file: str | Path, overrides: Sequence[str] = ()):
        self.file, self.overrides = recipe.locate(file).resolve(), list(overrides)
        self.recipe: Recipe = recipe.load(file, overrides)
        if self.recipe.schedule is None:
            raise UserError(f"{file} has no schedule; add schedule: {{cron: '30 2 * * *', timezone: UTC}}")
        self.schedule: Schedule = self.recipe.schedule
        self.cron = Cron(self.schedule.cron, self.schedule.timezone)
        self.history = History(self.recipe.name)
        place = Storage.at(self.schedule.leases or paths.runs() / FOLDER / "leases")
        self.leases = Leases(place, self.recipe.name)


class Scheduler:
    """Runs pipelines when they are due, one at a time.

    Args:
        jobs: The pipelines.
        console: Where to say what happens.
        clock: What time it is.
    """

    def __init__(
        self, jobs: Sequence[Job], console: Console, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ):
        self.jobs, self.console, self.clock = jobs, console, clock
        self.stopping = threading.Event()

    def begin(self, late: bool = False) -> None:
        """Note where a pipeline's history begins: now, or if `late` as far back as a run may begin late."""
        for job in self.jobs:
            if job.history.dealt_with() is None:
                moment = self.clock() - timedelta(minutes=job.schedule.late_minutes if late else 0)
                job.history.add(due=moment.astimezone(UTC).isoformat(), status="scheduled")

    def loop(self) -> None:
        """Run what is due until asked to stop by Ctrl-C or SIGTERM."""
        self.begin()
        again: dict[str, float] = {}  # when to try again what was away
        for job in self.jobs:
            self._say(f"{job.recipe.name}: {job.cron.explained}, {job.cron.timezone}; next {self._next(job)}")
        with self._asked():
            while not self.stopping.is_set():
                for job in self.jobs:
                    if time.monotonic() < again.get(job.recipe.name, 0.0) or self.stopping.is_set():
                        continue
                    if self.due(job) and any(row["status"] == "away" for row in self.once(job)):
                        again[job.recipe.name] = time.monotonic() + RETRY_SECONDS
                self.stopping.wait(POLL_SECONDS)
        self._say("stopped")

    def due(self, job: Job) -> list[datetime]:
        """Moments that have come and are not dealt with."""
        return job.cron.between(job.history.dealt_with() or self.clock(), self.clock())

    def once(self, job: Job) -> list[dict[str, Any]]:
        """Deal with what is due of a pipeline; returns what came of it.

        What is busy, interrupted or away stays due and is no part of the history yet.
        """
        wanted, missed = choose(self.due(job), self.clock(), job.schedule)
        rows = []
        for moment in sorted([*wanted, *missed]):
            row = {"due": moment.astimezone(UTC).isoformat(), "date": job.cron.label(moment)}
            if moment in missed:
                rows.append(job.history.add(**row, status="missed"))
                self._say(f"{job.recipe.name} {row['date']}: missed")
                continue
            found = self._run(job, row["date"])
            if found["status"] in STAYS_DUE:
                rows.append({**row, **found})
                break
            rows.append(job.history.add(**row, **found))
        return rows

    def _run(self, job: Job, date: str) -> dict[str, Any]:
        lease = job.leases.claim(date)
        if isinstance(lease, str):
            said = {BUSY: "another scheduler is running this pipeline", DONE: "was run by another scheduler"}[lease]
            self._say(f"{job.recipe.name} {date}: {said}")
            return {"status": lease if lease == BUSY else "elsewhere"}
        began = self.clock()
        self._say(f"{job.recipe.name} {date}: begins")
        with lease:
            status, exit_code, reason = self._process(job, date, lease)
            out = folder(job.recipe.name, None, date)
            row = {"status": status, "exit": exit_code, "reason": reason, "run": str(out), "began": began.isoformat()}
            row["ended"] = self.clock().isoformat()
            if status not in STAYS_DUE and not lease.lost.is_set():
                lease.end(row)
        self._say(f"{job.recipe.name} {date}: {status}{f', {reason}' if reason else ''}; next {self._next(job)}")
        return row

    def _process(self, job: Job, date: str, lease: Lease) -> tuple[str, int, str]:
        """Run a date as a program; (status, exit status, reason)."""
        log = job.history.file.with_name(f"{job.recipe.name}-{date}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "selfray", "run", str(job.file), *job.overrides, "--date", date, "--json"]
        with log.open("a", encoding="utf-8") as said:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, start_new_session=True)
            assert process.stdout is not None
            answer: list[bytes] = []
            reading = threading.Thread(target=lambda: answer.append(process.stdout.read()), daemon=True)  # type: ignore
            reading.start()
            asked = 0
            while process.poll() is None:
                if (self.stopping.is_set() or lease.lost.is_set()) and not asked:
                    process.send_signal(signal.SIGINT)  # once: training finishes its step and saves
                    asked = 1
                with _no_timeout():
                    process.wait(timeout=0.2)
            reading.join()
            process.stdout.close()
        status = ENDS.get(process.returncode, "failed")
        if lease.lost.is_set():
            return "interrupted", process.returncode, "the lease was lost"
        try:
            reason = str(json.loads(answer[0]).get("reason", ""))
        except (ValueError, IndexError):
            reason = f"see {paths.near(log)}" if process.returncode else ""
        return status, process.returncode, reason

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM stop the scheduler once what runs has saved its state."""
        before = {
            number: signal.signal(number, lambda *_: self.stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _next(self, job: Job) -> str:
        return job.cron.next(1, self.clock())[0].isoformat(timespec="minutes")

    def _say(self, line: str) -> None:
        moment = self.clock().isoformat(timespec="seconds")
        self.console.print(f"{moment} {line}", highlight=False, soft_wrap=True)


@contextmanager
def _no_timeout() -> Iterator[None]:
    try:
        yield
    except subprocess.TimeoutExpired:
        return
