"""The corpus stage: new files make a new version, and what was prepared before is not prepared again."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from selfray.corpus import work
from selfray.corpus.manifest import Manifest
from selfray.errors import Refused, UserError
from selfray.recipe import parse
from selfray.stages import corpus
from selfray.stages.pipeline import Pipeline


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder of pictures, and the place for corpora beside it."""
    monkeypatch.setenv("SELFRAY_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.setenv("SELFRAY_RUNS", str(tmp_path / "runs"))
    folder = tmp_path / "incoming"
    folder.mkdir()
    draw(folder, 0, 40)
    return folder


def draw(folder, first, last):
    for i in range(first, last):
        pixels = np.random.default_rng(i).integers(255, size=(8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")


def pipeline(recipe, source, **more):
    plain = recipe().plain()
    plain["corpus"] = {"source": str(source), "holdout": 0.2, "prepare": {"size": 8}} | more
    plain["pretrain"]["workers"] = 0
    return Pipeline(parse(plain), quiet=True, last="corpus")


def test_new_files_make_a_new_version_and_the_same_files_do_not(recipe, source):
    first = pipeline(recipe, source).run()["corpus"]
    assert pipeline(recipe, source).run()["corpus"] == first
    draw(source, 40, 50)
    (decision, *_) = pipeline(recipe, source).plan()
    assert decision.runs
    assert "files of the source" in decision.why
    second = pipeline(recipe, source).run()["corpus"]
    assert second != first
    rows = [sum(Manifest.read(folder).rows(split) for split in ("train", "test")) for folder in (first, second)]
    assert rows == [40, 50]


def test_files_that_are_touched_but_not_changed_give_the_same_corpus(recipe, source):
    first = pipeline(recipe, source).run()["corpus"]
    os.utime(source / "000.png", (1, 1))
    second = pipeline(recipe, source).run()["corpus"]
    assert Manifest.read(first).fingerprint == Manifest.read(second).fingerprint  # so nothing is trained anew


def test_pieces_that_did_not_change_are_taken_over_from_the_version_before(recipe, source, monkeypatch):
    from selfray.corpus import ingest

    pieces = ingest.prepare
    monkeypatch.setattr("selfray.corpus.ingest.prepare", lambda *a, **k: pieces(*a, rows_per_fragment=10, **k))
    before = pipeline(recipe, source).run()["corpus"]
    done, run = [], work.run
    monkeypatch.setattr(work, "run", lambda fragment, index, *rest: done.append(index) or run(fragment, index, *rest))
    draw(source, 40, 50)
    made = pipeline(recipe, source).run()["corpus"]
    assert done == [4]  # of five pieces
    shutil.rmtree(before)  # each version has what it needs
    assert Manifest.read(made).rows() + Manifest.read(made).rows("test") == 50


def test_a_run_that_has_begun_keeps_its_corpus(recipe, source):
    made = pipeline(recipe, source)
    first = made.run()["corpus"]
    made.context.notes.write("pretrain", "running", {"corpus": "x"}, {})
    draw(source, 40, 50)
    again = pipeline(recipe, source)
    assert not again.plan()[0].runs
    assert again.run()["corpus"] == first


def test_too_many_bad_files_refuse_the_corpus_and_another_mistake_does_not(recipe, source):
    for i in range(4):
        (source / f"{i:03d}.png").write_bytes(b"no picture")
    with pytest.raises(Refused, match="4 of 40 samples are bad"):
        pipeline(recipe, source).run()
    with pytest.raises(UserError, match="siize") as wrong:
        pipeline(recipe, source, prepare={"siize": 8}).run()
    assert type(wrong.value) is UserError
    assert len(pipeline(recipe, source, max_bad_rate=0.2).run()["corpus"]) > 0


def test_a_source_that_is_not_there_is_named(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("SELFRAY_RUNS", str(tmp_path / "runs"))
    with pytest.raises(UserError, match=r"corpus\.source /no/such/folder does not exist"):
        pipeline(recipe, "/no/such/folder").run()


def test_a_listing_of_a_bucket_changes_with_its_objects(bucket):
    from selfray.storage import Storage

    place = Storage.at(f"{bucket}/raw")
    place.write("a.txt", b"one")
    before = corpus.listing(f"{bucket}/raw")
    assert corpus.listing(f"{bucket}/raw") == before
    place.write("b.txt", b"two")
    assert corpus.listing(f"{bucket}/raw") != before
