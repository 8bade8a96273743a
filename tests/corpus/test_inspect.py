"""The facts and the sheet of a prepared corpus."""

import json
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image

from selfray.corpus import inspect, looks
from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest


def test_the_facts_are_those_of_the_manifest(digits_corpus):
    facts = inspect.describe(digits_corpus)
    assert json.loads(json.dumps(facts)) == facts
    manifest = Manifest.read(digits_corpus)
    assert facts["fingerprint"] == manifest.fingerprint
    assert facts["rows"] == 300
    assert facts["splits"]["train"]["rows"] == manifest.rows("train")
    assert facts["bytes"] == sum(path.stat().st_size for path in digits_corpus.glob("t*/*.parquet"))
    assert sum(count for splits in facts["classes"].values() for count in splits.values()) == 300
    assert (facts["quarantined"], facts["examples"]) == ({}, {})


def test_quarantined_samples_have_examples(tmp_path):
    (tmp_path / "s").mkdir()
    for number in range(6):
        (tmp_path / "s" / f"{number}.png").write_bytes(b"" if number < 5 else b"text")
    Image.new("RGB", (16, 16), "teal").save(tmp_path / "s" / "x.png")
    prepare(tmp_path / "s", tmp_path / "out", max_bad_rate=1, ray=False)
    facts = inspect.describe(tmp_path / "out")
    assert facts["quarantined"] == {"empty": 5, "not_an_image": 1}
    assert facts["examples"]["empty"] == ["0.png (no bytes)", "1.png (no bytes)", "2.png (no bytes)"]
    sheet = inspect.draw(tmp_path / "out", tmp_path / "sheet.png")  # one sample, no classes, six bad
    with Image.open(sheet) as picture:
        assert picture.width > 1000


@pytest.mark.parametrize(("rows", "columns"), [(8, 12), (2, 3)])
def test_the_sheet_shows_samples(digits_corpus, tmp_path, rows, columns):
    path = inspect.draw(digits_corpus, tmp_path / "new" / "sheet.png", rows=rows, columns=columns)
    with Image.open(path) as picture:
        sheet = np.asarray(picture.convert("L"))
    assert min(sheet.shape) > 300
    assert 0.02 < (sheet < 128).mean() < 0.8  # neither blank nor black


def test_the_sheet_is_the_same_every_time(digits_corpus, tmp_path):
    first, second = (inspect.draw(digits_corpus, tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second


def _text(raw):
    for name in ("heapq", "bisect", "queue"):
        text = (Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text(encoding="utf-8")
        (raw / f"{name}.txt").write_text(text, encoding="utf-8")
    return {"vocabulary": 800, "length": 32, "max_bad_rate": 0.5}


def _audio(raw):
    time = np.arange(8000) / 8000
    for hertz in (220, 440, 880):
        soundfile.write(raw / f"{hertz}.wav", 0.3 * np.sin(2 * np.pi * hertz * time), 8000)
    return {"seconds": 0.5}


def _series(raw):
    values = np.cumsum(np.random.default_rng(0).standard_normal((20, 30, 2)), axis=1)
    values[3, 5:9] = np.nan
    np.save(raw / "walks.npy", values)
    return {}


@pytest.mark.parametrize("make", [_text, _audio, _series])
def test_every_data_type_has_a_sheet(make, tmp_path):
    (tmp_path / "raw").mkdir()
    settings = make(tmp_path / "raw")
    prepare(tmp_path / "raw", tmp_path / "out", ray=False, **settings)
    assert looks.what(Manifest.read(tmp_path / "out")).split()[0] in ("rows", "segments", "series")
    sheet = np.asarray(Image.open(inspect.draw(tmp_path / "out", tmp_path / "sheet.png")).convert("L"))
    assert sheet.std() > 5  # something was drawn


def test_measures_are_those_of_the_samples():
    manifest = SimpleNamespace(kind="audio", shape=(4,), facts={"rate": 8000})
    full, half = np.full(4, 2**15 - 1, np.int16), np.array([2**14, 2**14, -(2**15), -(2**15)], np.int16)
    found = looks.measure(np.stack([full, half]), manifest).values  # -32768 is padding
    np.testing.assert_allclose(found, [0, -6.02], atol=0.01)
