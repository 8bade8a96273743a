"""Copies that were made louder, noisier or shifted are found among sounds, series and packed documents."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from matplotlib import cbook

from selfray.corpus.duplicates import sketch
from selfray.corpus.ingest import prepare
from selfray.corpus.kinds.audio import Audio
from selfray.corpus.kinds.series import Series
from selfray.corpus.kinds.text import Text
from selfray.corpus.read import read_rows

RATE = 8000


def found(corpus):
    return json.loads((corpus / "quality_report.json").read_text())["duplicates"]


def melody(number):
    """Two seconds of plucked notes with overtones."""
    draw, time = np.random.default_rng(number), np.arange(2 * RATE) / RATE
    wave = np.zeros(len(time))
    for _ in range(8):
        pitch, start = 110 * 2 ** (draw.integers(0, 36) / 12), draw.uniform(0, 1.8)
        there = np.maximum(time - start, 0)
        note = sum(np.sin(2 * np.pi * pitch * n * there) / n for n in (1, 2, 3))
        wave += draw.uniform(0.3, 1) * note * np.exp(-4 * there) * (time > start)
    return 0.3 * wave / np.abs(wave).max()


def changed_sounds():
    """Name -> (melody, what was done to it)."""
    draw = np.random.default_rng(0)
    yield "louder", 3, 2.5 * melody(3)
    yield "noisy", 7, melody(7) + 0.003 * draw.normal(size=2 * RATE)
    yield "shifted", 11, np.roll(melody(11), RATE // 100)
    yield "all", 19, 0.5 * np.roll(melody(19), -RATE // 100) + 0.001 * draw.normal(size=2 * RATE)


def test_changed_copies_of_sounds_are_found_and_nothing_else(tmp_path):
    (tmp_path / "raw").mkdir()
    for number in range(40):
        soundfile.write(tmp_path / "raw" / f"{number:02d}.wav", melody(number), RATE)
    for name, _, wave in changed_sounds():
        soundfile.write(tmp_path / "raw" / f"{name}.wav", wave, RATE)
    manifest = prepare(tmp_path / "raw", tmp_path / "out", rate=RATE, seconds=2, duplicates="drop_near", ray=False)
    assert found(tmp_path / "out")["near"] == 4
    assert manifest.quarantined == {"near_duplicate": 4}
    gone = pq.read_table(tmp_path / "out" / "quarantine" / "00000.parquet").to_pylist()
    keepers = {row["source"].removesuffix(".wav"): row["detail"] for row in gone}
    assert keepers == {name: f"as row {number * Audio.pieces}" for name, number, _ in changed_sounds()}


@pytest.fixture(scope="module")
def profiles():
    """14 real profiles of the land in Tennessee, of 403 steps."""
    elevation = cbook.get_sample_data("jacksboro_fault_dem.npz")["elevation"]
    return elevation[::25].astype(np.float32)


def test_changed_copies_of_series_are_found_and_nothing_else(profiles, tmp_path):
    draw, spread = np.random.default_rng(0), profiles.std(1)
    copies = [
        3 * profiles[2] - 40,
        profiles[5] + 0.05 * spread[5] * draw.normal(size=403),
        np.append(profiles[8][2:], [np.nan, np.nan]),
        np.where(draw.random(403) < 0.05, np.nan, profiles[11]),
    ]
    flat = [np.full(403, 7.0), np.full(403, 9.0)]  # nothing is known of what is constant
    np.save(tmp_path / "X.npy", np.stack([*profiles, *copies, *flat]))
    manifest = prepare(tmp_path / "X.npy", tmp_path / "out", duplicates="drop_near", ray=False)
    assert found(tmp_path / "out")["near"] == 4
    assert manifest.rows() == 16
    kept = read_rows(tmp_path / "out", "train", slice(None))["id"] // Series.pieces
    assert kept.tolist() == [*range(14), 18, 19]


def documents(number):
    words = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in ("r", "nd", "st", "x")]
    for at in range(number):
        draw = np.random.default_rng(at)
        yield " ".join(draw.choice(words, int(draw.integers(60, 200))))


def test_nearly_equal_documents_are_found_before_they_are_packed(tmp_path):
    texts = list(documents(40))
    words = texts[9].split()
    words[30] = "changed"
    texts += [texts[4], " ".join(words)]
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    settings = {"length": 64, "vocabulary": 600, "rows_per_fragment": 20, "ray": False}
    everything = prepare(tmp_path / "d.jsonl", tmp_path / "all", **settings)
    assert (found(tmp_path / "all")["exact"], found(tmp_path / "all")["near"]) == (1, 1)
    manifest = prepare(tmp_path / "d.jsonl", tmp_path / "out", duplicates="drop_near", **settings)
    assert manifest.quarantined == {"duplicate": 1, "near_duplicate": 1}
    gone = pq.read_table(tmp_path / "out" / "quarantine" / "00002.parquet").to_pylist()
    assert [(row["id"], row["detail"]) for row in gone] == [(40, "as sample 4"), (41, "as sample 9")]
    last = read_rows(tmp_path / "out", "train", slice(None))["id"] // Text.pieces
    assert set(last.tolist()) <= set(range(40))
    assert 0 < everything.rows() - manifest.rows() <= 20
    files = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    (tmp_path / "out" / "manifest.json").unlink()  # as if it had been killed just before its end
    assert prepare(tmp_path / "d.jsonl", tmp_path / "out", duplicates="drop_near", **settings) == manifest
    assert files == {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}


def test_a_sketch_is_shared_as_often_as_angles_say():
    draw = np.random.default_rng(0)

    def share(cosine):
        hits = 0
        for _ in range(200):
            one, other = draw.normal(size=(2, 64))
            one /= np.linalg.norm(one)
            other -= (other @ one) * one
            mixed = cosine * one + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)
            hits += bool(set(sketch(one)) & set(sketch(mixed)))
        return hits / 200

    assert share(0.99) > 0.97
    assert 0.35 < share(0.9) < 0.65
    assert share(0.0) < 0.02
    assert not set(sketch(np.ones(8), salt=1)) & set(sketch(np.ones(8), salt=2))
