"""Checkpoints that are there completely or not at all.

A checkpoint is a folder `step_<n>`: weights in safetensors, the optimizer in torch's weights-only format, and a
manifest with a checksum for every file. It is written aside, flushed, and renamed; a reader verifies the checksums
and falls back to the one before where they do not match. Nothing is unpickled.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from ..errors import UserError
from ..objectives.objective import Objective

SCHEMA_VERSION = 1


class Checkpoints:
    """The checkpoints of one run, in a folder."""

    def __init__(self, folder: str | Path, keep: int = 2):
        self.folder, self.keep = Path(folder), keep

    def save(self, step: int, objective: Objective, optimizer: Optimizer, notes: Mapping[str, Any]) -> Path:
        """Publish the state after `step` steps.

        Raises:
            UserError: the disk is full; the checkpoints from before are still there.
        """
        final = self.folder / f"step_{step:09d}"
        aside = self.folder / f".writing-{uuid.uuid4().hex}"
        try:
            aside.mkdir(parents=True)
            save_file(_separate(objective.state_dict()), aside / "objective.safetensors")
            torch.save(optimizer.state_dict(), aside / "optimizer.pt")
            files = {f.name: {"bytes": f.stat().st_size, "sha256": _flushed_hash(f)} for f in sorted(aside.iterdir())}
            manifest = {"schema_version": SCHEMA_VERSION, "step": step, "files": files, "notes": dict(notes)}
            _write(aside / "manifest.json", json.dumps(manifest, indent=1))
            _flush_folder(aside)
            if final.exists():
                shutil.rmtree(final)
            aside.rename(final)
            _flush_folder(self.folder)
        except (OSError, SafetensorError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
            shutil.rmtree(aside, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"the checkpoint of step {step} could not be written to {self.folder}: {reason}; "
                "free some space and run the same command again to resume"
            ) from error
        self._retire()
        return final

    def newest(self) -> Path | None:
        """The newest checkpoint whose every file is as it was written; damaged ones are moved aside."""
        for folder in sorted(self.folder.glob("step_*"), reverse=True):
            if _intact(folder):
                return folder
            folder.rename(folder.with_name(f".damaged-{folder.name}-{uuid.uuid4().hex[:8]}"))
        return None

    def restore(self, folder: Path, objective: Objective, optimizer: Optimizer | None) -> int:
        """Load a checkpoint in place; returns its step."""
        objective.load_state_dict(load_file(folder / "objective.safetensors"), strict=True)
        if optimizer is not None:
            optimizer.load_state_dict(torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu"))
        return int(json.loads((folder / "manifest.json").read_text())["step"])

    def _retire(self) -> None:
        for old in sorted(self.folder.glob("step_*"))[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        for leftover in self.folder.glob(".writing-*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses tensors that share memory."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in state.items():
        value = tensor.detach().cpu().contiguous()
        separate[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return separate


def _flushed_hash(file: Path) -> str:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _write(file: Path, text: str) -> None:
    with file.open("w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _intact(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        for name, expected in manifest["files"].items():
            file = folder / name
            if file.stat().st_size != expected["bytes"]:
                return False
            with file.open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != expected["sha256"]:
                    return False
    except (OSError, ValueError, KeyError):
        return False
    if manifest["schema_version"] != SCHEMA_VERSION:
        raise UserError(f"{folder} was written by another version of selfray; start anew with --fresh")
    return True
