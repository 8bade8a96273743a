"""Decoding of tables and random access to the rows of a corpus."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from selfray.corpus import images
from selfray.corpus.manifest import Manifest
from selfray.corpus.read import decode, read_rows
from selfray.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 5, 4, 3), np.uint8)


def manifest(encoding="raw", shape=(5, 4, 3)):
    return Manifest("tiny", "image", shape, encoding, {}, (0.0,) * shape[2], (1.0,) * shape[2])


def table(values, type=None):
    return pa.table({"data": pa.array(values, type or pa.binary())})


RAW = table([image.tobytes() for image in PIXELS])


def test_raw_pixels_are_not_copied():
    decoded = decode(RAW, manifest())
    np.testing.assert_array_equal(decoded, PIXELS)
    assert decoded.ctypes.data == RAW.column("data").chunk(0).buffers()[2].address


@pytest.mark.parametrize(("start", "count"), [(0, 10), (3, 4), (9, 1), (4, 0)])
def test_a_slice_decodes_to_its_own_rows(start, count):
    np.testing.assert_array_equal(decode(RAW.slice(start, count), manifest()), PIXELS[start : start + count])


def test_chunks_decode_in_order():
    chunked = pa.concat_tables([RAW.slice(2, 3), RAW.slice(0, 0), RAW.slice(7, 2)])
    np.testing.assert_array_equal(decode(chunked, manifest()), PIXELS[[2, 3, 4, 7, 8]])


def test_large_binary_decodes_too():
    np.testing.assert_array_equal(decode(RAW.cast(pa.schema({"data": pa.large_binary()})), manifest()), PIXELS)


@pytest.mark.parametrize("channels", [1, 3])
def test_encoded_images_decode_per_row(channels):
    files = table([images.encode(image[:, :, :channels]) for image in PIXELS])
    decoded = decode(pa.concat_tables([files.slice(1, 4), files.slice(6)]), manifest("file", (5, 4, channels)))
    np.testing.assert_array_equal(decoded, PIXELS[[1, 2, 3, 4, 6, 7, 8, 9]][..., :channels])


@pytest.mark.parametrize(
    ("values", "encoding"),
    [
        ([PIXELS[0].tobytes(), b"short"], "raw"),
        ([b"x" * 59, b"x" * 61], "raw"),
        ([None], "raw"),
        ([b"no image"], "file"),
        ([images.encode(PIXELS[0][:4])], "file"),
        ([images.encode(PIXELS[0][:, :, :1])], "file"),
    ],
)
def test_a_sample_that_is_not_what_the_manifest_says_is_refused(values, encoding):
    with pytest.raises(UserError, match="prepare it again"):
        decode(table(values), manifest(encoding))


def test_rows_come_in_the_order_asked_for(digits_corpus):
    everything = read_rows(digits_corpus, "train", slice(None))
    assert set(everything) == {"id", "data", "length", "label"}
    wanted = [200, 3, 77, 3, 150]
    some = read_rows(digits_corpus, "train", wanted)
    for key, values in some.items():
        np.testing.assert_array_equal(values, everything[key][wanted])
    np.testing.assert_array_equal(read_rows(digits_corpus, "train", slice(10, 2, -3))["id"], everything["id"][10:2:-3])
    assert read_rows(digits_corpus, "train", [])["data"].shape == (0, 8, 8, 1)


def test_rows_outside_of_the_split_are_refused(digits_corpus):
    with pytest.raises(UserError, match="outside of 0 to"):
        read_rows(digits_corpus, "train", [10**6])
    with pytest.raises(UserError, match="no split 'val'"):
        read_rows(digits_corpus, "val", [0])


def test_a_missing_shard_is_named(digits_corpus, tmp_path):
    lost = dataclasses.replace(Manifest.read(digits_corpus))
    lost.write(tmp_path)
    with pytest.raises(UserError, match=r"00000\.parquet is missing or damaged"):
        read_rows(tmp_path, "train", [0])
