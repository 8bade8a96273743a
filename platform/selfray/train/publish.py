"""How a checkpoint becomes visible: its files, a manifest with their hashes, and last of all the mark of its commit.

On a disk, a folder `.writing-<attempt>` is filled and renamed to `step_<n>`. An object store has no renaming: the files
are `step_<n>/<attempt>/...`, and `step_<n>/COMMIT`, which may be created only once, names the attempt. In both, COMMIT
holds the manifest's hash and the manifest holds the files' hashes, so that a reader can tell whether it has what was
written. An attempt is `<fence>-<id>`; checkpoints are ordered by fence and then by step, so that what an outdated owner
may have managed to commit in the very moment of being replaced is never taken for newer than its successor's.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..errors import UserError
from ..storage import Storage
from .fence import FencedOut

SCHEMA_VERSION = 2
READABLE = (1, 2)  # version 1 had neither COMMIT nor fence
MANIFEST, COMMIT, DAMAGED = "manifest.json", "COMMIT", "DAMAGED"
WRITING, RETIRED = ".writing-", ".retired-"


class Damaged(Exception):
    """What is stored is not what was written; says how."""


@dataclass(frozen=True)
class Saved:
    """A committed checkpoint, as its manifest has it."""

    name: str  # step_<n>
    folder: str  # of its files, in the storage
    step: int
    fence: int
    files: Mapping[str, Mapping[str, Any]]  # name -> bytes, sha256
    notes: Mapping[str, Any]
    metrics: Mapping[str, float]
    digest: str  # of the manifest

    @property
    def age(self) -> tuple[int, int]:
        """Grows from checkpoint to checkpoint."""
        return self.fence, self.step


def put(
    storage: Storage,
    step: int,
    fence: int,
    files: Iterable[tuple[str, bytes]],
    notes: Mapping[str, Any],
    metrics: Mapping[str, float],
    allowed: Callable[[], None],
) -> Saved:
    """Write a checkpoint, verify what was written, ask whether this may be committed (`allowed` raises), and commit.

    Raises:
        OSError, UserError: it failed; nothing is committed, and what was written is removed if that is possible.
    """
    name, attempt = f"step_{step:09d}", f"{fence:06d}-{uuid4().hex}"
    folder = f"{WRITING}{attempt}" if storage.renames else f"{name}/{attempt}"
    try:
        listed = {}
        for file, content in files:
            listed[file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            storage.write(f"{folder}/{file}", content)
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "step": step,
            "fence": fence,
            "attempt": attempt,
            "files": listed,
            "notes": dict(notes),
            "metrics": dict(metrics),
        }
        content = json.dumps(manifest, indent=1).encode()
        storage.write(f"{folder}/{MANIFEST}", content)
        digest = hashlib.sha256(content).hexdigest()
        mark = _mark(attempt, digest)
        if storage.renames:
            storage.write(f"{folder}/{COMMIT}", mark)
        saved = Saved(name, folder, step, fence, listed, dict(notes), dict(metrics), digest)
        # A store checks each put itself, so sizes are enough there; a local file is read once more, from memory.
        verify(storage, saved, deep=storage.renames)
        allowed()
    except Damaged as error:
        _remove(storage, folder)
        raise OSError(f"what was written could not be read back: {error}") from error
    except (OSError, UserError):
        _remove(storage, folder)
        raise
    try:
        return _commit(storage, saved, mark)
    except (OSError, FencedOut):  # not where a store is unreachable: it may have committed, and its answer was lost
        _remove(storage, folder)
        raise


def _commit(storage: Storage, saved: Saved, mark: bytes) -> Saved:
    if storage.renames:
        if storage.sizes(saved.name):
            _yield_to_newer(storage, saved)
            storage.move(saved.name, f"{RETIRED}{saved.name}-{uuid4().hex[:8]}")
        storage.move(saved.folder, saved.name)
        return replace(saved, folder=saved.name)
    if not storage.create(f"{saved.name}/{COMMIT}", mark):
        _yield_to_newer(storage, saved)
        storage.delete(f"{saved.name}/{COMMIT}")
        if not storage.create(f"{saved.name}/{COMMIT}", mark):
            raise OSError(f"{saved.name} is being written by another process")
    return saved


def _yield_to_newer(storage: Storage, saved: Saved) -> None:
    """Raise FencedOut if the checkpoint that has the name already is a newer owner's; otherwise it may be replaced."""
    with suppress(Damaged):
        other = read(storage, saved.name)
        if other.fence > saved.fence:
            raise FencedOut(f"{storage}/{saved.name} is of a newer process (owner {other.fence}); this one stops")


def committed(storage: Storage) -> tuple[list[Saved], dict[str, str]]:
    """The checkpoints whose manifest is as it was written, newest first, and the others: name -> what is wrong."""
    sizes = storage.sizes()
    names = {name.split("/")[0] for name in sizes if name.startswith("step_") and "/" in name}
    found, wrong = [], {}
    for name in sorted(names):
        if not storage.renames and f"{name}/{COMMIT}" not in sizes:
            continue
        try:
            found.append(read(storage, name))
        except Damaged as error:
            wrong[name] = str(error)
    return sorted(found, key=lambda saved: saved.age, reverse=True), wrong


def read(storage: Storage, name: str) -> Saved:
    """The checkpoint of a name, its manifest verified; Damaged if it is not as it was written, or not there."""
    attempt = digest = ""
    try:
        mark = storage.read(f"{name}/{COMMIT}").decode()
        attempt, digest = mark.removesuffix("\n").split(" ")
        if mark != f"{attempt} {digest}\n" or not attempt or "/" in attempt:
            raise ValueError("COMMIT is not of its form")
    except FileNotFoundError:
        if not storage.renames:
            raise Damaged("COMMIT is missing") from None
    except (OSError, ValueError) as error:
        raise Damaged(f"COMMIT: {error}") from None
    folder = name if storage.renames else f"{name}/{attempt}"
    try:
        content = storage.read(f"{folder}/{MANIFEST}")
        if digest and hashlib.sha256(content).hexdigest() != digest:
            raise Damaged(f"{MANIFEST} has another hash")
        manifest = json.loads(content)
        version = manifest["schema_version"]
        if version not in READABLE:
            raise UserError(f"{storage}/{name} was written by another version of selfray; start anew with --fresh")
        if version > 1 and manifest["attempt"] != attempt:
            raise Damaged("COMMIT is missing or of another attempt")
        step, fence = int(manifest["step"]), int(manifest.get("fence", 0))
        return Saved(
            name, folder, step, fence, manifest["files"], manifest["notes"], manifest.get("metrics", {}), digest
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{MANIFEST}: {error}") from None


def verify(storage: Storage, saved: Saved, deep: bool = True, copy: Path | None = None) -> None:
    """Raise Damaged unless the files are those of the manifest, by size or (deep) by hash.

    Args:
        storage: Where the checkpoint is.
        saved: The checkpoint.
        deep: Read the files and compare their hashes too.
        copy: A folder to copy the files to while they are read.
    """
    sizes = {name.removeprefix(f"{saved.folder}/"): size for name, size in storage.sizes(saved.folder).items()}
    beside = {MANIFEST, COMMIT} if storage.renames and saved.digest else {MANIFEST}
    if different := sizes.keys() ^ {*saved.files, *beside}:
        raise Damaged(f"{', '.join(sorted(different))} is missing or does not belong there")
    try:
        for file, expected in saved.files.items():
            if sizes[file] != expected["bytes"]:
                raise Damaged(f"{file} has {sizes[file]} instead of {expected['bytes']} bytes")
            if deep and _hash(storage, f"{saved.folder}/{file}", copy and copy / file) != expected["sha256"]:
                raise Damaged(f"{file} has another hash")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(str(error)) from None


def _hash(storage: Storage, name: str, copy: Path | None) -> str:
    digest = hashlib.sha256()
    with ExitStack() as stack:
        target = None
        for block in storage.blocks(name):
            digest.update(block)
            if copy is None:
                continue
            try:
                target = target or stack.enter_context(copy.open("wb"))
                target.write(block)
            except OSError as error:  # of this machine's disk, and no damage to what is stored
                raise UserError(f"{copy} could not be written: {error.strerror}; free some space") from error
    return digest.hexdigest()


def copy(storage: Storage, saved: Saved, folder: Path) -> None:
    """Verify a checkpoint of an object store while copying it to a folder of this machine."""
    try:
        folder.mkdir(parents=True)
        verify(storage, saved, copy=folder)
        content = storage.read(f"{saved.folder}/{MANIFEST}")
        (folder / MANIFEST).write_bytes(content)
        (folder / COMMIT).write_bytes(_mark(saved.folder.rpartition("/")[2], saved.digest))
    except FileNotFoundError as error:
        raise Damaged(str(error)) from None
    except OSError as error:  # of this machine's disk, and no damage to what is stored
        raise UserError(f"the checkpoint could not be copied to {folder}: {error}; free some space") from error


def _mark(attempt: str, digest: str) -> bytes:
    return f"{attempt} {digest}\n".encode()


def set_aside(storage: Storage, name: str) -> None:
    """Take a damaged checkpoint out of the way; its files stay for whoever wants to know what happened."""
    unique = uuid4().hex[:8]
    with suppress(FileNotFoundError):  # a writer has removed it meanwhile: it was not damaged but old
        if storage.renames:
            storage.move(name, f".damaged-{name}-{unique}")
        else:
            storage.write(f"{name}/{DAMAGED}-{unique}", storage.read(f"{name}/{COMMIT}"))
            storage.delete(f"{name}/{COMMIT}")


def retire(storage: Storage, saved: Saved) -> None:
    """Remove a checkpoint: first that it counts as one, then its files."""
    if storage.renames:
        gone = f"{RETIRED}{saved.name}-{uuid4().hex[:8]}"
        storage.move(saved.name, gone)
        storage.delete_tree(gone)
    else:
        storage.delete(f"{saved.name}/{COMMIT}")
        storage.delete_tree(saved.folder)


def sweep(storage: Storage, fence: int) -> None:
    """Remove what interrupted attempts of this owner and earlier ones left."""
    sizes = storage.sizes()
    if storage.renames:
        for folder in {name.split("/")[0] for name in sizes}:
            if folder.startswith(RETIRED) or (folder.startswith(WRITING) and _of(folder, WRITING) <= fence):
                storage.delete_tree(folder)
        return
    kept = {name.split("/")[0] for name in sizes if f"/{DAMAGED}-" in name}
    attempts = {tuple(name.split("/")[:2]) for name in sizes if name.startswith("step_") and name.count("/") == 2}
    for name, attempt in sorted(attempts):
        if name in kept or _of(attempt, "") > fence:
            continue
        if f"{name}/{COMMIT}" in sizes and storage.read(f"{name}/{COMMIT}").startswith(attempt.encode()):
            continue
        storage.delete_tree(f"{name}/{attempt}")


def _of(attempt: str, prefix: str) -> int:
    number = attempt.removeprefix(prefix).split("-")[0]
    return int(number) if number.isdigit() else 0


def _remove(storage: Storage, folder: str) -> None:
    with suppress(OSError, UserError):
        storage.delete_tree(folder)
