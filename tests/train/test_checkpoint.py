"""Checkpoints are there completely or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from selfray.encoders.conv import Conv
from selfray.errors import UserError
from selfray.objectives.moco import MoCo
from selfray.train.checkpoint import Checkpoints
from selfray.train.optimizers import build


def made(seed=0):
    torch.manual_seed(seed)
    objective = MoCo(Conv(1, (8, 8), width=8, stages=1), queue_size=12, width=4)
    optimizer = build("adamw", [objective])
    objective.loss(*torch.rand(2, 4, 1, 8, 8))[0].backward()
    optimizer.step()
    return objective, optimizer


def test_what_is_saved_is_restored_exactly(tmp_path):
    objective, optimizer = made()
    store = Checkpoints(tmp_path)
    store.save(7, objective, optimizer, {})
    other, other_optimizer = made(seed=5)
    assert store.restore(store.newest(), other, other_optimizer) == 7
    for name, value in objective.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    mine, theirs = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert all(torch.equal(mine[i]["exp_avg"], theirs[i]["exp_avg"]) for i in mine)


@pytest.mark.parametrize("file", ["objective.safetensors", "optimizer.pt", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(tmp_path, file, damage):
    objective, optimizer = made()
    store = Checkpoints(tmp_path)
    store.save(1, objective, optimizer, {})
    victim = store.save(2, objective, optimizer, {}) / file
    content = bytearray(victim.read_bytes())
    if damage == "remove":
        victim.unlink()
    elif damage == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0x40
        victim.write_bytes(content)
    newest = store.newest()
    if damage == "flip" and file == "manifest.json":
        assert newest.name in ("step_000000001", "step_000000002")  # a changed note or number, still readable
    else:
        assert newest.name == "step_000000001"
        assert list(tmp_path.glob(".damaged-step_000000002-*"))


@pytest.mark.parametrize("failing", ["write", "fsync", "rename"])
def test_a_failure_while_saving_leaves_the_one_before_and_says_so(tmp_path, monkeypatch, failing):
    objective, optimizer = made()
    store = Checkpoints(tmp_path)
    store.save(1, objective, optimizer, {})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if failing == "write":
        monkeypatch.setattr("selfray.train.checkpoint.save_file", full)
    elif failing == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr("pathlib.Path.rename", full)
    with pytest.raises(UserError, match=r"step 2 could not be written.*No space left on device"):
        store.save(2, objective, optimizer, {})
    monkeypatch.undo()
    assert store.newest().name == "step_000000001"
    assert [p.name for p in tmp_path.iterdir()] == ["step_000000001"]


def test_only_the_newest_are_kept_and_leftovers_are_removed(tmp_path):
    objective, optimizer = made()
    (tmp_path / ".writing-dead").mkdir()
    store = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        store.save(step, objective, optimizer, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_000000002", "step_000000003"]


def test_a_checkpoint_holds_no_pickled_object(tmp_path):
    import zipfile

    objective, optimizer = made()
    folder = Checkpoints(tmp_path).save(1, objective, optimizer, {})
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "objective.safetensors", "optimizer.pt"]
    assert zipfile.is_zipfile(folder / "optimizer.pt")
    torch.load(folder / "optimizer.pt", weights_only=True)


@pytest.mark.parametrize("largest", [-1, -2])
def test_a_write_that_really_fails_is_said_in_a_sentence_and_leaves_the_one_before(tmp_path, largest):
    """A limit on file sizes makes the operating system refuse the writes of safetensors and torch themselves."""
    code = f"""
import resource, sys, torch
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_checkpoint import made
from selfray.errors import UserError
from selfray.train.checkpoint import Checkpoints
objective, optimizer = made()
store = Checkpoints({str(tmp_path)!r})
store.save(1, objective, optimizer, {{}})
sizes = sorted(f.stat().st_size for f in store.newest().iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sizes[{largest}] * 0.6),) * 2)
try:
    store.save(2, objective, optimizer, {{}})
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "the checkpoint of step 2 could not be written" in done.stdout, done.stdout + done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["step_000000001"]
    assert Checkpoints(tmp_path).newest().name == "step_000000001"
