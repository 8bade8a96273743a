"""Batches of mixtures, limited epochs and object stores; for one local corpus see tests/train and tests/cluster."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfray.corpus import stream
from selfray.corpus.copy import copy
from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest
from selfray.corpus.read import read_rows
from selfray.errors import UserError


@pytest.fixture(scope="module")
def second(tmp_path_factory) -> Path:
    """80 pictures of one brightness each, of the size of the digits."""
    raw, folder = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("corpora") / "plain"
    for number in range(80):
        Image.fromarray(np.full((8, 8), 3 * number, np.uint8)).save(raw / f"{number:02d}.png")
    prepare(raw, folder, rows_per_fragment=30, rows_per_group=16, ray=False)
    return folder


def test_a_mixture_has_its_weights_in_every_batch_and_every_sample_once_a_pass(digits_corpus, second):
    plan = stream.plan({str(digits_corpus): 3, str(second): 1}, 16, seed=0, lanes=4)
    seen: Counter[int] = Counter()
    for batch in stream.local(plan, 0, 20):  # 80 samples of the second corpus: one pass
        other = batch.ids >> stream.CORPUS_BIT
        assert abs(int(other.sum()) - 4) <= 1
        seen.update(batch.ids[other == 1].tolist())
        flat = batch.samples[other == 1].reshape(int(other.sum()), -1)
        assert (flat == flat[:, :1]).all()  # the samples are those of the corpus that the ids name
    assert len(seen) == 80
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("world", [2, 3, 4])
def test_a_mixture_is_the_same_for_any_number_of_workers(world, digits_corpus, second):
    plan = stream.plan({str(digits_corpus): 3, str(second): 1}, 16, seed=0, lanes=4)
    workers = [stream.local(replace(plan, rank=rank, world=world), 5, 25) for rank in range(world)]
    for alone, *parts in zip(stream.local(plan, 5, 25), *workers, strict=True):
        assert np.array_equal(alone.ids, np.concatenate([part.ids for part in parts]))
        assert np.array_equal(alone.samples, np.concatenate([part.samples for part in parts]))


def test_statistics_of_a_mixture_are_those_of_its_samples(digits_corpus, second):
    rows = Manifest.read(digits_corpus).rows()
    pooled = stream.manifest_of({str(digits_corpus): rows, str(second): 80})
    pixels = np.concatenate([read_rows(c, "train", slice(None))["data"] for c in (digits_corpus, second)]) / 255
    assert pooled.mean[0] == pytest.approx(pixels.mean())
    assert pooled.std[0] == pytest.approx(pixels.std())


def test_corpora_that_do_not_fit_are_not_mixed(digits_corpus, tmp_path):
    (tmp_path / "raw").mkdir()
    for number in range(16):
        Image.fromarray(np.full((9, 9), number, np.uint8)).save(tmp_path / "raw" / f"{number}.png")
    prepare(tmp_path / "raw", tmp_path / "out", ray=False)
    with pytest.raises(UserError, match=r"cannot be mixed: shape is \(8, 8, 1\) and \(9, 9, 1\)"):
        stream.plan({str(digits_corpus): 1, str(tmp_path / "out"): 1}, 16, 0, 4)


def test_an_epoch_of_at_most_so_many_samples_goes_on_where_the_last_one_ended(digits_corpus):
    plan = stream.plan(digits_corpus, 16, seed=0, lanes=4, max_samples=70)
    assert plan.order.steps == 4
    ids = np.concatenate([batch.ids for batch in stream.local(plan, 0, 12)])
    assert len(np.unique(ids)) == len(ids)


def test_files_for_probes_go_along_with_a_copy(digits_corpus, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(digits_corpus, mine)
    (mine / "pairs.parquet").write_bytes(b"pairs")
    copy(mine, tmp_path / "copy")
    assert (tmp_path / "copy" / "pairs.parquet").read_bytes() == b"pairs"
    assert not (tmp_path / "copy" / "pairs.csv").exists()


def test_a_corpus_in_an_object_store_gives_the_same_batches(digits_corpus, bucket):
    """The store is a real server of the S3 protocol on this machine."""
    there = f"{bucket}/digits"
    assert copy(digits_corpus, there) > 0
    assert copy(digits_corpus, there) < 100_000  # the page and the report: shards are not sent again
    here, remote = (stream.plan(corpus, 16, seed=1, lanes=4) for corpus in (digits_corpus, there))
    for one, other in zip(stream.local(here, 3, 40), stream.local(remote, 3, 40), strict=True):
        assert np.array_equal(one.ids, other.ids)
        assert np.array_equal(one.samples, other.samples)
    assert np.array_equal(read_rows(there, "test", [3, 1])["data"], read_rows(digits_corpus, "test", [3, 1])["data"])
    with pytest.raises(UserError, match="is not a prepared corpus"):
        stream.plan(f"{bucket}/nothing", 16, seed=1, lanes=4)


def test_one_corpus_comes_once_an_epoch_and_goes_on_at_any_step_with_any_number_of_workers(digits_corpus):
    plan = stream.plan(digits_corpus, 16, seed=2, lanes=4)
    steps, last = plan.order.steps, 2 * plan.order.steps
    there, whole = set(read_rows(digits_corpus, "train", slice(None))["id"].tolist()), list(stream.local(plan, 0, last))
    for epoch in range(2):
        ids = [one for batch in whole if batch.epoch == epoch for one in batch.ids.tolist()]
        assert len(there) - 16 < len(ids) <= len(there)
        assert len(set(ids)) == len(ids)
        assert set(ids) <= there
    for first, world in ((1, 1), (steps - 1, 2), (steps + 7, 3), (last - 1, 4)):
        workers = [stream.local(replace(plan, rank=rank, world=world), first, last) for rank in range(world)]
        for batch, *parts in zip(whole[first:], *workers, strict=True):
            assert np.array_equal(batch.ids, np.concatenate([part.ids for part in parts]))
            assert np.array_equal(batch.samples, np.concatenate([part.samples for part in parts]))


def test_the_order_is_the_same_in_another_process(digits_corpus):
    script = (
        "import sys; from selfray.corpus import stream; plan = stream.plan(sys.argv[1], 16, seed=2, lanes=4); "
        "print(*(one for batch in stream.local(plan, 0, 20) for one in batch.ids))"
    )
    command = [sys.executable, "-c", script, str(digits_corpus)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True, timeout=60
    )
    here = [batch.ids for batch in stream.local(stream.plan(digits_corpus, 16, seed=2, lanes=4), 0, 20)]
    assert list(map(int, done.stdout.split())) == np.concatenate(here).tolist()
