"""Raw data in Google Cloud Storage, read by pyarrow's own client from a small server of the JSON protocol.

What is shown is that addresses, listings, sizes and ranges of `gs://` are understood as pyarrow gives them. Google's
credentials, its outages and uploads to it are not tried here.
"""

import subprocess
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from selfray import buckets
from selfray.corpus import location, place
from selfray.corpus.indexing import index
from selfray.corpus.ingest import prepare
from selfray.corpus.read import read_rows
from selfray.errors import UserError
from selfray.storage import Storage


@pytest.fixture
def google(tmp_path, monkeypatch):
    """The folder whose files are the objects of `gs://bucket`."""
    folder = tmp_path / "google"
    folder.mkdir()
    script = Path(__file__).with_name("google_server.py")
    with subprocess.Popen([sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline())
        client = partial(
            fs.GcsFileSystem,
            anonymous=True,
            scheme="http",
            endpoint_override=f"127.0.0.1:{port}",
            retry_time_limit=timedelta(seconds=5),
        )
        monkeypatch.setattr(buckets.fs, "GcsFileSystem", client)
        place.storage.cache_clear()
        yield folder
        place.storage.cache_clear()
        server.terminate()


def test_images_and_parquet_are_prepared_and_indexed_from_google(google, digits_folder, digits, tmp_path):
    for file in sorted(digits_folder.rglob("*.png"))[:40]:
        target = google / "raw" / "images" / file.relative_to(digits_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    (google / "raw" / "lake").mkdir()
    column = pa.array(digits[0][:60].reshape(60, -1).tolist(), pa.list_(pa.uint8(), 64))
    pq.write_table(pa.table({"pixels": column}), google / "raw" / "lake" / "a.parquet", row_group_size=20)

    assert prepare("gs://bucket/raw/images", tmp_path / "images", ray=False).rows() == 40
    index("gs://bucket/raw/lake", tmp_path / "lake", data_column="pixels", ray=False)
    assert np.array_equal(read_rows(tmp_path / "lake", "train", [50, 3])["data"][..., 0], digits[0][[50, 3]])
    with pytest.raises(UserError, match="no source at gs://bucket/nothing"):
        prepare("gs://bucket/nothing", tmp_path / "out", ray=False)


def test_an_address_of_google_is_understood():
    where = location.at("gs://bucket/deep/raw/")
    assert (str(where), where.name, str(where.parent)) == ("gs://bucket/deep/raw", "raw", "gs://bucket/deep")
    there = Storage.at("gs://bucket/deep")
    assert isinstance(there.files, fs.GcsFileSystem)
    assert there.root == "bucket/deep"
    with pytest.raises(UserError, match="names no bucket"):
        location.at("gs://")
