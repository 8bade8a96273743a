"""Files on a disk and in a real S3 server on this machine: whole or not at all, once only, listed, refused."""

import errno
import os
import sys
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfray import buckets
from selfray.errors import UserError
from selfray.storage import ASIDE, Storage, Unreachable, full


@pytest.fixture(params=["local", "file", "s3"])
def storage(request, tmp_path):
    if request.param == "s3":
        return Storage.at(request.getfixturevalue("bucket") + "/some/prefix")
    return Storage.at(tmp_path / "root" if request.param == "local" else f"file://{tmp_path}/root")


def test_what_is_written_is_read_listed_and_deleted(storage, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(os.urandom(11 << 20))  # more than one part of a multipart upload
    storage.write("a/one", b"1")
    storage.write("a/one", b"22")
    storage.write("a/b/empty", b"")
    storage.write("big", big)
    assert storage.sizes() == {"a/one": 2, "a/b/empty": 0, "big": 11 << 20}
    assert storage.sizes("a") == {"a/one": 2, "a/b/empty": 0}
    assert storage.sizes("missing") == {}
    assert storage.read("a/one") == b"22"
    assert b"".join(storage.blocks("big")) == big.read_bytes()
    assert (storage / "a").read("one") == b"22"
    assert (storage / "a" / "b").sizes() == {"empty": 0}
    storage.delete("a/one")
    storage.delete("a/one")
    storage.delete_tree("a")
    storage.delete_tree("a")
    assert storage.sizes() == {"big": 11 << 20}


def test_a_missing_file_is_a_file_not_found_error(storage):
    for read in (storage.read, storage.open, lambda name: list(storage.blocks(name))):
        with pytest.raises(FileNotFoundError):
            read("missing")


def test_parquet_is_read_at_random_positions(storage):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": list(range(1000))}), sink, row_group_size=100)
    storage.write("part.parquet", sink.getvalue().to_pybytes())
    with storage.open("part.parquet") as file:
        assert pq.ParquetFile(file).read_row_group(7)["id"].to_pylist() == list(range(700, 800))


def test_create_succeeds_for_one_of_many(storage):
    wins, start = [], threading.Barrier(8)

    def race(number):
        start.wait()
        if storage.create("owner", f"process {number}".encode()):
            wins.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert storage.read("owner") == f"process {wins[0]}".encode()
    assert storage.sizes() == {"owner": 9}


def test_a_repeated_create_whose_first_answer_was_lost_is_a_success_in_s3(bucket):
    storage = Storage.at(bucket)
    assert storage.create("owner", b"token 1")
    assert storage.create("owner", b"token 1")
    assert not storage.create("owner", b"token 2")


@pytest.mark.parametrize("name", ["../other", "a/../../other", "/etc/passwd"])
def test_names_do_not_leave_the_storage(storage, name):
    with pytest.raises(ValueError, match="leaves the storage"):
        storage.read(name)


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_local_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, failing):
    storage = Storage.at(tmp_path)
    storage.write("file", b"before")

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left") as caught:
        storage.write("file", b"after")
    monkeypatch.undo()
    assert full(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert storage.read("file") == b"before"


def test_a_file_in_the_making_is_not_listed(tmp_path):
    (tmp_path / f".file.0123{ASIDE}").write_bytes(b"half")
    assert Storage.at(tmp_path).sizes() == {}


def test_files_that_others_remove_meanwhile_do_not_disturb_a_listing(tmp_path):
    storage, over = Storage.at(tmp_path), threading.Event()

    def churn():
        while not over.is_set():
            storage.write("a/b/c", b"1")
            storage.delete_tree("a")

    storage.write("stays", b"1")
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert all(storage.sizes().get("stays") == 1 for _ in range(500))
    finally:
        over.set()
        thread.join()


def test_free_bytes_are_known_for_disks_only(tmp_path, bucket):
    assert Storage.at(tmp_path / "not" / "yet" / "there").free_bytes() > 0
    assert Storage.at(bucket).free_bytes() is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://example.org/x", "give a path or one of file, s3, gs://"),
        ("hdfs://namenode/x", "give a path or one of"),
        ("s3:///prefix", "names no bucket"),
        ("s3://bucket/x?endpoint_override=evil", "may name a bucket and a prefix only"),
        ("file://elsewhere/x", "names the host elsewhere"),
    ],
)
def test_other_addresses_are_refused(address, said):
    with pytest.raises(UserError, match=said):
        Storage.at(address)


def test_a_secret_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(UserError, match="credentials and the endpoint in the environment") as caught:
        Storage.at("s3://key:hunter2@bucket/x")
    assert "hunter2" not in str(caught.value)


def test_an_outage_and_a_missing_bucket_are_sentences(bucket, monkeypatch):
    with pytest.raises(Unreachable, match="cannot be used"):
        Storage.at("s3://no-such-bucket-here").write("x", b"1")
    monkeypatch.setattr(buckets, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for work in (
        lambda s: s.read("x"),
        lambda s: s.write("x", b"1"),
        lambda s: s.sizes(),
        lambda s: s.create("x", b""),
    ):
        with pytest.raises(Unreachable, match=r"s3://.*cannot be"):
            work(Storage.at(bucket))


def test_the_extra_that_is_missing_is_named(bucket, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)
    with pytest.raises(UserError, match=r"pip install 'selfray\[s3\]'"):
        Storage.at(bucket).create("x", b"1")


def test_checkpoints_of_a_store_without_conditional_puts_are_refused():
    class Files:
        pass

    with pytest.raises(UserError, match="no exclusive creation"):
        buckets.Objects("gs://bucket", Files(), "bucket").create("x", b"1")
