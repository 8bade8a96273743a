"""What a scheduler has done: a file of JSON lines a pipeline, in the folder of the runs."""

import json
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import paths

FOLDER = "schedule"


class History:
    """The rows of one pipeline: `due`, `date`, `status`, and of runs `exit`, `reason`, `run`, `began`, `ended`."""

    def __init__(self, pipeline: str, folder: Path | None = None):
        self.file = (folder or paths.runs() / FOLDER) / f"{pipeline}.jsonl"

    def add(self, **row: Any) -> dict[str, Any]:
        """Append a row, durably: what is dealt with must not be dealt with again after a crash."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return row

    def rows(self) -> list[dict[str, Any]]:
        """All rows, the oldest first."""
        found = []
        for line in self.file.read_text(encoding="utf-8").splitlines() if self.file.is_file() else ():
            with suppress(ValueError):  # cut off by a crash
                found.append(json.loads(line))
        return found

    def dealt_with(self) -> datetime | None:
        """The newest moment that nothing is left to do about; None before the first start."""
        due = [datetime.fromisoformat(row["due"]) for row in self.rows() if "due" in row]
        return max(due, default=None)
