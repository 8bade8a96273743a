"""What makes a step fast, as counts that no other load on the machine can change."""

import re
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from selfray.corpus import stream
from selfray.train import device
from selfray.train.loop import train

READS = {"item", "tolist", "numpy", "cpu", "__array__", "__bool__", "__float__", "__int__", "__index__"}
"""Methods of a tensor that wait for the device and bring its value to the host."""


class Calls(TorchFunctionMode):
    """Counts the reads that Python code asks for; `tolist` and `numpy` of a CPU tensor dispatch no operator."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        self.count[name] += name in READS
        return function(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    """Counts the reads that operators do, wherever they come from, and copies to the host."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count[str(function)] += "_local_scalar_dense" in str(function)
        return function(*args, **(kwargs or {}))


def reads(work):
    """How often work() brings a number from the device to the host, by who asks."""
    with Operators() as operators, Calls() as calls:
        work()
    return +(operators.count + calls.count)


def plan_of(recipe, folder, **settings):
    made = recipe(**settings)
    return stream.plan(folder, made.pretrain.batch, made.seed, made.pretrain.lanes)


def assert_lean(batch, shape):
    assert batch.samples.dtype == np.uint8
    assert batch.samples.nbytes == len(batch.ids) * int(np.prod(shape))
    assert batch.ids.nbytes == 8 * len(batch.ids)


def test_a_worker_gets_one_byte_a_value_and_eight_for_the_id(recipe, digits):
    plan = plan_of(recipe, digits)
    for batch in stream.local(plan, 0, 3):
        assert_lean(batch, plan.manifest.shape)


def test_what_is_fed_to_the_step_is_still_bytes(recipe, digits):
    plan = plan_of(recipe, digits)
    for _, samples, ids in device.fed(stream.local(plan, 0, 3), torch.device("cpu")):
        assert samples.dtype == torch.uint8
        assert samples.shape == (plan.per_step, *plan.manifest.shape)
        assert ids.dtype == torch.int64


@pytest.mark.parametrize("read", [torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.numpy, bool, float, np.asarray])
def test_reads_are_noticed(read):
    """A negative control: whatever brings a value to the host is counted."""
    assert reads(lambda: read(torch.ones(()))).total() >= 1
    assert reads(lambda: torch.ones(()) + 1).total() == 0


def test_a_read_in_every_step_is_noticed(recipe, fit, tmp_path, monkeypatch):
    """A negative control of the whole gate, in the place where such a read is easily written."""
    from selfray.train import loop

    clip = loop._clip
    monkeypatch.setattr(loop, "_clip", lambda *arguments: torch.tensor(float(clip(*arguments))))
    few, many = (reads(lambda n=n: fit(recipe(steps=n, log_every=99), tmp_path / str(n))) for n in (2, 6))
    assert many.total() >= few.total() + 4


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"accumulate": 2, "clip": 1.0},
        {"precision": "bf16"},
        {"objective": {"name": "moco", "width": 16, "queue_size": 64}},
        {"optimizer": {"name": "lars"}},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_no_number_is_read_back_between_rows(settings, recipe, fit, tmp_path):
    """Steps without a row do not wait for the device: twenty more of them read nothing more."""

    def counted(steps):
        long = {"log_every": 1000, "health_every": 1000, "checkpoint": {"every_minutes": 60.0}}
        made = recipe(steps=steps, **long, **settings)
        return reads(lambda: fit(made, tmp_path / str(steps)))

    few, many = counted(4), counted(24)
    assert few.total() > 0  # the last row is read
    assert many == few


def compiled(recipe, fit, run):
    """Train with compilation over two epochs, with rows and looks at the embeddings; returns what dynamo counted."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    made = recipe(compile=True, steps=34, log_every=1, health_every=10)
    with torch._dynamo.config.patch(error_on_recompile=True):
        rows = fit(made, run)
    assert rows[-1]["epoch"] > 2
    return rows, counters


def test_the_compiled_step_is_one_graph_and_is_never_compiled_again(recipe, fit, tmp_path, monkeypatch):
    """The compiler's front end decides this; its back end, which takes long, is left out."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    rows, counters = compiled(recipe, fit, tmp_path / "compiled")
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    plain = fit(recipe(steps=34, log_every=1, health_every=10), tmp_path / "plain")
    assert [row["train/loss"] for row in rows] == pytest.approx([row["train/loss"] for row in plain], rel=1e-5)


def test_a_second_compilation_would_be_noticed(recipe, fit, tmp_path, monkeypatch):
    """A negative control: a step that depends on a Python number of the epoch is compiled again."""
    from selfray.train import build, loop

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    forward, calls = build.Step.forward, iter(range(1000))

    def changing(self, *batch):
        loss, scalars = forward(self, *batch)
        return loss * (1.0 + self.number), scalars

    def numbered(model, *arguments):
        model._orig_mod.number = next(calls) // 15
        return backward(model, *arguments)

    backward = loop._backward
    monkeypatch.setattr(build.Step, "forward", changing)
    monkeypatch.setattr(loop, "_backward", numbered)
    with pytest.raises(torch._dynamo.exc.RecompileError):
        compiled(recipe, fit, tmp_path / "compiled")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # of torch's own
def test_the_step_compiled_in_full_learns_the_same(recipe, fit, tmp_path):
    rows, _ = compiled(recipe, fit, tmp_path / "compiled")
    plain = fit(recipe(steps=34, log_every=1, health_every=10), tmp_path / "plain")
    assert rows[0]["train/loss"] == pytest.approx(plain[0]["train/loss"], rel=1e-5)
    # Adam's first steps turn roundings of gradients near 0 into steps of full length, and they add up.
    assert [row["train/loss"] for row in rows] == pytest.approx([row["train/loss"] for row in plain], rel=5e-2)


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_reading_and_decoding_are_one_operator_that_ships_nothing_but_bytes(recipe, digits, monkeypatch):
    """A second operator would send every sample through the object store once more."""
    import ray

    opened, read = [], ray.data.read_datasource
    monkeypatch.setattr(ray.data, "read_datasource", lambda *a, **k: opened.append(read(*a, **k)) or opened[-1])
    plan = plan_of(recipe, digits)
    for batch in stream.distributed(plan, 0, 3):
        assert_lean(batch, plan.manifest.shape)
    (dataset,) = opened
    blocks = [ray.get(reference) for bundle in dataset.iter_internal_ref_bundles() for reference in bundle.block_refs]
    assert sum(block.nbytes for block in blocks) == 3 * plan.per_step * (int(np.prod(plan.manifest.shape)) + 12)
    assert re.findall(r"Operator \d+ (\w+)", dataset.stats()) == ["ReadSelfrayStream"]


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("start", [0, 7], ids=["from the start", "from the middle of an epoch"])
def test_ray_delivers_the_batches_that_a_thread_reads_bit_for_bit(world, start, recipe, digits):
    plan = plan_of(recipe, digits)
    end = 2 * plan.order.steps + 3  # over two ends of an epoch
    for rank in range(world):
        mine = replace(plan, rank=rank, world=world)
        here, there = list(stream.local(mine, start, end)), list(stream.distributed(mine, start, end))
        assert [batch.step for batch in there] == list(range(start, end))
        assert {batch.epoch for batch in there} == {0, 1, 2}
        for one, other in zip(here, there, strict=True):
            assert (one.step, one.epoch) == (other.step, other.epoch)
            assert np.array_equal(one.ids, other.ids)
            assert np.array_equal(one.samples, other.samples)
        assert not any(np.array_equal(one.ids, next_one.ids) for one, next_one in pairwise(here))


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_training_from_ray_reads_back_no_more_than_training_from_a_thread(recipe, digits, tmp_path):
    from selfray.train.loop import Job

    made = recipe(steps=6, log_every=1000, health_every=1000)
    counts = [
        reads(partial(train, Job(made, str(digits), str(tmp_path / name)), lambda row: None, source))
        for name, source in (("thread", stream.local), ("ray", stream.distributed))
    ]
    assert counts[0] == counts[1]
