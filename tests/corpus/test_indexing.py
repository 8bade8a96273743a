"""A lake that is indexed where it is: the same samples and order as of a prepared corpus, and no changed file."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from selfray.corpus import stream
from selfray.corpus.indexing import index
from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest
from selfray.corpus.order import Order
from selfray.corpus.read import read_rows
from selfray.errors import UserError


def encoded(pixels, format):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def crops(number):
    """Crops of a photo of many sizes, as PNG and JPEG files."""
    photo, draw = load_sample_image("flower.jpg"), np.random.default_rng(0)
    for at in range(number):
        height, width = draw.integers(30, 90, 2)
        top, left = draw.integers(0, 300, 2)
        yield encoded(photo[top : top + height, left : left + width], ("PNG", "JPEG")[at % 2])


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    """Two files of 60 and 50 images of many sizes in a struct, in row groups of 16; two of them are damaged."""
    folder = tmp_path_factory.mktemp("lake")
    found = list(crops(110))
    found[5], found[70] = found[5][:40], b"no image"
    labels = [("rose", "leaf")[at % 3 == 0] for at in range(110)]
    for name, part in (("a", slice(0, 60)), ("b", slice(60, 110))):
        rows = [{"bytes": data, "path": None} for data in found[part]]
        table = pa.table({"image": rows, "label": labels[part], "width": list(range(len(rows)))})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=16)
    return folder


SETTINGS = {"size": 32, "max_bad_rate": 0.05, "ray": False}


@pytest.fixture(scope="module")
def indexed(lake, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("indexed") / "lake"
    index(lake, folder, rows_per_fragment=40, **SETTINGS)
    return folder


def taken(plan, first=0, last=12):
    return [(batch.ids, batch.samples, batch.lengths) for batch in stream.local(plan, first, last)]


def test_nothing_is_copied_and_all_is_known(lake, indexed):
    manifest = Manifest.read(indexed)
    assert manifest.rows() == 108
    assert manifest.quarantined == {"not_an_image": 1, "truncated": 1}
    assert manifest.label_counts == {"train": {"leaf": 37, "rose": 71}}
    assert manifest.shape == (32, 32, 3)
    written = sum(file.stat().st_size for file in (indexed / "train").iterdir())
    assert written < sum(file.stat().st_size for file in lake.iterdir()) / 10


def test_the_samples_are_those_of_a_prepared_corpus(lake, indexed, tmp_path):
    prepare(lake, tmp_path / "prepared", store="raw", **SETTINGS)
    here, there = read_rows(indexed, "train", slice(None)), read_rows(tmp_path / "prepared", "train", slice(None))
    assert here["id"].tolist() == there["id"].tolist()
    assert np.array_equal(here["data"], there["data"])
    assert np.array_equal(here["label"], there["label"])
    one, other = Manifest.read(indexed), Manifest.read(tmp_path / "prepared")
    assert (one.mean, one.std, one.classes) == (other.mean, other.std, other.classes)


def test_the_order_is_that_of_the_contract(indexed):
    manifest = Manifest.read(indexed)
    plan = stream.plan(indexed, 8, seed=3, lanes=4)
    order = Order(108, 8, 3, 4, max(manifest.shards()[0].row_groups), plan.order.window)
    rows = np.concatenate([order.window_rows(0, window, range(4)) for window in range(order.windows)])
    ids = read_rows(indexed, "train", slice(None))["id"]
    found = np.stack([ids_of_step for ids_of_step, *_ in taken(plan)])
    assert np.array_equal(found, ids[rows[:12]])
    epoch = np.concatenate([ids_of_step for ids_of_step, *_ in taken(plan, 0, plan.order.steps)])
    assert len(np.unique(epoch)) == len(epoch) == 104


@pytest.mark.parametrize("world", [2, 3, 4])
def test_any_number_of_workers_gets_the_same_batches(world, indexed):
    plan = stream.plan(indexed, 8, seed=3, lanes=4)
    workers = [taken(replace(plan, rank=rank, world=world), 5, 20) for rank in range(world)]
    for alone, *parts in zip(taken(plan, 5, 20), *workers, strict=True):
        for column in range(3):
            assert np.array_equal(alone[column], np.concatenate([part[column] for part in parts]))


@pytest.mark.cluster
def test_tasks_of_a_cluster_read_the_same(indexed, ray_cluster):
    plan = stream.plan(indexed, 8, seed=3, lanes=4)
    found = [(batch.ids, batch.samples) for batch in stream.distributed(plan, 0, 26)]
    for (ids, samples), (here, there, _) in zip(found, taken(plan, 0, 26), strict=True):
        assert np.array_equal(ids, here)
        assert np.array_equal(samples, there)


def test_a_changed_file_is_refused(lake, tmp_path):
    mine = tmp_path / "lake"
    mine.mkdir()
    for file in lake.iterdir():
        (mine / file.name).write_bytes(file.read_bytes())
    index(mine, tmp_path / "out", **SETTINGS)
    plan = stream.plan(tmp_path / "out", 8, seed=3, lanes=4)
    table = pq.read_table(mine / "b.parquet")
    images = table["image"].to_pylist()
    images[20] = images[21]
    changed = table.set_column(0, "image", pa.array(images, table.schema.field("image").type))
    pq.write_table(changed, mine / "b.parquet", row_group_size=16)
    with pytest.raises(UserError, match=r"b\.parquet has changed since it was indexed \(row group 1\); put the file"):
        taken(plan)
    pq.write_table(table.slice(0, 10), mine / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet has changed"):
        taken(plan)
    (mine / "b.parquet").unlink()
    with pytest.raises(UserError, match=r"b\.parquet cannot be read as it was when it was indexed"):
        taken(plan)
    other = table.set_column(2, "width", pa.array([0] * 50))
    pq.write_table(other, mine / "b.parquet", row_group_size=16, compression="zstd")
    assert len(taken(plan)) == 12  # only the samples count


def test_an_interrupted_index_goes_on(lake, tmp_path):
    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index(lake, tmp_path, rows_per_fragment=20, progress=interrupt, **SETTINGS)
    seen = []
    index(lake, tmp_path, rows_per_fragment=20, progress=lambda *at: seen.append(at), **SETTINGS)
    assert seen[0] == (16, 110)
    assert seen[-1] == (110, 110)


def test_a_holdout_is_known_without_moving_a_row(lake, tmp_path):
    manifest = index(lake, tmp_path / "a", holdout=0.3, **SETTINGS)
    prepared = prepare(lake, tmp_path / "b", holdout=0.3, **SETTINGS)
    for split in ("train", "test"):
        assert manifest.rows(split) == prepared.rows(split)
        here, there = (read_rows(tmp_path / name, split, slice(None)) for name in "ab")
        assert here["id"].tolist() == there["id"].tolist()
        assert np.array_equal(here["data"], there["data"])


def digits_of(dtype, type, shape=(64,)):
    values = load_digits().images[:100].astype(dtype).reshape(100, *shape)
    return values, pa.array(values.tolist(), type)


def test_lists_of_pixels_are_read_as_they_are(tmp_path):
    values, column = digits_of(np.uint8, pa.list_(pa.uint8(), 64))
    pq.write_table(pa.table({"pixels": column, "label": load_digits().target[:100]}), tmp_path / "d.parquet")
    index(tmp_path / "d.parquet", tmp_path / "out", data_column="pixels", ray=False)
    found = read_rows(tmp_path / "out", "train", slice(None))
    assert np.array_equal(found["data"], values.reshape(100, 8, 8, 1))
    assert found["label"].tolist() == load_digits().target[:100].tolist()


@pytest.mark.parametrize("type", [pa.list_(pa.list_(pa.float32(), 8), 8), pa.list_(pa.list_(pa.float64(), 8))])
def test_lists_of_numbers_are_series_with_missing_values(type, tmp_path):
    values = load_digits().images[:100].copy()
    values[3, 6:] = np.nan
    plain = values.tolist()
    plain[4][2][1] = None
    values[4, 2, 1] = np.nan
    pq.write_table(pa.table({"values": pa.array(plain, type)}), tmp_path / "d.parquet", row_group_size=30)
    index(tmp_path / "d.parquet", tmp_path / "out", kind="series", ray=False)
    found = read_rows(tmp_path / "out", "train", [*range(100)][::-1])
    assert np.array_equal(found["data"][::-1], values.astype(np.float32), equal_nan=True)
    assert found["length"][::-1].tolist() == [8, 8, 8, 6, *[8] * 96]


def test_lists_of_16_bit_values_are_sound(tmp_path):
    draw = np.random.default_rng(0)
    time = np.arange(4000) / 8000
    waves = [8000 * np.sin(2 * np.pi * pitch * time) for pitch in draw.uniform(100, 1000, 20)]
    values = np.stack(waves).astype(np.int16)
    values[3, 17] = -32768  # which is how padding is written
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 4000)
    pq.write_table(pa.table({"audio": column}), tmp_path / "d.parquet", row_group_size=7)
    manifest = index(tmp_path / "d.parquet", tmp_path / "out", kind="audio", rate=8000, seconds=0.5, ray=False)
    assert (manifest.shape, manifest.facts["rate"], manifest.mean) == ((4000,), 8000, pytest.approx([0], abs=0.01))
    assert np.array_equal(read_rows(tmp_path / "out", "train", slice(None))["data"], np.maximum(values, -32767))
    with pytest.raises(UserError, match="20 needs_preparing"):
        index(
            tmp_path / "d.parquet",
            tmp_path / "short",
            kind="audio",
            rate=8000,
            seconds=0.25,
            min_seconds=0.1,
            ray=False,
        )


def test_what_cannot_be_read_in_place_is_said(lake, digits_folder, tmp_path):
    with pytest.raises(UserError, match=r"text cannot be read in place; run `selfray corpus prepare"):
        index(lake, tmp_path / "a", kind="text")
    with pytest.raises(UserError, match="holds no Parquet files"):
        index(digits_folder, tmp_path / "a")
    with pytest.raises(UserError, match="0 columns could be the series"):
        index(lake, tmp_path / "a", kind="series")
    with pytest.raises(UserError, match="lies in the source"):
        index(lake, lake / "out")


def test_a_lake_in_an_object_store_gives_the_same_batches(lake, indexed, bucket):
    from selfray.storage import Storage

    for file in sorted(lake.iterdir()):
        Storage.at(f"{bucket}/raw").write(file.name, file)
    index(f"{bucket}/raw", f"{bucket}/index", name=Manifest.read(indexed).name, rows_per_fragment=40, **SETTINGS)
    plans = [stream.plan(where, 8, seed=3, lanes=4) for where in (indexed, f"{bucket}/index")]
    for one, other in zip(taken(plans[0]), taken(plans[1]), strict=True):
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])
