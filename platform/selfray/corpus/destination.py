"""The place a corpus is prepared in: whose it is, what it is for, and what does not belong there."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from ..errors import UserError
from ..storage import ASIDE, Storage
from . import place
from .location import Location
from .manifest import FILE
from .place import Place
from .work import MARKS, QUARANTINE, SPLITS, Job, mark, signatures

REQUEST = f"{MARKS}/request.json"


def check_apart(source: Location, destination: Place) -> None:
    """Refuse a destination within its source, and a source that is a prepared corpus."""
    if f"{destination}/".startswith(f"{source}/"):
        raise UserError(f"{destination} lies in the source; choose a folder outside of {source}")
    if place.exists(str(source), FILE) and place.exists(str(source), REQUEST):
        raise UserError(f"{source} is a prepared corpus already; use it as it is")


@contextmanager
def alone(there: Storage) -> Iterator[None]:
    """Hold the destination for this process; in an object store, which has no locks, only look whether it is ours.

    Raises:
        UserError: it holds something that was not prepared here, another process is at it, or it cannot be written to.
    """
    folder = there.local()
    if folder is None:
        names = there.sizes()
        if names and not any(name.startswith(f"{MARKS}/") for name in names):
            raise UserError(f"{there} is not empty and was not prepared by this; choose a new prefix")
        there.write(f"{MARKS}/lock", b"")  # that it can be written to should be known before the work
        yield
        return
    if folder.exists() and not (folder / MARKS).is_dir():
        if not folder.is_dir():
            raise UserError(f"{folder} is a file; choose a new folder")
        if any(folder.iterdir()):
            raise UserError(f"{folder} is not empty and was not prepared by this; choose a new folder")
    try:
        (folder / MARKS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error.strerror}") from None
    with (folder / MARKS / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder} is being prepared by another process") from None
        except OSError:
            pass  # a file system without locks; what is written twice is the same
        yield


def resume(there: Storage, request: dict[str, Any]) -> Job | None:
    """The job that an earlier call with the same request settled on.

    Raises:
        UserError: the folder holds a finished corpus of another request.
    """
    try:
        earlier = json.loads(there.read(REQUEST))
    except (OSError, ValueError):
        earlier = None
    finished = place.exists(there.uri, FILE)
    if earlier is None:
        if finished:
            raise UserError(f"{there} holds a corpus whose origin is not known; choose a new folder")
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
            f"{there} already holds the corpus {earlier['request']['name']!r}, prepared otherwise "
            f"({'; '.join(changes)}); choose a new folder, or delete that one"
        )
    return None


def start(there: Storage, request: dict[str, Any], job: Job) -> None:
    """Note what the place is being prepared for."""
    there.write(REQUEST, json.dumps({"request": request, "job": asdict(job)}, sort_keys=True).encode())


def sweep(there: Storage, noted: list[dict[str, Any]]) -> None:
    """Remove what an earlier, unfinished run left that is no part of this corpus."""
    files = [file for said in noted for file in (*said["shards"].values(), said["quarantine"]) if file]
    kept = {file["file"] for file in files} | {REQUEST, f"{MARKS}/lock"}
    kept |= {name for index in range(len(noted)) for name in (mark(index), signatures(index))}
    for name in there.sizes():
        if name.split("/")[0] in (*SPLITS, QUARANTINE, MARKS) and name not in kept:
            there.delete(name)
    if (folder := there.local()) is not None:
        for part in (*SPLITS, QUARANTINE, MARKS):
            for left in (folder / part).glob(f"*{ASIDE}"):
                left.unlink()
            with suppress(OSError):  # missing, or not empty
                (folder / part).rmdir()
