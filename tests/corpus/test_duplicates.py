"""Copies are found, counted, and taken out if asked; a held-out sample is never also trained on."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selfray.corpus.duplicates import bands
from selfray.corpus.ingest import prepare
from selfray.corpus.read import read_rows


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """60 pictures of blurred blocks in train/, 20 in test/; 5 copies, 3 near copies, and 2 that leak into test."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)

    def picture(number: int) -> np.ndarray:
        blocks = np.random.default_rng(number).integers(5, 250, (8, 8), np.uint8)
        return np.asarray(Image.fromarray(blocks).resize((32, 32), Image.Resampling.BICUBIC))

    def save(name: str, pixels: np.ndarray) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{name}.png")

    for number in range(60):
        save(f"train/{number:03d}", picture(number))
    for number in range(20):
        save(f"test/{number:03d}", picture(100 + number))
    for number in range(5):
        save(f"train/copy-{number}", picture(10 * number))
    for number in range(3):
        noise = draw.integers(-2, 3, (32, 32))
        save(f"train/near-{number}", np.clip(picture(10 * number + 1) + noise, 0, 255).astype(np.uint8))
    for number in range(2):
        save(f"train/leak-{number}", picture(100 + number))
    return folder


def sources(corpus: Path, split: str = "train") -> set[str]:
    return {row for file in (corpus / split).glob("*.parquet") for row in pq.read_table(file)["source"].to_pylist()}


def test_copies_are_counted_and_kept_unless_asked(pictures, tmp_path):
    manifest = prepare(pictures, tmp_path / "a", rows_per_fragment=25, ray=False)
    report = json.loads((tmp_path / "a" / "quality_report.json").read_text())["duplicates"]
    assert report == {"setting": "report", "exact": 7, "near": 3, "train_rows_like_held_out_ones": 2}
    assert manifest.rows("train") == 70
    assert manifest.rows("test") == 20


def test_dropped_copies_are_in_the_quarantine_and_nowhere_else(pictures, tmp_path):
    manifest = prepare(pictures, tmp_path / "a", rows_per_fragment=25, duplicates="drop_near", ray=False)
    assert manifest.rows("train") == 60
    assert manifest.rows("test") == 20  # the held-out sample is kept
    assert manifest.quarantined == {"duplicate": 7, "near_duplicate": 3}
    allowed = {f"{i:03d}." for i in range(60)} | {"near"}
    assert {name.rpartition("/")[2][:4] for name in sources(tmp_path / "a")} <= allowed
    assert not any("leak" in name or "copy" in name for name in sources(tmp_path / "a"))
    pixels = read_rows(tmp_path / "a", "train", slice(None))["data"]
    assert manifest.mean[0] == pytest.approx(pixels.mean() / 255)
    assert manifest.std[0] == pytest.approx(pixels.std() / 255)


def test_dropping_again_changes_no_byte(pictures, tmp_path):
    prepare(pictures, tmp_path / "a", rows_per_fragment=25, duplicates="drop", ray=False)
    files = {file: file.read_bytes() for file in (tmp_path / "a").rglob("*") if file.is_file()}
    (tmp_path / "a" / "manifest.json").unlink()  # as if it had been killed just before its end
    prepare(pictures, tmp_path / "a", rows_per_fragment=25, duplicates="drop", ray=False)
    assert files == {file: file.read_bytes() for file in (tmp_path / "a").rglob("*") if file.is_file()}
    prepare(pictures, tmp_path / "b", rows_per_fragment=25, duplicates="drop", ray=False)
    for file in (tmp_path / "a").glob("t*/*.parquet"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_signatures_that_differ_in_three_bits_share_a_key():
    draw = np.random.default_rng(0)
    for _ in range(200):
        signature = int(draw.integers(0, 2**63))
        other = signature
        for bit in draw.choice(64, 3, replace=False):
            other ^= 1 << int(bit)
        assert set(bands(signature)) & set(bands(other))


def test_the_page_shows_what_was_turned_away(pictures, tmp_path):
    (tmp_path / "raw").mkdir()
    for file in sorted((pictures / "train").glob("0*.png")):
        (tmp_path / "raw" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "raw" / "<b>.png").write_bytes(b"no picture at all")
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(tmp_path / "raw" / "flat.png")
    prepare(tmp_path / "raw", tmp_path / "out", max_bad_rate=0.1, min_deviation=1.0, ray=False)
    page = (tmp_path / "out" / "quality.html").read_text()
    assert "not an image: 1" in page
    assert "near constant: 1" in page
    assert "&lt;b&gt;.png" in page
    assert "<b>.png" not in page
    assert page.count("data:image/png") >= 1
