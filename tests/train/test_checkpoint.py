"""Checkpoints are there completely or not at all, and saving them does not disturb training."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from selfray.encoders.conv import Conv
from selfray.errors import UserError
from selfray.objectives.moco import MoCo
from selfray.storage import Local, Storage, Unreachable
from selfray.train import fence, publish
from selfray.train.checkpoint import Checkpoints
from selfray.train.fence import FencedOut
from selfray.train.optimizers import build
from selfray.train.retention import surplus


def made(seed=0):
    torch.manual_seed(seed)
    objective = MoCo(Conv(1, (8, 8), width=8, stages=1), queue_size=12, width=4)
    optimizer = build("adamw", [objective])
    objective.loss(*torch.rand(2, 4, 1, 8, 8))[0].backward()
    optimizer.step()
    return objective, optimizer


def steps(store):
    """The steps that are stored, in order."""
    return sorted(saved.step for saved in publish.committed(store.storage)[0])


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path):
    if request.param == "s3":
        return Storage.at(request.getfixturevalue("bucket") + "/run")
    return Storage.at(tmp_path / "checkpoints")


class Failing(Local):
    """A disk whose writes fail while `error` is set, and wait while `gate` is closed."""

    def __init__(self, path):
        super().__init__(str(path))
        self.error, self.gate = None, threading.Event()
        self.gate.set()

    def write(self, name, data):
        assert self.gate.wait(timeout=20)
        if self.error:
            raise self.error
        super().write(name, data)


def test_what_is_saved_is_restored_exactly(place, tmp_path):
    objective, optimizer = made()
    store = Checkpoints(place, cache=tmp_path / "cache")
    store.save(7, objective, optimizer, {})
    drawn = torch.rand(3)
    other, other_optimizer = made(seed=5)
    assert store.restore(store.newest(), other, other_optimizer) == 7
    assert torch.equal(torch.rand(3), drawn)  # random numbers go on where they were
    for name, value in objective.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    mine, theirs = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert all(torch.equal(mine[i]["exp_avg"], theirs[i]["exp_avg"]) for i in mine)


def test_what_training_changes_while_a_checkpoint_is_written_is_not_in_it(tmp_path):
    objective, optimizer = made()
    disk = Failing(tmp_path)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    moments = [state["exp_avg"].clone() for state in optimizer.state_dict()["state"].values()]
    with Checkpoints(disk, asynchronous=True) as store:
        store.own()
        disk.gate.clear()
        assert store.save(1, objective, optimizer, {})
        with torch.no_grad():
            for tensor in [*objective.state_dict().values(), *(s["exp_avg"] for s in optimizer.state.values())]:
                tensor.zero_()
        disk.gate.set()
    other, other_optimizer = made(seed=5)
    store.restore(store.newest(), other, other_optimizer)
    assert all(torch.equal(other.state_dict()[name], value) for name, value in before.items())
    restored = [state["exp_avg"] for state in other_optimizer.state_dict()["state"].values()]
    assert all(torch.equal(a, b) for a, b in zip(restored, moments, strict=True))


@pytest.mark.parametrize(
    "file", ["objective.safetensors", "optimizer.pt", "random.safetensors", "manifest.json", "COMMIT"]
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(tmp_path, file, damage):
    objective, optimizer = made()
    store = Checkpoints(tmp_path)
    store.save(1, objective, optimizer, {})
    store.save(2, objective, optimizer, {})
    victim = store.newest() / file
    content = bytearray(victim.read_bytes())
    if damage == "remove":
        victim.unlink()
    elif damage == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0x40
        victim.write_bytes(content)
    assert store.newest().name == "step_000000001"
    assert list(tmp_path.glob(".damaged-step_000000002-*"))


def test_only_the_newest_are_kept_and_leftovers_are_removed(place):
    objective, optimizer = made()
    leftover = ".writing-000000-dead" if place.renames else "step_000000001/000000-dead"
    place.write(f"{leftover}/objective.safetensors", b"half")
    store = Checkpoints(place, keep=2)
    for step in (1, 2, 3):
        store.save(step, objective, optimizer, {})
    assert steps(store) == [2, 3]
    assert {name.split("/")[0] for name in place.sizes()} == {fence.FOLDER, "step_000000002", "step_000000003"}


def test_multiples_and_the_best_are_kept(place):
    objective, optimizer = made()
    store = Checkpoints(place, keep=1, keep_every=4, keep_best="train/loss")
    for step, loss in enumerate([5.0, 1.0, float("nan"), 4.0, 3.0, 2.0, 9.0], start=1):
        store.save(step, objective, optimizer, {}, {"train/loss": loss})
    assert steps(store) == [2, 4, 7]


def test_the_highest_is_the_best_where_the_name_has_a_minus():
    def saved(step, value):
        return publish.Saved(f"step_{step}", "", step, 1, {}, {}, {"health/rankme": value}, "")

    newest_first = [saved(4, 1.0), saved(3, 2.0), saved(2, 7.0), saved(1, 3.0)]
    assert [one.step for one in surplus(newest_first, 1, None, "-health/rankme")] == [1, 3]
    assert [one.step for one in surplus(newest_first, 1, None, "health/rankme")] == [1, 2, 3]
    assert [one.step for one in surplus(newest_first, 1, None, "unknown")] == [1, 2, 3]
    assert [one.step for one in surplus(newest_first, 2, 2, None)] == [1]


def test_nothing_is_deleted_while_the_newest_is_damaged(tmp_path):
    objective, optimizer = made()
    store = Checkpoints(tmp_path, keep=1)
    store.save(1, objective, optimizer, {})
    store.keep = 3
    store.save(2, objective, optimizer, {})
    victim = tmp_path / "step_000000002" / "objective.safetensors"
    victim.write_bytes(victim.read_bytes()[:-1])
    assert not store._retire(None, keep=1)
    assert store.newest().name == "step_000000001"


def test_a_checkpoint_holds_no_pickled_object(tmp_path):
    import zipfile

    objective, optimizer = made()
    store = Checkpoints(tmp_path)
    store.save(1, objective, optimizer, {})
    folder = store.newest()
    files = ["COMMIT", "manifest.json", "objective.safetensors", "optimizer.pt", "random.safetensors"]
    assert sorted(p.name for p in folder.iterdir()) == files
    assert zipfile.is_zipfile(folder / "optimizer.pt")
    torch.load(folder / "optimizer.pt", weights_only=True)


# Owners


def test_an_older_owner_cannot_commit_after_a_newer_one_began(place):
    objective, optimizer = made()
    old, new = Checkpoints(place), Checkpoints(place)
    old.own()
    old.save(1, objective, optimizer, {})
    new.own()
    with pytest.raises(FencedOut, match=r"as owner 2 \(this one is owner 1\)"):
        old.save(2, objective, optimizer, {})
    assert steps(new) == [1]
    new.save(2, objective, optimizer, {})
    assert steps(new) == [1, 2]
    assert publish.committed(place)[0][0].fence == 2


def test_an_owner_of_a_run_that_was_deleted_cannot_come_back(place):
    objective, optimizer = made()
    old, new = Checkpoints(place), Checkpoints(place)
    old.own()
    place.delete_tree(fence.FOLDER)  # as --fresh does
    with pytest.raises(FencedOut, match="or removed them"):
        old.save(1, objective, optimizer, {})
    new.own()
    assert new._fence.number == old._fence.number
    with pytest.raises(FencedOut):
        old.save(1, objective, optimizer, {})


def test_what_an_older_owner_committed_at_the_last_moment_is_not_the_newest(place, tmp_path):
    """The one gap that a store without locks leaves: the old owner has asked, a new one begins, the old one commits."""
    objective, optimizer = made()
    old, new = Checkpoints(place), Checkpoints(place, cache=tmp_path / "cache")
    old.own()
    new.own()
    old._fence = fence.Fence(place, 1, "")
    object.__setattr__(old._fence, "check", lambda: None)
    new.save(5, objective, optimizer, {})
    old.save(9, objective, optimizer, {})
    assert steps(new) == [5, 9]
    assert new.newest().name == "step_000000005"
    with pytest.raises(FencedOut, match="of a newer process"):
        old.save(5, objective, optimizer, {})
    new.save(9, objective, optimizer, {})  # where the names meet, the newer owner's takes the place
    assert new.newest().name == "step_000000009"
    assert [saved.fence for saved in publish.committed(place)[0]] == [2, 2]


def test_of_owners_that_begin_together_each_has_another_number(place):
    taken, start = [], threading.Barrier(4)

    def begin():
        start.wait()
        taken.append(fence.take(place).number)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [1, 2, 3, 4]


# Saves that fail


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Unreachable("s3://x cannot be used: 503")])
def test_a_save_that_fails_is_a_warning_while_there_is_an_older_one_and_the_third_in_a_row_ends_the_run(
    tmp_path, error
):
    objective, optimizer = made()
    said, disk = [], Failing(tmp_path)
    store = Checkpoints(disk, asynchronous=True, warn=said.append)
    store.save(1, objective, optimizer, {})
    store.wait()
    disk.error = error
    for step in (2, 3):
        store.save(step, objective, optimizer, {})
        store.wait()
    assert [sentence.split(" could")[0] for sentence in said] == [
        "the checkpoint of step 2",
        "the checkpoint of step 3",
    ]
    assert all("training goes on" in sentence for sentence in said)
    assert store.failures == 2
    disk.error = None
    store.save(4, objective, optimizer, {})
    store.wait()
    disk.error = error
    for step in (5, 6):
        store.save(step, objective, optimizer, {})
        store.wait()
    store.save(7, objective, optimizer, {})
    with pytest.raises(UserError, match="step 7 could not be written"):
        store.wait()
    disk.error = None
    assert store.newest().name == "step_000000004"
    assert not list(tmp_path.glob(".writing-*"))


@pytest.mark.parametrize("older", [False, True])
def test_a_save_that_is_needed_or_the_first_one_raises_when_it_fails(tmp_path, older):
    objective, optimizer = made()
    disk = Failing(tmp_path)
    store = Checkpoints(disk)
    if older:
        store.save(1, objective, optimizer, {})
    disk.error = OSError(28, "No space left on device")
    store._fence = store._fence or fence.Fence(disk, 1, "")
    with pytest.raises(UserError, match=r"step 2 could not be written.*No space left on device; free some space"):
        store.save(2, objective, optimizer, {}, needed=older)


def test_saves_are_left_out_while_one_is_written_unless_they_are_needed(tmp_path):
    objective, optimizer = made()
    disk = Failing(tmp_path)
    with Checkpoints(disk, keep=9, keep_every=5, asynchronous=True) as store:
        store.own()
        disk.gate.clear()
        assert store.save(1, objective, optimizer, {})
        assert not store.save(2, objective, optimizer, {})
        threading.Timer(0.2, disk.gate.set).start()
        assert store.save(5, objective, optimizer, {})
        assert store.save(6, objective, optimizer, {}, needed=True)
        assert steps(store) == [1, 5, 6]


def test_an_error_of_the_program_is_not_taken_for_a_failed_save(tmp_path):
    objective, optimizer = made()
    disk = Failing(tmp_path)
    store = Checkpoints(disk)
    store.save(1, objective, optimizer, {})
    disk.error = ZeroDivisionError("a defect")
    with pytest.raises(ZeroDivisionError, match="a defect"):
        store.save(2, objective, optimizer, {})


def test_the_error_that_ends_a_block_is_not_hidden_by_a_failed_save(tmp_path):
    objective, optimizer = made()
    said, disk = [], Failing(tmp_path)

    def trained():
        with Checkpoints(disk, asynchronous=True, warn=said.append) as store:
            store.own()
            disk.error = OSError(5, "Input/output error")
            store.save(1, objective, optimizer, {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trained()
    assert "step 1 could not be written" in said[0]


# Others


def test_a_checkpoint_of_the_first_version_is_still_read(tmp_path):
    objective, optimizer = made()
    store = Checkpoints(tmp_path)
    store.save(3, objective, optimizer, {})
    folder = store.newest()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "COMMIT").unlink()
    (folder / "random.safetensors").unlink()
    del manifest["fence"], manifest["attempt"], manifest["metrics"], manifest["files"]["random.safetensors"]
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 1}))
    assert store.restore(store.newest(), *made(seed=5)) == 3


def test_a_checkpoint_of_a_later_version_is_refused_and_left_alone(tmp_path):
    objective, optimizer = made()
    store = Checkpoints(tmp_path)
    store.save(3, objective, optimizer, {})
    folder = store.newest()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "COMMIT").unlink()
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    with pytest.raises(UserError, match="another version of selfray"):
        store.newest()
    assert folder.is_dir()


def test_a_checkpoint_of_another_network_is_refused_with_advice(tmp_path):
    objective, optimizer = made()
    store = Checkpoints(tmp_path)
    store.save(3, objective, optimizer, {})
    other = MoCo(Conv(1, (8, 8), width=16, stages=1), queue_size=12, width=4)
    with pytest.raises(UserError, match=r"does not fit this recipe: .*--fresh"):
        store.restore(store.newest(), other, None)


def test_an_outage_is_not_taken_for_damage(bucket, tmp_path, monkeypatch):
    from selfray import buckets

    objective, optimizer = made()
    Checkpoints(f"{bucket}/run").save(1, objective, optimizer, {})
    server = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.setattr(buckets, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unreachable):
        Checkpoints(f"{bucket}/run").newest()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    assert Checkpoints(f"{bucket}/run", cache=tmp_path).newest().name == "step_000000001"


def test_a_copy_of_an_object_store_is_used_again_while_it_is_intact(bucket, tmp_path):
    objective, optimizer = made()
    store = Checkpoints(f"{bucket}/run", cache=tmp_path)
    store.save(1, objective, optimizer, {})
    weights = store.newest() / "objective.safetensors"
    made_at = weights.stat().st_mtime_ns
    assert store.newest() == weights.parent
    assert weights.stat().st_mtime_ns == made_at
    weights.write_bytes(b"something else")
    store.restore(store.newest(), *made(seed=5))


def test_clearing_deletes_every_checkpoint_but_not_who_owns_them(place):
    objective, optimizer = made()
    store = Checkpoints(place)
    store.save(1, objective, optimizer, {})
    store.clear()
    assert store.newest() is None
    assert {name.split("/")[0] for name in place.sizes()} == {fence.FOLDER}


@pytest.mark.parametrize("largest", [-1, -2])
def test_a_write_that_really_fails_is_said_in_a_sentence_and_leaves_the_one_before(tmp_path, largest):
    """A limit on file sizes makes the operating system refuse the writes themselves."""
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
    store.save(2, objective, optimizer, {{}}, needed=True)
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "the checkpoint of step 2 could not be written" in done.stdout, done.stdout + done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == [fence.FOLDER, "step_000000001"]
    assert Checkpoints(tmp_path).newest().name == "step_000000001"
