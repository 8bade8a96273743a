"""The facts and the sheet of a prepared corpus."""

import json

import numpy as np
import pytest
from PIL import Image

from selfray.corpus import inspect
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
