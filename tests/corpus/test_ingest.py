"""Preparing a corpus: what is written, and that it is the same however it was made."""

import gzip
import hashlib
import json
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from selfray.corpus.images import encode
from selfray.corpus.ingest import prepare
from selfray.corpus.lakes import cut
from selfray.corpus.manifest import SCHEMA, Manifest
from selfray.corpus.read import read_rows
from selfray.corpus.sources import open_source
from selfray.errors import UserError

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SMALL = {"rows_per_fragment": 100, "rows_per_group": 32, "ray": False}


def contents(folder):
    """Every byte of a corpus but its marks."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".prepare" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def photos(folder, number=6, sizes=(40, 56)):
    """Crops of a photo of two heights, half of them JPEG."""
    photo = load_sample_image("flower.jpg")
    for index in range(number):
        path = folder / f"{index}.{'jpg' if index % 2 else 'png'}"
        write_png(path, photo[100 : 100 + sizes[index % 2], 10 * index : 10 * index + 48])
    return folder


def test_a_folder_of_classes_becomes_shards_with_a_manifest(digits_folder, digits, tmp_path):
    manifest = prepare(digits_folder, tmp_path, **SMALL)
    assert manifest == Manifest.read(tmp_path)
    assert (manifest.shape, manifest.encoding) == ((8, 8, 1), "raw")
    assert manifest.classes == tuple(sorted(NAMES))
    assert [shard.row_groups for shard in manifest.shards()] == [(32, 32, 32, 4)] * 3
    for shard in manifest.shards():
        data = (tmp_path / shard.file).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        with pq.ParquetFile(tmp_path / shard.file) as parquet:
            assert parquet.schema_arrow.equals(SCHEMA)
            assert tuple(parquet.metadata.row_group(g).num_rows for g in range(4)) == shard.row_groups
    images, labels = digits
    rows = read_rows(tmp_path, "train", slice(None))
    assert rows["id"].tolist() == list(range(300))
    order = sorted(range(300), key=lambda number: (NAMES[labels[number]], number))
    np.testing.assert_array_equal(rows["data"][..., 0], images[order])
    assert [manifest.classes[label] for label in rows["label"]] == [NAMES[label] for label in labels[order]]
    assert manifest.label_counts["train"] == {name: int((labels == i).sum()) for i, name in enumerate(NAMES)}
    assert manifest.mean == pytest.approx([images.mean() / 255])
    assert manifest.std == pytest.approx([images.std() / 255])


def test_the_same_source_gives_the_same_bytes_wherever_it_lies(digits_folder, tmp_path):
    moved = tmp_path / digits_folder.name
    moved.symlink_to(digits_folder)
    for source, out in ((digits_folder, "a"), (moved, "b")):
        prepare(source, tmp_path / out, name="digits", about={"source": "digits"}, **SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.cluster
def test_ray_and_one_process_give_the_same_bytes(digits_folder, tmp_path, ray_cluster):
    seen = []
    settings = {**SMALL, "holdout": 0.3}
    (tmp_path / "source").mkdir()
    for path in digits_folder.rglob("*.png"):
        (tmp_path / "source" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "source" / "bad.png").write_bytes(b"no image")
    prepare(tmp_path / "source", tmp_path / "one", **settings)
    prepare(tmp_path / "source", tmp_path / "ray", **{**settings, "ray": True}, progress=lambda *at: seen.append(at))
    assert contents(tmp_path / "one") == contents(tmp_path / "ray")
    assert seen[0] == (0, 301)
    assert seen[-1] == (301, 301)
    assert len(seen) == 5
    for path in (tmp_path / "source").glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="301 of 301 samples are bad"):
        prepare(tmp_path / "source", tmp_path / "worse", ray=True)


def test_a_finished_corpus_is_returned_untouched(digits_folder, tmp_path):
    first = prepare(digits_folder, tmp_path, **SMALL)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert prepare(digits_folder, tmp_path, **SMALL) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before


def test_an_interrupted_run_goes_on_where_it_stopped(digits_folder, tmp_path):
    prepare(digits_folder, tmp_path / "whole", **SMALL)

    def interrupt(done, total):
        if done == 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(digits_folder, tmp_path / "cut", progress=interrupt, **SMALL)
    with pytest.raises(UserError, match="not a prepared corpus"):
        Manifest.read(tmp_path / "cut")
    shards = [tmp_path / "cut" / "train" / f"0000{index}.parquet" for index in range(3)]
    assert [shard.exists() for shard in shards] == [True, True, False]
    (tmp_path / "cut" / "train" / ".00002.parquet.0.aside").write_bytes(b"half a shard of a killed task")
    before, seen = shards[0].stat().st_mtime_ns, []
    prepare(digits_folder, tmp_path / "cut", progress=lambda *at: seen.append(at), **SMALL)
    assert shards[0].stat().st_mtime_ns == before
    assert seen == [(200, 300), (300, 300)]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_lost_shard_is_made_again(digits_folder, tmp_path):
    first = prepare(digits_folder, tmp_path, **SMALL)
    before = contents(tmp_path)
    (tmp_path / "train" / "00001.parquet").unlink()
    assert prepare(digits_folder, tmp_path, **SMALL) == first
    assert contents(tmp_path) == before


def test_an_unfinished_run_with_other_settings_leaves_no_trace(digits_folder, tmp_path):
    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(digits_folder, tmp_path / "a", progress=interrupt, **{**SMALL, "holdout": 0.5})
    for out in ("a", "b"):
        prepare(digits_folder, tmp_path / out, **SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_destination_that_holds_something_else_is_refused(digits_folder, digits_corpus, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty and was not prepared"):
        prepare(digits_folder, tmp_path, ray=False)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    before = contents(digits_corpus)
    with pytest.raises(UserError, match=r"prepared otherwise \(size was None; holdout was 0.2\)"):
        prepare(digits_folder, digits_corpus, size=16, **SMALL)
    with pytest.raises(UserError, match="the source's files are others"):
        prepare(photos(tmp_path / "photos"), digits_corpus, ray=False)
    assert contents(digits_corpus) == before


def test_a_destination_in_the_source_is_refused(digits_folder, digits_corpus, tmp_path):
    with pytest.raises(UserError, match="lies in the source"):
        prepare(digits_folder, digits_folder / "out", ray=False)
    with pytest.raises(UserError, match="prepared corpus already"):
        prepare(digits_corpus, tmp_path / "out", ray=False)


def test_bad_samples_are_kept_apart_with_their_reasons(digits_folder, tmp_path):
    source = tmp_path / "source"
    for path in sorted(digits_folder.rglob("*.png"))[:50]:
        write_png(source / path.name, np.asarray(Image.open(path)))
    whole = next(source.iterdir()).read_bytes()
    long = b"text, not pixels" * 10_000
    bad = {"a.png": b"", "b.png": long, "c.png": whole[:-30], "d.gif": b"GIF89a", "e.png": whole[:24]}
    for name, data in bad.items():
        (source / name).write_bytes(data)
    (source / "gone.png").symlink_to(source / "nowhere.png")
    (source / "notes.txt").write_text("ignored, but counted")
    with pytest.raises(UserError) as refused:
        prepare(source, tmp_path / "out", ray=False)
    text = str(refused.value)
    assert "6 of 56 samples are bad (10.7%, allowed are 1.0%)" in text
    assert "1 not_an_image, such as b.png" in text
    assert "1 unreadable, such as gone.png" in text
    assert "--max-bad-rate" in text
    assert str(tmp_path / "out" / "quarantine") in text

    manifest = prepare(source, tmp_path / "out", max_bad_rate=0.2, ray=False)
    assert manifest.quarantined == {"empty": 1, "not_an_image": 1, "truncated": 2, "undecodable": 1, "unreadable": 1}
    assert manifest.rows() == 50
    assert manifest.about["ignored"] == "1 files .txt"
    kept = pq.read_table(tmp_path / "out" / "quarantine" / "00000.parquet").to_pylist()
    assert [row["source"] for row in kept] == [*sorted(bad), "gone.png"]
    by_name = {row["source"]: row for row in kept}
    assert by_name["b.png"]["bytes"] == long[: 64 << 10]
    assert by_name["b.png"]["size"] == len(long)
    assert all(row["detail"] for row in kept)
    good = read_rows(tmp_path / "out", "train", slice(None))["id"]
    assert not set(good) & {row["id"] for row in kept}
    with pytest.raises(UserError, match="6 of 56"):
        prepare(source, tmp_path / "out", max_bad_rate=0.05, ray=False)


def test_nothing_to_prepare_is_said_plainly(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.unknown").write_text("text")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"text")
    with pytest.raises(UserError, match="no such file or folder"):
        prepare(tmp_path / "missing", tmp_path / "out", ray=False)
    with pytest.raises(UserError, match="is an empty folder"):
        prepare(tmp_path / "empty", tmp_path / "out", ray=False)
    with pytest.raises(UserError, match=r"readable are: .*folder of PNG.*Parquet"):
        prepare(tmp_path / "text", tmp_path / "out", ray=False)
    with pytest.raises(UserError, match="no good sample is left"):
        prepare(tmp_path / "bad", tmp_path / "out", max_bad_rate=1, ray=False)


@pytest.mark.parametrize(
    "settings",
    [{"size": 2}, {"size": (8, 8, 3)}, {"channels": 2}, {"fit": "stretch"}, {"store": "zip"}, {"holdout": 1.0},
     {"max_bad_rate": -1}, {"rows_per_group": 0}],
)  # fmt: skip
def test_impossible_settings_are_refused(digits_folder, tmp_path, settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        prepare(digits_folder, tmp_path / "out", ray=False, **settings)


def test_the_shape_follows_the_headers(tmp_path):
    assert prepare(photos(tmp_path / "one", sizes=(40, 40)), tmp_path / "a", ray=False).shape == (40, 48, 3)
    assert prepare(photos(tmp_path / "two"), tmp_path / "b", ray=False).shape == (224, 224, 3)
    assert prepare(tmp_path / "two", tmp_path / "c", size=32, channels=1, ray=False).shape == (32, 32, 1)
    assert prepare(tmp_path / "two", tmp_path / "d", size=(16, 24), ray=False).shape == (16, 24, 3)


def test_files_of_the_right_shape_are_kept_to_the_byte(tmp_path):
    source = photos(tmp_path / "photos")
    manifest = prepare(source, tmp_path / "out", size=(40, 48), store="file", ray=False)
    assert manifest.encoding == "file"
    rows = pq.read_table(tmp_path / "out" / "train" / "00000.parquet").to_pylist()
    for row in rows:
        original = (source / row["source"]).read_bytes()
        if row["source"].endswith(".png"):
            assert row["data"] == original
        else:  # 56 high: cut, and encoded as what it was
            assert row["data"].startswith(b"\xff\xd8\xff")
            assert row["data"] != original
    assert read_rows(tmp_path / "out", "train", slice(None))["data"].shape == (6, 40, 48, 3)


def test_large_samples_are_stored_as_files(tmp_path):
    source = photos(tmp_path / "photos")
    assert prepare(source, tmp_path / "a", size=96, ray=False).encoding == "raw"
    assert prepare(source, tmp_path / "b", size=97, ray=False).encoding == "file"


def test_train_and_test_folders_are_splits(digits, tmp_path):
    images, labels = digits
    for number in range(60):
        split = "train" if number < 40 else "val"
        write_png(tmp_path / "s" / split / NAMES[labels[number]] / f"{number}.png", images[number])
    manifest = prepare(tmp_path / "s", tmp_path / "out", ray=False)
    assert {split: manifest.rows(split) for split in manifest.splits} == {"train": 40, "test": 20}
    assert read_rows(tmp_path / "out", "test", slice(None))["id"].tolist() == list(range(40, 60))
    assert manifest.classes == tuple(sorted(NAMES))
    with pytest.raises(UserError, match="a test split of its own"):
        prepare(tmp_path / "s", tmp_path / "out2", holdout=0.1, ray=False)
    write_png(tmp_path / "s" / "stray.png", images[0])
    with pytest.raises(UserError, match=r"1 images outside of them, such as stray.png"):
        prepare(tmp_path / "s", tmp_path / "out2", ray=False)


def test_a_class_may_be_called_train(digits, tmp_path):
    for number, name in enumerate(("boat", "car", "train")):
        write_png(tmp_path / "s" / name / "x.png", digits[0][number])
    manifest = prepare(tmp_path / "s", tmp_path / "out", ray=False)
    assert manifest.classes == ("boat", "car", "train")
    assert list(manifest.splits) == ["train"]


def test_the_holdout_is_about_its_fraction_and_the_same_for_any_fragments(digits_folder, tmp_path):
    held = []
    for out, rows in (("a", 300), ("b", 70)):
        prepare(digits_folder, tmp_path / out, holdout=0.25, rows_per_fragment=rows, ray=False)
        train, test = (set(read_rows(tmp_path / out, split, slice(None))["id"]) for split in ("train", "test"))
        assert train | test == set(range(300))
        assert not train & test
        held.append(test)
    assert held[0] == held[1]
    assert 50 <= len(held[0]) <= 100


def test_groups_stay_on_one_side(digits, tmp_path):
    groups = [f"person {number // 6}" for number in range(300)]
    table = pa.table({"image": [encode(image[:, :, None]) for image in digits[0]], "group": groups})
    pq.write_table(table, tmp_path / "g.parquet")
    prepare(tmp_path / "g.parquet", tmp_path / "out", holdout=0.3, ray=False)
    sides = [set(pq.read_table(tmp_path / "out" / split)["group"].to_pylist()) for split in ("train", "test")]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == set(groups)


def hugging_face(digits, rows):
    """A table as the `datasets` library writes it: a struct of bytes and path, class names in the metadata."""
    images, labels = digits
    column = [{"bytes": encode(images[row][:, :, None]), "path": f"{row}.png"} for row in rows]
    names = {"label": {"names": list(NAMES), "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    table = pa.table({"image": column, "label": pa.array(labels[rows], pa.int64()), "weight": [1.0] * len(rows)})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": names}})})


def test_hugging_face_parquet_brings_its_splits_and_names(digits, tmp_path):
    source = tmp_path / "digits" / "data"
    source.mkdir(parents=True)
    pq.write_table(hugging_face(digits, range(0, 150)), source / "train-00000-of-00002.parquet", row_group_size=40)
    pq.write_table(hugging_face(digits, range(150, 250)), source / "train-00001-of-00002.parquet")
    pq.write_table(hugging_face(digits, range(250, 300)), source / "test-00000-of-00001.parquet")
    manifest = prepare(source.parent, tmp_path / "out", **SMALL)
    assert manifest.classes == NAMES  # in the order of their numbers
    assert {split: manifest.rows(split) for split in manifest.splits} == {"train": 250, "test": 50}
    for split, rows in (("train", slice(0, 250)), ("test", slice(250, 300))):
        read = read_rows(tmp_path / "out", split, slice(None))
        np.testing.assert_array_equal(read["data"][..., 0], digits[0][rows])
        np.testing.assert_array_equal(read["label"], digits[1][rows])
    sources = pq.read_table(tmp_path / "out" / "train")["source"].to_pylist()
    assert sources[149:151] == ["data/train-00000-of-00002.parquet#149", "data/train-00001-of-00002.parquet#0"]


def test_parquet_without_bytes_or_with_damaged_pages_is_quarantined(digits, tmp_path):
    rows = hugging_face(digits, range(100)).to_pylist()
    rows[7]["image"]["bytes"] = None
    rows[8]["image"] = None
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=50, compression="none")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    with pq.ParquetFile(tmp_path / "a.parquet") as parquet:
        start = parquet.metadata.row_group(1).column(0).data_page_offset
    data[start : start + 20] = b"\xff" * 20
    (tmp_path / "a.parquet").write_bytes(data)
    manifest = prepare(tmp_path / "a.parquet", tmp_path / "out", rows_per_fragment=50, max_bad_rate=1, ray=False)
    assert manifest.quarantined == {"empty": 2, "unreadable": 50}
    assert manifest.rows() == 48


def test_columns_that_are_not_clear_are_listed(digits, tmp_path):
    bytes_column = [encode(image[:, :, None]) for image in digits[0][:20]]
    table = {"left": bytes_column, "right": bytes_column, "fine": list(range(20)), "target": ["a", "b"] * 10}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"2 columns could be the images.*left: binary, right: binary.*data_column"):
        prepare(tmp_path / "a.parquet", tmp_path / "out", ray=False)
    with pytest.raises(UserError, match="no column 'fine' of images"):
        prepare(tmp_path / "a.parquet", tmp_path / "out", data_column="fine", ray=False)
    manifest = prepare(tmp_path / "a.parquet", tmp_path / "out", data_column="right", ray=False)
    assert manifest.classes == ("a", "b")
    manifest = prepare(tmp_path / "a.parquet", tmp_path / "out2", data_column="left", label_column="fine", ray=False)
    assert manifest.classes == tuple(map(str, range(20)))
    pq.write_table(pa.table({**table, "label": [0] * 20}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"several labels \(target, label\).*label_column"):
        prepare(tmp_path / "a.parquet", tmp_path / "out3", data_column="left", ray=False)
    write_png(tmp_path / "images" / "a.png", digits[0][0])
    with pytest.raises(UserError, match=r"label_column: unknown key"):
        prepare(tmp_path / "images", tmp_path / "out4", label_column="x", ray=False)


def test_files_that_are_no_parquet_are_named(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.parquet").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.parquet is not a readable Parquet file"):
        prepare(tmp_path / "s", tmp_path / "out", ray=False)


def test_two_kinds_of_data_in_one_folder_are_refused(digits, tmp_path):
    write_png(tmp_path / "a.png", digits[0][0])
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="point at a folder that holds only one"):
        open_source(tmp_path)


@pytest.mark.parametrize("sizes", [[10, 10, 10], [100], [2049, 3], [5000] * 2, [7, 30_000, 7], [0, 5, 0], []])
@pytest.mark.parametrize("rows", [25, 2048])
def test_pieces_of_parquet_cover_each_row_once(sizes, rows):
    covered = []
    for groups, skip, count in cut(sizes, rows):
        numbers = [(group, row) for group in groups for row in range(sizes[group])]
        assert 0 < count <= len(numbers) - skip
        covered += numbers[skip : skip + count]
    assert covered == [(group, row) for group, size in enumerate(sizes) for row in range(size)]


def write_idx(path, array):
    header = struct.pack(f">{array.ndim + 1}I", 0x0800 + array.ndim, *array.shape)
    path.write_bytes((gzip.compress if path.suffix == ".gz" else bytes)(header + array.astype(np.uint8).tobytes()))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_have_their_official_split(digits, tmp_path, suffix):
    images, labels = digits
    (tmp_path / "s").mkdir()
    for prefix, rows in (("train", slice(0, 200)), ("t10k", slice(200, 300))):
        write_idx(tmp_path / "s" / f"{prefix}-images-idx3-ubyte{suffix}", images[rows])
        write_idx(tmp_path / "s" / f"{prefix}-labels-idx1-ubyte{suffix}", labels[rows])
    manifest = prepare(tmp_path / "s", tmp_path / "out", **SMALL)
    assert manifest.classes == tuple("0123456789")
    for split, rows in (("train", slice(0, 200)), ("test", slice(200, 300))):
        read = read_rows(tmp_path / "out", split, slice(None))
        np.testing.assert_array_equal(read["data"][..., 0], images[rows])
        np.testing.assert_array_equal(read["label"], labels[rows])


def test_an_idx_file_that_ends_early_loses_no_sample_silently(digits, tmp_path):
    (tmp_path / "s").mkdir()
    write_idx(tmp_path / "s" / "train-labels-idx1-ubyte", digits[1][:100])
    whole = tmp_path / "s" / "train-images-idx3-ubyte"
    write_idx(whole, digits[0][:100])
    whole.write_bytes(whole.read_bytes()[:-100])
    manifest = prepare(tmp_path / "s", tmp_path / "out", max_bad_rate=0.1, ray=False)
    assert manifest.quarantined == {"truncated": 2}
    assert manifest.rows() == 98


@pytest.mark.parametrize("header", [False, True])
def test_a_csv_of_pixels_has_its_label_first_or_last(digits, tmp_path, header):
    images, labels = digits
    pixels = images[:50].reshape(50, -1)
    columns = [labels[:50, None], pixels] if header else [pixels, labels[:50, None]]
    lines = [",".join(map(str, row)) for row in np.hstack(columns)]
    if header:
        lines.insert(0, ",".join(["label", *(f"pixel{number}" for number in range(64))]))
    lines[-1] = lines[-1][:-20]
    with gzip.open(tmp_path / "d.csv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    manifest = prepare(tmp_path / "d.csv.gz", tmp_path / "out", rows_per_fragment=20, max_bad_rate=0.05, ray=False)
    assert (manifest.name, manifest.quarantined) == ("d", {"undecodable": 1})
    read = read_rows(tmp_path / "out", "train", slice(None))
    np.testing.assert_array_equal(read["data"][..., 0], images[:49])
    assert [manifest.classes[label] for label in read["label"]] == [str(label) for label in labels[:49]]


def test_a_name_of_any_bytes_is_kept_readable(digits, tmp_path):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    write_png(tmp_path / "s" / name / "1.png", digits[0][0])
    write_png(tmp_path / "s" / "tea" / "1.png", digits[0][1])
    manifest = prepare(tmp_path / "s", tmp_path / "out", ray=False)
    assert manifest.classes == ("caf\\udce9", "tea")
    assert Manifest.read(tmp_path / "out") == manifest


def test_two_processes_do_not_prepare_one_folder(digits_folder, tmp_path):
    def again(done, total):
        with pytest.raises(UserError, match="by another process"):
            prepare(digits_folder, tmp_path / "out", ray=False)

    prepare(digits_folder, tmp_path / "out", progress=again, **SMALL)
