"""What a run's folder remembers of each stage: `stages/NAME.json`, and `status.json` for schedulers."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..storage import Storage

FOLDER, STATUS = "stages", "status.json"
RUNNING, DONE, REFUSED, FAILED = "running", "done", "refused", "failed"
PARTIAL = "partial"  # of a run that ended with the stage of --until


class Notes:
    """The notes of one run; a note is plain JSON with `state`, `inputs`, `fingerprint` and what the stage returned."""

    def __init__(self, run: Path):
        self._run = run

    def read(self, stage: str) -> dict[str, Any]:
        """A stage's note; empty where there is none, or one of another version."""
        try:
            note = json.loads((self._run / FOLDER / f"{stage}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return note if isinstance(note, dict) and "inputs" in note else {}

    def write(self, stage: str, state: str, inputs: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
        """Note how a stage stands; the file is whole or as it was before."""
        note = {"stage": stage, "state": state, "fingerprint": fingerprint(inputs), "at": now(), "inputs": inputs}
        note |= result
        save(self._run / FOLDER / f"{stage}.json", note)
        return note

    def drop(self, stages: list[str]) -> None:
        """Forget stages that an earlier one has made obsolete."""
        for stage in stages:
            (self._run / FOLDER / f"{stage}.json").unlink(missing_ok=True)

    def status(self) -> dict[str, Any]:
        """The run's `status.json`, empty before its first end."""
        return read_status(self._run)

    def write_status(self, status: dict[str, Any]) -> None:
        """Note how the whole run stands."""
        save(self._run / STATUS, {**status, "at": now()})


def read_status(run: Path) -> dict[str, Any]:
    """How a run stands according to its folder."""
    try:
        found: dict[str, Any] = json.loads((run / STATUS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def fingerprint(inputs: dict[str, Any]) -> str:
    """Changes with anything that the stage's result depends on."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Inputs that differ, one line each."""
    return [
        f"{key}: {_short(before.get(key))} -> {_short(after.get(key))}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def save(file: Path, values: dict[str, Any]) -> None:
    """Write JSON completely or not at all."""
    Storage.at(file.parent).write(file.name, json.dumps(values, indent=1, default=str).encode())


def now() -> str:
    """The moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:16]}..."
