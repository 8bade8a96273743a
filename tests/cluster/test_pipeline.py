"""The product on real Ray: Ray Data streams, Ray Train workers, killed workers, embeddings."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest
import torch
from safetensors.torch import load_file

from selfray.corpus import stream
from selfray.errors import UserError
from selfray.train.checkpoint import Checkpoints
from selfray.train.launch import pretrain
from selfray.train.loop import Job

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_cluster"), pytest.mark.filterwarnings("default")]


def final(run: Path) -> dict[str, torch.Tensor]:
    return load_file(Checkpoints(run / "checkpoints").newest() / "objective.safetensors")


@pytest.mark.parametrize(("world", "first"), [(1, 0), (2, 0), (2, 7)])
def test_ray_data_delivers_the_batches_of_the_local_reader_bit_for_bit(world, first, digits):
    plan = stream.plan(digits, 32, seed=3, lanes=8)
    last = 2 * plan.order.steps + 3
    for rank in range(world):
        mine = replace(plan, rank=rank, world=world)
        pairs = zip(stream.local(mine, first, last), stream.distributed(mine, first, last), strict=True)
        for number, (here, there) in enumerate(pairs, start=first):
            assert here.step == there.step == number
            assert np.array_equal(here.ids, there.ids)
            assert np.array_equal(here.samples, there.samples)


def test_one_ray_worker_ends_with_the_parameters_of_this_process(recipe, digits, tmp_path):
    rows: list[dict[str, float]] = []
    assert pretrain(Job(recipe(workers=0), str(digits), str(tmp_path / "here")), [rows.append]) == 8
    there: list[dict[str, float]] = []
    assert pretrain(Job(recipe(workers=1), str(digits), str(tmp_path / "ray")), [there.append]) == 8
    one, other = final(tmp_path / "here"), final(tmp_path / "ray")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [r["train/loss"] for r in rows] == [r["train/loss"] for r in there]


def test_two_ray_workers_learn_what_one_learns_and_survive_the_loss_of_one(recipe, digits, tmp_path):
    settings = {"steps": 60, "log_every": 1, "checkpoint": {"every_steps": 5}}
    alone: list[dict[str, float]] = []
    pretrain(Job(recipe(workers=0, **settings), str(digits), str(tmp_path / "one")), [alone.append])
    seen: list[dict[str, float]] = []
    killed = threading.Event()

    def kill(row: dict[str, float]) -> None:
        seen.append(row)
        if row["step"] >= 10 and not killed.is_set():
            killed.set()
            os.kill(_a_train_worker(), signal.SIGKILL)

    job = Job(recipe(workers=2, cpus_per_worker=0.5, **settings), str(digits), str(tmp_path / "two"))
    assert pretrain(job, [kill]) == 60
    assert killed.is_set()
    curve = {int(row["step"]): row["train/loss"] for row in seen}
    assert sorted(curve) == list(range(1, 61))
    assert curve[1] == pytest.approx(alone[0]["train/loss"], rel=1e-5)
    # Later steps agree as far as fp32 does: a ReLU that flips on the last bit moves a gradient by per cents.
    ours, theirs = (sum(curve[s] for s in range(41, 61)) / 20, sum(row["train/loss"] for row in alone[40:]) / 20)
    assert ours == pytest.approx(theirs, rel=0.03)


def _a_train_worker() -> int:
    import psutil

    mine = psutil.Process().children(recursive=True)  # never another user's
    return next(process.pid for process in mine if "RayTrainWorker" in " ".join(process.cmdline()))


def test_what_the_user_can_mend_comes_back_as_one_sentence_without_retries(recipe, digits, tmp_path):
    begun = time.monotonic()
    with pytest.raises(UserError, match="accumulate 5 does not divide"):
        pretrain(Job(recipe(workers=1, accumulate=5), str(digits), str(tmp_path / "run")))
    assert time.monotonic() - begun < 90
    with pytest.raises(UserError, match="the cluster has 0 GPUs"):
        pretrain(Job(recipe(workers=1, gpu=True), str(digits), str(tmp_path / "run")))
    with pytest.raises(UserError, match="for reading data"):
        pretrain(Job(recipe(workers=2, cpus_per_worker=1.5), str(digits), str(tmp_path / "run")))


def test_embedding_a_corpus_gives_exactly_one_row_a_sample_and_continues(recipe, digits, tmp_path):
    from selfray import embed, load
    from selfray.corpus.manifest import Manifest
    from selfray.corpus.read import read_rows
    from selfray.summary import export_encoder
    from selfray.train.loop import train

    run, out, manifest = tmp_path / "run", tmp_path / "embeddings", Manifest.read(digits)
    train(Job(recipe(steps=1), str(digits), str(run)), lambda row: None)
    export_encoder(run, recipe(), manifest, 1, None)
    assert embed(run / "encoder", digits, out) == manifest.rows("train") + manifest.rows("test")
    table = ds.dataset(out).to_table().sort_by("id")
    assert len(set(table["id"].to_pylist())) == len(table) == 600
    sample = read_rows(digits, "test", [3])
    row = table.filter(ds.field("id") == int(sample["id"][0])).to_pylist()[0]
    with torch.inference_mode():
        expected = load(run / "encoder").embed(torch.tensor(sample["data"]))[0]
    torch.testing.assert_close(torch.tensor(row["embedding"]), expected, rtol=1e-4, atol=1e-5)
    files = sorted(out.rglob("*.parquet"))
    untouched, files = files[0].stat().st_mtime_ns, files
    files[-1].unlink()
    assert embed(run / "encoder", digits, out) == 600
    assert files[0].stat().st_mtime_ns == untouched
    train(Job(recipe(steps=2), str(digits), str(run)), lambda row: None)
    export_encoder(run, recipe(), manifest, 2, None)
    assert embed(run / "encoder", digits, out) == 600
    changed = ds.dataset(out).to_table(filter=ds.field("id") == int(sample["id"][0])).to_pylist()[0]
    assert changed["embedding"] != row["embedding"]  # those of the encoder before are not left beside new ones
