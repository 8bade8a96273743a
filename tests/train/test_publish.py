"""Whatever goes wrong while a checkpoint is written, a reader gets the one before or the new one, never a mixture."""

import errno
import os
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfray import storage as storage_module
from selfray.encoders.conv import Conv
from selfray.errors import UserError
from selfray.objectives.simsiam import SimSiam
from selfray.storage import Storage
from selfray.train import fence, publish
from selfray.train.checkpoint import Checkpoints
from selfray.train.optimizers import build

OPERATIONS = ("read", "blocks", "write", "create", "sizes", "delete", "delete_tree", "move")


class Crash(BaseException):
    """The process is dead: nothing it would do afterwards happens."""


class Watched(Storage):
    """A storage that asks `around` to carry out each operation."""

    def __init__(self, inner, around):
        self.inner, self.around = inner, around

    def __getattribute__(self, name):
        if name in ("inner", "around"):
            return object.__getattribute__(self, name)
        found = getattr(self.inner, name)
        if name not in OPERATIONS:
            return found
        return lambda *given: self.around(name, given, lambda: found(*given))


class Dying:
    """Carries out so many operations and then none."""

    def __init__(self, operations):
        self.left = operations

    def __call__(self, name, given, work):
        if self.left == 0:
            raise Crash
        self.left -= 1
        return work()


class DyingModule:
    """A module whose functions that change the disk work so often and then never; the last write stays half done."""

    CHANGES = ("open", "write", "fsync", "replace", "rename", "link", "unlink", "makedirs", "rmtree")

    def __init__(self, module, life):
        self.module, self.life = module, life

    def __getattr__(self, name):
        found = getattr(self.module, name)
        if name not in self.CHANGES:
            return found

        def work(*given, **named):
            if self.life.left == 0 and name == "write":
                self.life.left = -1
                found(given[0], given[1][: len(given[1]) // 2])
            if self.life.left <= 0:
                raise Crash
            self.life.left -= 1
            return found(*given, **named)

        return work


def made(value):
    """A network and its optimizer of which every number says at which step it was."""
    torch.manual_seed(0)
    objective = SimSiam(Conv(1, (8, 8), width=4, stages=1), width=4, bottleneck=2)
    optimizer = build("adamw", [objective])
    for parameter in objective.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with torch.no_grad():
        for tensor in [*objective.state_dict().values(), *(s["exp_avg"] for s in optimizer.state.values())]:
            tensor.fill_(value)
    return objective, optimizer


def seen(storage, cache):
    """The step that a reader gets, having checked that all of the state is of that step."""
    store = Checkpoints(storage, cache=cache)
    objective, optimizer = made(-1)
    step = store.restore(store.newest(), objective, optimizer)
    values = [*objective.state_dict().values(), *(s["exp_avg"] for s in optimizer.state.values())]
    assert all((value == step).all() for value in values)
    return step


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path):
    """Makes new, empty storages."""
    root = request.getfixturevalue("bucket") if request.param == "s3" else tmp_path
    return lambda name: Storage.at(f"{root}/{name}")


def test_after_a_crash_at_any_operation_a_reader_gets_the_one_before_or_the_new_one(place, tmp_path):
    got = []
    for operations in range(200):
        storage, life = place(f"run-{operations}"), Dying(operations)
        Checkpoints(storage).save(1, *made(1), {})
        try:
            Checkpoints(Watched(storage, life), keep=1).save(2, *made(2), {})
            finished = True
        except Crash:
            finished = False
        got.append(seen(storage, tmp_path / f"cache-{operations}"))
        Checkpoints(storage, keep=1).save(3, *made(3), {})  # whoever comes next is not disturbed by what is left
        assert seen(storage, tmp_path / f"cache-{operations}") == 3
        top = {name.split("/")[0] for name in storage.sizes()}
        assert top == {fence.FOLDER, "step_000000003"}
        if finished:
            break
    assert finished
    assert got == sorted(got)  # new from the commit on, and not before
    assert set(got) == {1, 2}
    assert len(got) > 12


def test_after_a_crash_at_any_system_call_a_reader_gets_the_one_before_or_the_new_one(tmp_path, monkeypatch):
    got = []
    Checkpoints(tmp_path / "one").save(1, *made(1), {})
    for calls in range(400):
        shutil.copytree(tmp_path / "one", tmp_path / f"run-{calls}")
        storage, life = Storage.at(tmp_path / f"run-{calls}"), Dying(calls)
        with monkeypatch.context() as patched:
            patched.setattr(storage_module, "os", DyingModule(os, life))
            patched.setattr(storage_module, "shutil", DyingModule(shutil, life))
            try:
                Checkpoints(storage, keep=1).save(2, *made(2), {})
                finished = True
            except Crash:
                finished = False
        got.append(seen(storage, None))
        if finished:
            break
    assert finished
    assert got == sorted(got)
    assert set(got) == {1, 2}
    assert len(got) > 30


FAIL_POINTS = {
    "the fence is read": ("read", fence.FOLDER),
    "the fences are listed": ("sizes", fence.FOLDER),
    "the weights are written": ("write", "objective.safetensors"),
    "the optimizer is written": ("write", "optimizer.pt"),
    "the manifest is written": ("write", "manifest.json"),
    "what was written is listed": ("sizes", "{attempt}"),
    "what was written is read": ("blocks", "random.safetensors"),
    "it is committed": ("{commit}", "{committed}"),
    "the checkpoints are listed": ("sizes", "{root}"),
    "an old one is removed": ("delete_tree", "{old}"),
}


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("point", FAIL_POINTS)
def test_a_failure_at_a_point_leaves_the_one_before_and_no_partial(place, tmp_path, point, error):
    storage = place("run")
    local = storage.renames
    Checkpoints(storage).save(1, *made(1), {})
    names = {
        "attempt": publish.WRITING if local else "step_000000002/",
        "commit": "move" if local else "create",
        "committed": publish.WRITING if local else publish.COMMIT,
        "old": publish.RETIRED if local else "step_000000001/",
        "root": "",
    }
    operation, part = (text.format(**names) for text in FAIL_POINTS[point])
    fired = []

    def fails(name, given, work):
        whole = part == "" and not given
        if name == operation and (whole or (part and given and part in given[0])):
            fired.append(given)
            raise OSError(error, os.strerror(error))
        return work()

    said = []
    store = Checkpoints(Watched(storage, fails), keep=1, warn=said.append)
    taken = fence.take(storage)
    store._fence, store._safe = fence.Fence(store.storage, taken.number, taken.token), True
    after = ("the checkpoints are listed", "an old one is removed")  # the new one is committed by then
    if point == "what was written is read" and not local:
        pytest.skip("an object store checks what it gets, it is not read again")
    store.save(2, *made(2), {})
    assert fired
    assert seen(storage, tmp_path / "cache") == (2 if point in after else 1)
    if point not in after:
        assert len(said) == 1
        assert "step 2 could not be written" in said[0]
        assert {name.split("/")[0] for name in storage.sizes()} == {fence.FOLDER, "step_000000001"}


def test_a_commit_whose_answer_was_lost_is_not_undone(bucket, tmp_path):
    from selfray.storage import Unreachable

    storage = Storage.at(f"{bucket}/run")
    Checkpoints(storage).save(1, *made(1), {})

    def lost(name, given, work):
        result = work()
        if name == "create" and given[0].endswith(publish.COMMIT):
            raise Unreachable("no answer")
        return result

    said = []
    store = Checkpoints(Watched(storage, lost), warn=said.append)
    store._safe = True
    store.save(2, *made(2), {})
    assert "no answer" in said[0]
    assert seen(storage, tmp_path / "cache") == 2


# Damage


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A folder with the checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("pair")
    for step in (1, 2):
        Checkpoints(folder).save(step, *made(step), {})
    return folder


@st.composite
def damages(draw):
    """A change to one file: its number, what is done, where and with what."""
    kind = draw(st.sampled_from(["flip", "truncate", "append", "remove", "extra", "exchange"]))
    return draw(st.integers(0, 4)), kind, draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(1, 255))


def damaged(content, kind, where, what):
    """The bytes of a file after the damage."""
    at = int(where * len(content))
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ what]) + content[at + 1 :]
    return content[:at] if kind == "truncate" else content + bytes([what])


@settings(max_examples=200, deadline=None)
@given(damage=damages())
def test_any_damage_is_noticed_and_the_one_before_is_taken(pair, tmp_path_factory, damage):
    number, kind, where, what = damage
    folder = tmp_path_factory.mktemp("damage", numbered=True) / "run"
    shutil.copytree(pair, folder)
    victim = sorted((folder / "step_000000002").iterdir())[number]
    if kind == "remove":
        victim.unlink()
    elif kind == "extra":
        victim.with_name(f"{victim.name}.{what}").write_bytes(b"x")
    elif kind == "exchange":
        other = folder / "step_000000001" / victim.name
        if other.read_bytes() == victim.read_bytes():  # such as equal random numbers
            return
        victim.write_bytes(other.read_bytes())
    else:
        victim.write_bytes(damaged(victim.read_bytes(), kind, where, what))
    assert seen(Storage.at(folder), None) == 1
    assert len(list(folder.glob(".damaged-step_000000002-*"))) == 1
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["flip", "truncate", "append", "remove", "extra"])
@pytest.mark.parametrize("number", range(5))
def test_any_damage_in_an_object_store_is_noticed_and_its_files_stay(bucket, tmp_path, number, kind):
    storage = Storage.at(f"{bucket}/run")
    for step in (1, 2):
        Checkpoints(storage).save(step, *made(step), {})
    victim = sorted(name for name in storage.sizes() if name.startswith("step_000000002/"))[number]
    if kind == "remove":
        storage.delete(victim)
    elif kind == "extra":
        attempt = publish.committed(storage)[0][0].folder
        storage.write(f"{attempt}/extra-{number}", b"x")
    else:
        storage.write(victim, damaged(storage.read(victim), kind, 0.4, 4))
    assert seen(storage, tmp_path) == 1
    if kind != "remove":
        assert "step_000000002" in {name.split("/")[0] for name in storage.sizes()}
    Checkpoints(storage).save(2, *made(2), {})
    assert seen(storage, tmp_path) == 2


def test_an_empty_storage_has_no_newest(place):
    assert Checkpoints(place("empty")).newest() is None


def test_when_every_checkpoint_is_damaged_all_are_set_aside(pair, tmp_path):
    shutil.copytree(pair, tmp_path / "run")
    for file in (tmp_path / "run").glob("step_*/optimizer.pt"):
        file.write_bytes(b"")
    assert Checkpoints(tmp_path / "run").newest() is None
    assert len(list((tmp_path / "run").glob(".damaged-*"))) == 2


def test_what_cannot_be_copied_here_is_not_taken_for_damage(bucket, tmp_path):
    storage = Storage.at(f"{bucket}/run")
    Checkpoints(storage).save(1, *made(1), {})
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(UserError, match="could not be copied"):
        Checkpoints(storage, cache=blocked).newest()
    assert seen(storage, tmp_path / "cache") == 1
