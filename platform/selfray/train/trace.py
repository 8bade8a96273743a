"""A record of who consumed which samples when, to audit a run that was killed, moved, shrunk or grown."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..corpus.stream import Batch

FOLDER = "trace"


@dataclass(frozen=True)
class Record:
    """One worker's part of one step."""

    time: float  # seconds since 1970, when the step began
    attempt: str  # of this worker's process
    pid: int
    rank: int
    world: int
    start: int  # the step that this attempt resumed from
    step: int  # counted from 0
    epoch: int
    ids: list[int]


class Trace:
    """Appends a line of JSON for every step of this worker to `trace/` in the run's folder."""

    def __init__(self, run: str | Path, rank: int, world: int, start: int):
        self.rank, self.world, self.start = rank, world, start
        self.attempt = f"{time.time_ns()}-{os.getpid()}"
        file = Path(run) / FOLDER / f"{self.attempt}-{rank}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("w", encoding="utf-8", buffering=1)  # a killed worker loses no finished line

    def __call__(self, batch: Batch) -> None:
        """Note a batch before its step."""
        where = (time.time(), self.attempt, os.getpid(), self.rank, self.world, self.start)
        record = Record(*where, batch.step, batch.epoch, batch.ids.tolist())
        self._file.write(json.dumps(vars(record)) + "\n")


def read(run: str | Path) -> list[Record]:
    """All records of a run in the order of time; a line cut off by a kill is left out."""

    def records() -> Iterator[Record]:
        for file in sorted((Path(run) / FOLDER).glob("*.jsonl")):
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    yield Record(**json.loads(line))
                except (ValueError, TypeError):
                    continue

    return sorted(records(), key=lambda record: record.time)
