"""A checkpoint holds all that training needs, for every objective that is found, and nothing in it is there in vain."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from selfray import objectives
from selfray.signature import model
from selfray.train import snapshot
from selfray.train.checkpoint import Checkpoints
from selfray.train.optimizers import build

sys.path.insert(0, str(Path(__file__).parents[1]))
import specimens

STEPS = 3
SMALL = {"width": 16, "bottleneck": 8, "hidden": 16, "queue_size": 256}
"""Settings for speed, where an objective has them; the queue is so long that the steps of a test do not replace it."""


DERIVED = ("weight.0._u",)  # spectral_norm makes one of its two vectors from the other before it uses it


def made(name):
    """The objective on the first small encoder that it accepts, and its optimizer."""
    known = model(objectives.find(name)).model_fields
    objective = specimens.made(name, **{key: value for key, value in SMALL.items() if key in known})
    return objective, build("adamw", [objective], lr=1e-2)


def _scramble(tensor):
    if tensor.dtype == torch.bool:
        tensor.logical_not_()
    else:
        tensor.copy_(torch.rand(tensor.shape) if tensor.is_floating_point() else torch.full_like(tensor, 5))


def scrambled(name):
    """The objective with every number replaced, integers included, and an optimizer that knows nothing."""
    objective, optimizer = made(name)
    with torch.no_grad():
        for tensor in objective.state_dict().values():
            _scramble(tensor)
    torch.manual_seed(12345)
    return objective, optimizer


def trained(objective, optimizer, first):
    """Take some steps, whose views depend on the step and whose noise on the state of the random numbers."""
    for step in range(first, first + STEPS):
        views = specimens.views_of(objective, step)
        noisy = {k: v + 0.01 * torch.rand_like(v) if v.is_floating_point() else v for k, v in views.items()}
        loss, _ = objective(noisy)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step((step + 1) / (2 * STEPS))


def state(objective, optimizer):
    """All numbers under names."""
    moments = {f"{i}.{k}": v for i, s in optimizer.state_dict()["state"].items() for k, v in s.items()}
    return {**objective.state_dict(), **moments, "random": torch.get_rng_state()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors are so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=objectives.names())
def saved(request, tmp_path_factory, one_thread):
    """Name, folder of a checkpoint in the middle, and the state at the end without interruption."""
    objective, optimizer = made(request.param)
    trained(objective, optimizer, 0)
    folder = tmp_path_factory.mktemp(request.param)
    store = Checkpoints(folder)
    store.save(STEPS, objective, optimizer, {})
    trained(objective, optimizer, STEPS)
    return request.param, store.newest(), {k: v.clone() for k, v in state(objective, optimizer).items()}


def continued(name, folder):
    """The state at the end when everything is scrambled and a checkpoint is loaded in the middle."""
    objective, optimizer = scrambled(name)
    snapshot.put_back(folder, objective, optimizer)
    trained(objective, optimizer, STEPS)
    return state(objective, optimizer)


def test_saved_scrambled_and_loaded_training_ends_in_the_same_state(saved):
    name, folder, end = saved
    assert same(continued(name, folder), end)


@pytest.mark.parametrize("most", [pytest.param(6, id="some"), pytest.param(10**6, id="all", marks=pytest.mark.slow)])
def test_without_any_one_entry_it_does_not(saved, tmp_path, most):
    """A negative control for each entry: with what a scrambled network has in its place, the end is another."""
    name, folder, end = saved
    weights = load_file(folder / snapshot.OBJECTIVE)
    wrong, _ = scrambled(name)
    useless = []
    shutil.copytree(folder, tmp_path / "without")
    entries = [entry for entry in weights if weights[entry].numel() and not entry.endswith(DERIVED)]
    for entry in entries[:: -(-len(entries) // most)]:
        other = wrong.state_dict()[entry].contiguous()
        altered = {**weights, entry: ~weights[entry] if other.dtype == torch.bool else other}
        save_file(altered, tmp_path / "without" / snapshot.OBJECTIVE)
        if same(continued(name, tmp_path / "without"), end):
            useless.append(entry)
    assert useless == []


@pytest.mark.parametrize("file", [snapshot.OPTIMIZER, snapshot.RANDOM])
def test_without_the_optimizer_or_the_random_numbers_it_does_not(saved, tmp_path, file):
    name, folder, end = saved
    shutil.copytree(folder, tmp_path / "without")
    if file == snapshot.RANDOM:
        (tmp_path / "without" / file).unlink()
    else:
        torch.save(made(name)[1].state_dict(), tmp_path / "without" / file)
    assert not same(continued(name, tmp_path / "without"), end)
