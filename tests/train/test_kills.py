"""Processes that really die while they save, and disks that are really full."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from selfray.encoders.conv import Conv
from selfray.errors import UserError
from selfray.objectives.simsiam import SimSiam
from selfray.train import publish
from selfray.train.checkpoint import Checkpoints
from selfray.train.optimizers import build

KILLER = """
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_kills import made, naive, filled
from selfray.train.checkpoint import Checkpoints

folder, kills, seed, how = sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
random.seed(seed)
objective, optimizer = made(0)


def saves(first):
    store = Checkpoints(folder, asynchronous=how == "asynchronous")
    for step in range(first, first + 10_000):
        filled(objective, optimizer, step)
        if how == "naive":
            naive(folder, objective, optimizer)
        else:
            store.save(step, objective, optimizer, {})


unreadable = during = last = 0
for kill in range(kills):
    child = os.fork()
    if child == 0:
        try:
            saves(last + 1)
        finally:
            os._exit(1)
    time.sleep(random.uniform(0.02, 0.15))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the child ended by itself"
    if how == "naive":
        try:
            torch.load(folder + "/latest.pt", weights_only=True)
        except FileNotFoundError:
            pass
        except Exception:
            unreadable += 1
        continue
    during += any(name.startswith(".writing-") for name in os.listdir(folder))
    set_aside = len([name for name in os.listdir(folder) if name.startswith(".damaged-")])
    newest = Checkpoints(folder).newest()
    unreadable += len([name for name in os.listdir(folder) if name.startswith(".damaged-")]) - set_aside
    if newest is None:
        assert last == 0, "a checkpoint was lost"
        continue
    step = Checkpoints(folder).restore(newest, objective, optimizer)
    assert step >= last, (step, last)
    values = [*objective.state_dict().values(), *(s["exp_avg"] for s in optimizer.state.values())]
    unreadable += not all((value == step).all() for value in values)
    last = step
print(unreadable, during, last)
"""


def made(value, width=16):
    """A network and its optimizer of which every number is `value`."""
    torch.manual_seed(0)
    objective = SimSiam(Conv(1, (8, 8), width=8, stages=1), width=width, bottleneck=4)
    optimizer = build("adamw", [objective])
    for parameter in objective.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    filled(objective, optimizer, value)
    return objective, optimizer


def filled(objective, optimizer, value):
    """Set every number."""
    with torch.no_grad():
        for tensor in [*objective.state_dict().values(), *(s["exp_avg"] for s in optimizer.state.values())]:
            tensor.fill_(value)


def naive(folder, objective, optimizer):
    """What is not to be done: the newest state is overwritten in place."""
    Path(folder).mkdir(exist_ok=True)
    torch.save([objective.state_dict(), optimizer.state_dict()], Path(folder) / "latest.pt")


def killed(folder, kills, seed, how):
    """How many newest checkpoints were unreadable, how many kills hit a save, and the last step."""
    command = [sys.executable, "-W", "ignore", "-c", KILLER, str(Path(__file__).parent)]
    done = subprocess.run([*command, str(folder), str(kills), str(seed), how], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


@pytest.mark.parametrize("how", ["synchronous", "asynchronous"])
@pytest.mark.parametrize("kills", [25, pytest.param(200, marks=pytest.mark.slow)])
def test_a_process_killed_at_any_moment_leaves_a_readable_newest_checkpoint(tmp_path, kills, how):
    unreadable, during, last = killed(tmp_path / "run", kills, seed=kills, how=how)
    assert unreadable == 0
    assert during > kills / 10  # the kills came while something was written
    assert last > 0


@pytest.mark.slow
def test_the_same_kills_do_damage_what_is_overwritten_in_place(tmp_path):
    """A negative control: the kills above are ones that can do damage."""
    unreadable, _, _ = killed(tmp_path / "run", 100, seed=1, how="naive")
    assert unreadable > 0


@pytest.fixture
def small_disk(tmp_path):
    """A disk of two megabytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting a small disk was refused: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_on_a_disk_that_is_too_small_for_all_to_keep_fewer_are_kept_and_training_goes_on(small_disk):
    objective, optimizer = made(0, width=160)
    said = []
    with Checkpoints(small_disk / "run", keep=9, warn=said.append) as store:
        for step in range(1, 13):
            filled(objective, optimizer, step)
            store.save(step, objective, optimizer, {})
            assert store.newest().name == f"step_{step:09d}"
        size = sum(file.stat().st_size for file in store.newest().iterdir())
    assert 300_000 < size < 700_000  # so that twelve are far more than the disk holds
    assert not said
    assert not list((small_disk / "run").glob(".writing-*"))


def test_on_a_full_disk_training_goes_on_with_the_checkpoint_before_until_the_third_failure(small_disk):
    objective, optimizer = made(1, width=160)
    said = []
    store = Checkpoints(small_disk / "run", keep=2, warn=said.append)
    store.save(1, objective, optimizer, {})
    with (small_disk / "others").open("wb", buffering=0) as other, contextlib.suppress(OSError):
        while True:
            other.write(bytes(4096))
    for step in (2, 3):
        store.save(step, objective, optimizer, {})
    assert [sentence.split(" could")[0] for sentence in said] == [f"the checkpoint of step {step}" for step in (2, 3)]
    with pytest.raises(UserError, match=r"step 4 could not be written.*free some space"):
        store.save(4, objective, optimizer, {})
    assert [saved.step for saved in publish.committed(store.storage)[0]] == [1]
    assert sorted(name for name in os.listdir(small_disk / "run") if name != ".fence") == ["step_000000001"]
    (small_disk / "others").unlink()
    store.save(5, objective, optimizer, {}, needed=True)
    assert store.newest().name == "step_000000005"


def test_when_the_disk_fills_up_in_the_middle_of_a_write_the_partial_is_removed_and_an_old_one_makes_room(small_disk):
    objective, optimizer = made(1, width=160)
    store = Checkpoints(small_disk / "run", keep=3)
    store.save(1, objective, optimizer, {})
    store.save(2, objective, optimizer, {})
    store.storage.free_bytes = lambda: 1 << 30  # as where quotas hide what is really left
    room = shutil.disk_usage(small_disk).free
    (small_disk / "others").write_bytes(bytes(max(0, room - 200_000)))
    store.save(3, objective, optimizer, {}, needed=True)
    assert store.newest().name == "step_000000003"
    assert not list((small_disk / "run").glob(".writing-*"))
    assert not (small_disk / "run" / "step_000000001").exists()
