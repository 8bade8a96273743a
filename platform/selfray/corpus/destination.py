"""The folder a corpus is prepared in: whose it is, what it is for, and what does not belong there."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import UserError
from .manifest import FILE
from .shards import aside
from .work import MARKS, QUARANTINE, SPLITS, Job, mark


def check_apart(source: Path, destination: Path) -> None:
    """Refuse a destination within its source, and a source that is a prepared corpus."""
    if source == destination or source in destination.parents:
        raise UserError(f"{destination} lies in the source; choose a folder outside of {source}")
    if (source / FILE).is_file() and (source / MARKS).is_dir():
        raise UserError(f"{source} is a prepared corpus already; use it as it is")


@contextmanager
def alone(destination: Path) -> Iterator[None]:
    """Hold the destination for this process.

    Raises:
        UserError: it holds something that was not prepared here, another process is at it, or it cannot be written to.
    """
    if destination.exists() and not (destination / MARKS).is_dir():
        if not destination.is_dir():
            raise UserError(f"{destination} is a file; choose a new folder")
        if any(destination.iterdir()):
            raise UserError(f"{destination} is not empty and was not prepared by this; choose a new folder")
    try:
        (destination / MARKS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{destination} cannot be written to: {error.strerror}") from None
    with (destination / MARKS / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{destination} is being prepared by another process") from None
        except OSError:
            pass  # a file system without locks; what is written twice is the same
        yield


def resume(destination: Path, request: dict[str, Any]) -> Job | None:
    """The job that an earlier call with the same request settled on.

    Raises:
        UserError: the folder holds a finished corpus of another request.
    """
    file = destination / MARKS / "request.json"
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        earlier = None
    finished = (destination / FILE).is_file()
    if earlier is None:
        if finished:
            raise UserError(f"{destination} holds a corpus whose origin is not known; choose a new folder")
        return None
    if earlier["request"] == request:
        job = earlier["job"]
        return Job(**{**job, "classes": tuple(job["classes"])})
    if finished:
        changes = [
            "the source's files are others" if key == "source" else f"{key} was {earlier['request'].get(key)!r}"
            for key in request
            if request[key] != earlier["request"].get(key)
        ]
        raise UserError(
            f"{destination} already holds the corpus {earlier['request']['name']!r}, prepared otherwise "
            f"({'; '.join(changes)}); choose a new folder, or delete that one"
        )
    return None


def start(destination: Path, request: dict[str, Any], job: Job) -> None:
    """Note what the folder is being prepared for."""
    with aside(destination / MARKS / "request.json") as path:
        path.write_text(json.dumps({"request": request, "job": asdict(job)}, sort_keys=True), encoding="utf-8")


def write_files(destination: Path, files: dict[str, bytes]) -> None:
    """Write what lies beside the manifest, where it is not there yet."""
    for name, content in files.items():
        path = destination / name
        if not path.is_file() or path.read_bytes() != content:
            with aside(path) as writing:
                writing.write_bytes(content)


def sweep(destination: Path, noted: list[dict[str, Any]]) -> None:
    """Remove what an earlier, unfinished run left that is no part of this corpus."""
    files = [file for mark in noted for file in (*mark["shards"].values(), mark["quarantine"]) if file]
    kept = {file["file"] for file in files}
    for folder in (*SPLITS, QUARANTINE):
        for path in (destination / folder).glob("*"):
            if f"{folder}/{path.name}" not in kept:
                path.unlink()
        with suppress(OSError):  # missing, or not empty
            (destination / folder).rmdir()
    marks = {mark(destination, index) for index in range(len(noted))}
    for path in (destination / MARKS).iterdir():
        if path.name.endswith(".aside") or (path.stem.isdigit() and path.with_suffix(".json") not in marks):
            path.unlink()
