"""Corpora prepared from and to an object store: a real server of the S3 protocol on this machine."""

import gzip
import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from selfray.corpus import location, quality, stream
from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest
from selfray.corpus.read import read_rows
from selfray.errors import UserError
from selfray.storage import Storage, Unreachable

SMALL = {"rows_per_fragment": 20, "rows_per_group": 8, "ray": False}


def contents(where):
    """Every byte of a corpus but its marks."""
    there = Storage.at(where)
    return {name: there.read(name) for name in there.sizes() if not name.startswith(".prepare/")}


def uploaded(folder, where):
    there = Storage.at(where)
    for file in folder.rglob("*"):
        if file.is_file():
            there.write(file.relative_to(folder).as_posix(), file)
    return where


@pytest.fixture(scope="module")
def few_digits(digits_folder, tmp_path_factory):
    """60 of the digits."""
    folder = tmp_path_factory.mktemp("few") / "digits"
    for file in sorted(digits_folder.rglob("*.png"))[::5]:
        (folder / file.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / file.parent.name / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def remote_digits(few_digits, bucket):
    return uploaded(few_digits, f"{bucket}/raw/digits")


def test_images_of_a_bucket_become_the_same_bytes_here_and_there(few_digits, remote_digits, bucket, tmp_path):
    settings = {**SMALL, "holdout": 0.2, "duplicates": "drop"}
    prepare(few_digits, tmp_path / "local", **settings)
    prepare(remote_digits, tmp_path / "down", **settings)
    prepare(few_digits, f"{bucket}/up", **settings)
    prepare(remote_digits, f"{bucket}/both", **settings)
    expected = contents(tmp_path / "local")
    assert set(expected) >= {"manifest.json", "quality_report.json", "train/00000.parquet", "test/00000.parquet"}
    for where in (tmp_path / "down", f"{bucket}/up", f"{bucket}/both"):
        assert contents(where) == expected
    assert quality.metrics(f"{bucket}/both") == quality.metrics(tmp_path / "local")
    one, other = (stream.plan(where, 8, 0, 4) for where in (tmp_path / "local", f"{bucket}/both"))
    for here, there in zip(stream.local(one, 0, 6), stream.local(other, 0, 6), strict=True):
        assert np.array_equal(here.samples, there.samples)


def test_what_is_finished_in_a_bucket_is_not_done_again(remote_digits, bucket, tmp_path):
    def interrupt(done, total):
        if done == 40:
            raise KeyboardInterrupt

    there, seen = Storage.at(f"{bucket}/out"), []
    with pytest.raises(KeyboardInterrupt):
        prepare(remote_digits, there.uri, progress=interrupt, **SMALL)
    with pytest.raises(UserError, match="not a prepared corpus"):
        Manifest.read(there.uri)
    changed = {info.path: info.mtime for info in there.files.get_file_info([f"{there.root}/train/00000.parquet"])}
    prepare(remote_digits, there.uri, progress=lambda *at: seen.append(at), **SMALL)
    assert seen == [(40, 60), (60, 60)]
    assert changed == {i.path: i.mtime for i in there.files.get_file_info([f"{there.root}/train/00000.parquet"])}
    there.delete("train/00001.parquet")
    seen.clear()
    prepare(remote_digits, there.uri, progress=lambda *at: seen.append(at), **SMALL)
    assert seen == [(40, 60), (60, 60)]
    prepare(remote_digits, tmp_path / "local", **SMALL)
    assert contents(there.uri) == contents(tmp_path / "local")


def test_a_prefix_that_holds_something_else_is_refused(few_digits, remote_digits, bucket):
    Storage.at(f"{bucket}/letters").write("a.txt", b"dear")
    with pytest.raises(UserError, match="is not empty and was not prepared by this; choose a new prefix"):
        prepare(few_digits, f"{bucket}/letters", **SMALL)
    prepare(few_digits, f"{bucket}/digits", **SMALL)
    with pytest.raises(UserError, match=r"prepared otherwise \(size was None\)"):
        prepare(few_digits, f"{bucket}/digits", size=16, **SMALL)
    with pytest.raises(UserError, match="lies in the source"):
        prepare(remote_digits, f"{remote_digits}/out", **SMALL)
    with pytest.raises(UserError, match="is a prepared corpus already"):
        prepare(f"{bucket}/digits", f"{bucket}/again", **SMALL)
    with pytest.raises(UserError, match="no source at s3://"):
        prepare(f"{bucket}/nothing", f"{bucket}/out", **SMALL)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_sort_of_source_is_read_from_a_bucket(digits, bucket, tmp_path):
    images, labels = digits
    raw = tmp_path / "raw"
    for name in ("parquet", "tar", "texts", "tables", "wide", "arrays", "sounds", "csv"):
        (raw / name).mkdir(parents=True)
    rows = [png(image) for image in images[:60]]
    pq.write_table(pa.table({"image": rows, "label": labels[:60]}), raw / "parquet" / "d.parquet", row_group_size=20)
    with tarfile.open(raw / "tar" / "d.tar", "w") as tar, tarfile.open(raw / "tar" / "e.tar.gz", "w:gz") as packed:
        for number, data in enumerate(rows):
            member = tarfile.TarInfo(f"{number:03d}.png")
            member.size = len(data)
            (tar if number % 2 else packed).addfile(member, io.BytesIO(data))
    lines = [json.dumps({"text": f"the number {number} has {len(str(number))} digits"}) for number in range(300)]
    with gzip.open(raw / "texts" / "d.jsonl.gz", "wt") as file:
        file.write("\n".join(lines))
    pq.write_table(pa.table({"text": [json.loads(line)["text"] for line in lines]}), raw / "tables" / "t.parquet")
    with gzip.open(raw / "wide" / "d.csv.gz", "wt") as file:
        file.write("\n".join(["a,b,c", *(f"{n},{n * n},{n % 7}" for n in range(40))]))
    np.savez(raw / "arrays" / "d.npz", X=np.random.default_rng(0).normal(size=(30, 20)))
    for number in range(3):
        wave = np.sin(np.arange(8000) * (0.1 + number / 10))
        soundfile.write(raw / "sounds" / f"{number}.flac", wave * 0.5, 8000)
    table = np.hstack([images[:30].reshape(30, -1), labels[:30, None]])
    (raw / "csv" / "d.csv").write_text("\n".join(",".join(map(str, row)) for row in table))
    uploaded(raw, f"{bucket}/raw")
    settings = {
        "parquet": {},
        "tar": {},
        "texts": {"length": 16, "vocabulary": 400},
        "tables": {"kind": "text", "length": 16, "vocabulary": 400},
        "wide": {"kind": "series", "layout": "wide"},
        "arrays": {},
        "sounds": {"seconds": 0.5, "rate": 8000},
        "csv": {},
    }
    for name, given in settings.items():
        for where, out in ((raw, tmp_path / "out"), (f"{bucket}/raw", f"{bucket}/out")):
            prepare(f"{where}/{name}", f"{out}/{name}", rows_per_fragment=25, ray=False, **given)
        here, there = (read_rows(f"{out}/{name}", "train", slice(None)) for out in (tmp_path / "out", f"{bucket}/out"))
        assert len(here["id"]), name
        for column, values in here.items():
            same = np.array_equal(values, there[column], equal_nan=values.dtype.kind == "f")
            assert same, (name, column)


def test_a_store_that_fails_stops_the_work_and_is_not_taken_for_damage(remote_digits, tmp_path, monkeypatch):
    from selfray.corpus.location import Address

    def failing(self, mode="rb"):
        raise Unreachable(f"{self} cannot be read: no answer")

    with monkeypatch.context() as broken:
        broken.setattr(Address, "open", failing)
        with pytest.raises(UserError, match="cannot be read: no answer"):
            prepare(remote_digits, tmp_path / "out", size=8, channels=1, **SMALL)
    assert not list((tmp_path / "out").glob("quarantine/*"))
    assert prepare(remote_digits, tmp_path / "out", size=8, channels=1, **SMALL).rows() == 60


def test_an_object_is_read_like_a_file(bucket):
    Storage.at(bucket).write("deep/a.txt.gz", gzip.compress(b"one\ntwo\n"))
    where = location.at(f"{bucket}/deep/a.txt.gz")
    assert (where.name, where.suffix, where.stem, where.parent.name) == ("a.txt.gz", ".gz", "a.txt", "deep")
    assert where.is_file()
    assert not where.parent.is_file()
    assert where.parent.exists()
    assert not (where.parent / "b").exists()
    with location.unzipped(where) as file:
        assert file.readlines() == [b"one\n", b"two\n"]
    with where.open() as file:
        whole = file.read()
        file.seek(-4, io.SEEK_END)
        assert file.read() == whole[-4:]
    with pytest.raises(FileNotFoundError):
        (where.parent / "b").open()
