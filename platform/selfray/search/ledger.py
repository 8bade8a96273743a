"""The folder of a sweep: what each trial is and how it ended. A killed sweep is read back from here, never from Ray.

`trials/<id>/trial.json` is written by the driver, whole or not at all. `trials/<id>/curve.jsonl` is written by the
trial itself, a line whenever it is judged, before Ray hears of it.
"""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .space import Settings

RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"
ENDED = (FINISHED, STOPPED, FAILED)
Row = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One trial as the ledger has it."""

    id: str
    number: int
    settings: Settings
    seed: int
    kind: str = "search"  # or "repeat"
    status: str = RUNNING
    reason: str = ""  # why it failed
    total: int = 0  # steps of a whole trial
    run_id: str = ""  # of MLflow
    curve: tuple[Row, ...] = field(default=(), compare=False)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.status in ENDED

    @property
    def score(self) -> float | None:
        """The last judgement."""
        return self.curve[-1]["score"] if self.curve else None

    @property
    def steps(self) -> int:
        """Steps up to the last judgement."""
        return int(self.curve[-1]["step"]) if self.curve else 0

    @property
    def seconds(self) -> float:
        """Seconds of training and judging."""
        return float(sum(row["seconds"] for row in self.curve))


def curve(folder: Path) -> list[Row]:
    """The judgements of a trial; a line that was being written when the process was killed does not count."""
    found: list[Row] = []
    file = folder / "curve.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {"report", "step", "score", "seconds"} <= row.keys():
            found.append(row)
    return found


def append(folder: Path, row: Row) -> None:
    """Add a judgement; it is on the disk when this returns."""
    file = folder / "curve.jsonl"
    torn = file.is_file() and not file.read_bytes().endswith(b"\n")  # a process was killed while it wrote
    with file.open("a", encoding="utf-8") as opened:
        opened.write("\n" * torn + json.dumps(row) + "\n")
        opened.flush()
        os.fsync(opened.fileno())


def rewrite(folder: Path, rows: list[Row]) -> None:
    """Replace the judgements, whole or not at all."""
    whole(folder / "curve.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def whole(file: Path, text: str) -> None:
    """Write a text file so that a reader sees all of it or the one before."""
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(file)


class Ledger:
    """All trials of a sweep."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.trials: dict[str, Trial] = {}
        (folder / "trials").mkdir(parents=True, exist_ok=True)
        for file in sorted((folder / "trials").glob("*/trial.json")):
            known = json.loads(file.read_text(encoding="utf-8"))
            self.trials[known["id"]] = Trial(**known, curve=tuple(curve(file.parent)))
        self.trials = dict(sorted(self.trials.items(), key=lambda item: item[1].number))

    def of(self, id: str) -> Path:
        """The folder of a trial."""
        return self.folder / "trials" / id

    def add(self, id: str, settings: Settings, seed: int, kind: str, total: int) -> Trial:
        """Enter a trial, unless it is there already."""
        if id not in self.trials:
            number = 1 + max((trial.number for trial in self.trials.values()), default=0)
            self._put(Trial(id, number, dict(settings), seed, kind, total=total))
        return self.trials[id]

    def update(self, id: str, **changes: Any) -> Trial:
        """Change what is known of a trial."""
        self._put(replace(self.trials[id], **changes))
        return self.trials[id]

    def refresh(self, id: str) -> Trial:
        """Read its judgements again."""
        self.trials[id] = replace(self.trials[id], curve=tuple(curve(self.of(id))))
        return self.trials[id]

    def of_kind(self, kind: str) -> list[Trial]:
        """The trials of the search itself, or those that repeat the best."""
        return [trial for trial in self.trials.values() if trial.kind == kind]

    def _put(self, trial: Trial) -> None:
        self.trials[trial.id] = trial
        self.of(trial.id).mkdir(parents=True, exist_ok=True)
        plain = {key: value for key, value in asdict(replace(trial, curve=())).items() if key != "curve"}
        whole(self.of(trial.id) / "trial.json", json.dumps(plain, indent=1))
