"""Checkpoints in an object store that fails now and then: every committed one verifies, whatever happened."""

import itertools
import os
import random
import time

import pytest
import torch

from selfray import buckets
from selfray.encoders.conv import Conv
from selfray.errors import UserError
from selfray.objectives.simsiam import SimSiam
from selfray.storage import Storage, Unreachable
from selfray.train import publish
from selfray.train.checkpoint import Checkpoints
from selfray.train.optimizers import build

from . import proxy as proxies


@pytest.fixture
def proxy(bucket, monkeypatch):
    """A proxy before the server, which clients made from now on use."""
    with proxies.before(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        yield proxy


def made(value):
    torch.manual_seed(0)
    objective = SimSiam(Conv(1, (8, 8), width=4, stages=1), width=4, bottleneck=2)
    optimizer = build("adamw", [objective])
    with torch.no_grad():
        for tensor in objective.state_dict().values():
            tensor.fill_(value)
    return objective, optimizer


def verified(storage):
    """The steps of all committed checkpoints, each read from the server and verified."""
    found, wrong = publish.committed(storage)
    assert not wrong
    for saved in found:
        publish.verify(storage, saved)
    return sorted(saved.step for saved in found)


def first(times, fault, methods=("PUT", "GET", "POST", "DELETE", "HEAD")):
    """A rule: the first requests fail so."""
    count = itertools.count()
    return lambda method, path: fault if method in methods and next(count) < times else None


FAST = [(1, "lost_answer"), (1, "half_request")]
SLOW = [pytest.param(n, f, marks=pytest.mark.slow) for n in (1, 2) for f in proxies.FAULTS if (n, f) not in FAST]


@pytest.mark.parametrize(("times", "fault"), FAST + SLOW)
def test_a_fault_while_saving_or_loading_is_outlasted(bucket, proxy, tmp_path, fault, times, record_property):
    storage = Storage.at(f"{bucket}/run")
    store = Checkpoints(storage, cache=tmp_path)
    methods = ("GET",) if fault == "half_answer" else ("PUT",)
    begun = time.monotonic()
    proxy.rule = first(times, fault, methods)
    store.save(1, *made(1), {})
    proxy.rule = first(times, fault, methods)
    store.save(2, *made(2), {})
    proxy.rule = first(times, fault, ("GET",))
    assert store.newest().name == "step_000000002"
    record_property("seconds", time.monotonic() - begun)
    assert proxy.fired[fault] >= 2 * times
    assert verified(storage) == [1, 2]


@pytest.mark.slow
def test_with_faults_in_a_third_of_all_requests_every_committed_checkpoint_verifies(bucket, proxy, tmp_path):
    storage, draw, said = Storage.at(f"{bucket}/run"), random.Random(7), []
    store = Checkpoints(storage, keep=3, warn=said.append, cache=tmp_path)
    store.save(1, *made(1), {})
    seen = []
    for step in range(2, 9):
        proxy.rule = lambda method, path: draw.choice(proxies.FAULTS) if draw.random() < 1 / 3 else None
        store.save(step, *made(step), {})
        proxy.rule = lambda method, path: None
        seen.append(verified(storage)[-1])
    assert sum(proxy.fired.values()) > 20
    assert set(proxy.fired) == set(proxies.FAULTS)
    assert seen == sorted(seen)
    assert seen[-1] >= 7
    objective, _ = made(-1)
    step = store.restore(store.newest(), objective, None)
    assert all((value == step).all() for value in objective.state_dict().values())


def test_in_an_outage_training_goes_on_and_afterwards_saves_succeed_again(bucket, proxy, monkeypatch, tmp_path):
    monkeypatch.setattr(buckets, "ATTEMPTS", 2)
    said = []
    storage = Storage.at(f"{bucket}/run")
    store = Checkpoints(storage, asynchronous=True, warn=said.append, cache=tmp_path)
    store.save(1, *made(1), {}, needed=True)
    proxy.rule = lambda method, path: "busy"
    begun = time.monotonic()
    store.save(2, *made(2), {})
    blocked = time.monotonic() - begun
    store.wait()
    proxy.rule = lambda method, path: None
    store.save(3, *made(3), {}, needed=True)
    assert blocked < 1
    assert len(said) == 1
    assert "step 2 could not be written" in said[0]
    assert verified(storage) == [1, 3]


def test_an_outage_that_lasts_ends_the_run_with_a_sentence(bucket, proxy, monkeypatch):
    monkeypatch.setattr(buckets, "ATTEMPTS", 1)
    store = Checkpoints(Storage.at(f"{bucket}/run"), warn=lambda sentence: None)
    store.save(1, *made(1), {})
    proxy.rule = lambda method, path: "reset"
    store.save(2, *made(2), {})
    store.save(3, *made(3), {})
    with pytest.raises(UserError, match="step 4 could not be written to s3://"):
        store.save(4, *made(4), {})


@pytest.mark.parametrize("fault", ["busy", "half_request"])
def test_an_upload_that_fails_in_the_middle_leaves_no_object(bucket, proxy, monkeypatch, tmp_path, fault):
    """The failure that publishes a truncated object where a stream is written in pieces."""
    monkeypatch.setattr(buckets, "ATTEMPTS", 2)
    storage = Storage.at(f"{bucket}/run")
    big = tmp_path / "big"
    big.write_bytes(os.urandom(24 << 20))
    parts = itertools.count()
    proxy.rule = lambda method, path: fault if "partNumber" in path and next(parts) >= 1 else None
    with pytest.raises(Unreachable):
        storage.write("big", big)
    proxy.rule = lambda method, path: None
    assert proxy.fired[fault] >= 1
    assert storage.sizes() == {}
    storage.write("big", big)
    assert storage.sizes() == {"big": 24 << 20}


def test_a_server_that_does_not_answer_is_given_up(bucket, proxy, monkeypatch):
    monkeypatch.setattr(buckets, "ATTEMPTS", 1)
    monkeypatch.setattr(buckets, "REQUEST_SECONDS", 1.0)
    storage = Storage.at(f"{bucket}/run")
    storage.write("x", b"1")
    proxy.rule = lambda method, path: time.sleep(6)
    begun = time.monotonic()
    with pytest.raises(Unreachable):
        storage.read("x")
    assert time.monotonic() - begun < 5
