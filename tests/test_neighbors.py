"""Search in a folder of embeddings: exact, by an index, and from files and texts."""

import json
import os
import shutil
import sys
import sysconfig
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

import selfray
from selfray.cli import app
from selfray.corpus.copy import copy
from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest
from selfray.corpus.read import read_rows
from selfray.embedding import _make_room, embed
from selfray.errors import UserError
from selfray.neighbors import index, query, vectors
from selfray.neighbors.search import search
from selfray.recipe import parse
from selfray.summary import export_encoder
from selfray.train.loop import Job, train

sys.path.insert(0, str(Path(__file__).parent))
sounds = import_module("sounds")

IMAGES = {"objective": {"name": "simclr", "width": 16}, "encoder": {"name": "conv", "width": 16, "stages": 1}}
TEXTS = {"objective": {"name": "mlm"}, "encoder": {"name": "bert", "shape": "tiny", "layers": 1}}
MODULES = ("bisect", "heapq", "keyword", "queue", "string", "token")


def trained(corpus, run, pretrain):
    """The folder of an encoder after a few steps on a corpus."""
    common = {"batch": 16, "steps": 3, "workers": 0, "threads": 1, "compile": False, "precision": "fp32"}
    recipe = parse({"name": "tiny", "corpus": {"path": str(corpus)}, "pretrain": {**common, **pretrain}})
    train(Job(recipe, str(corpus), str(run)), lambda row: None)
    export_encoder(run, recipe, Manifest.read(corpus), 3, None, corpus)
    return run / "encoder"


def embedded(corpus, place, pretrain):
    """An encoder and a folder with the embeddings of its corpus, in a folder of their own."""
    encoder = trained(corpus, place / "run", pretrain)
    embed(encoder, corpus, place / "embeddings")
    return encoder, place / "embeddings"


@pytest.fixture(scope="module")
def images(digits, ray_cluster, tmp_path_factory):
    return embedded(digits, tmp_path_factory.mktemp("images"), IMAGES)


@pytest.fixture(scope="module")
def texts(ray_cluster, tmp_path_factory):
    """The sources, an encoder, and the embeddings of program text, 30 tokens a row."""
    source, folder = tmp_path_factory.mktemp("texts"), tmp_path_factory.mktemp("corpora") / "modules"
    for name in MODULES:
        text = (Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text(encoding="utf-8")
        (source / f"{name}.txt").write_text(text, encoding="utf-8")
    prepare(source, folder, name="modules", pack=False, long="cut", length=32, vocabulary=600, ray=False)
    return source, *embedded(folder, tmp_path_factory.mktemp("text"), TEXTS)


def write(folder, wide, files=3):
    """Rows with the ids 0, 7, 14, ... in files, as `selfray embed` lays them out."""
    for number, rows in enumerate(np.array_split(np.arange(len(wide)), files)):
        (folder / "train").mkdir(parents=True, exist_ok=True)
        column = pa.FixedSizeListArray.from_arrays(pa.array(wide[rows].reshape(-1)), wide.shape[1])
        nothing = pa.nulls(len(rows), pa.string())
        columns = [pa.array(rows * 7), pa.array(rows % 3, pa.int32()), nothing, pa.array([f"{r}.png" for r in rows])]
        table = pa.table([*columns, column], names=["id", "label", "group", "source", "embedding"])
        pq.write_table(table, folder / "train" / f"{number:05d}.parquet", row_group_size=200)


@pytest.fixture
def pixels(tmp_path):
    """A folder whose vectors are the pixels of 1,797 real digits."""
    wide = load_digits().data.astype(np.float32)
    write(tmp_path / "pixels", wide)
    return tmp_path / "pixels", wide


def brute(wide, count):
    """Row numbers and similarities of the nearest others of every row."""
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(similarity, order, axis=1)


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("with_index", [False, True])
def test_search_is_numpys_brute_force_with_and_without_an_index(with_index, images, tmp_path):
    folder = shutil.copytree(images[1], tmp_path / "embeddings")
    if with_index:
        assert index.refresh(folder)["index"] == "Flat"
    table = ds.dataset(folder).to_table()
    ids = table["id"].to_numpy()
    order, similarity = brute(np.array(table["embedding"].to_pylist(), np.float32), 10)
    for row in (0, 123, 599):
        found = search(folder, f"id:{ids[row]}")
        assert (found.index, found.exact, found.rows) == ("Flat" if with_index else None, True, 600)
        got = [one.similarity for one in found.neighbors]
        np.testing.assert_allclose(got, similarity[row], rtol=1e-4, atol=1e-5)
        assert len({one.id for one in found.neighbors} & set(ids[order[row]])) >= 9  # ties may be broken either way
        assert [one.rank for one in found.neighbors] == list(range(1, 11))
        assert all(one.source.startswith(f"{one.label}/") for one in found.neighbors)  # a folder a class


def test_batches_of_any_size_find_the_same(pixels, monkeypatch):
    folder, wide = pixels
    queries = vectors.unit(wide[:5])
    ids, similarity = vectors.nearest(folder, queries, 12)
    monkeypatch.setattr(vectors, "batches", lambda folder, rows=7, inner=vectors.batches: inner(folder, rows))
    other_ids, other = vectors.nearest(folder, queries, 12)
    assert np.array_equal(ids, other_ids)
    np.testing.assert_allclose(similarity, other, rtol=1e-6)
    assert vectors.nearest(folder, queries, 5000)[0].shape == (5, 1797)


def test_a_vector_without_direction_is_like_nothing():
    made = vectors.unit(np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 1]], np.float32))
    np.testing.assert_allclose(made, [[0.6, 0.8], [0, 0], [0, 0], [0, 0]])


def test_an_approximate_index_has_the_recall_that_it_says(pixels):
    folder, wide = pixels
    said = index.refresh(folder, exact_up_to=1000)
    assert not said["exact"]
    assert said["index"] == f"IVF{said['lists']},Flat"
    assert 1 <= said["searched_lists"] < said["lists"]
    assert said["recall"]["value"] > 0.9
    order, _ = brute(wide, 10)
    ids, _ = index.search(folder, vectors.unit(wide), 11)
    shares = []
    for row, found in enumerate(ids):
        others = found[found != row * 7][:10]
        shares.append(len(set(others) & set(order[row] * 7)) / 10)
    assert np.mean(shares) == pytest.approx(said["recall"]["value"], abs=0.03)
    found = search(folder, "id:70")
    assert (found.exact, found.recall) == (False, said["recall"]["value"])
    assert found.neighbors[0].id == order[10, 0] * 7


def test_an_index_is_left_alone_until_the_vectors_change(pixels):
    folder, wide = pixels
    first, made = index.refresh(folder), (folder / index.INDEX).stat().st_mtime_ns
    assert index.refresh(folder) == first
    for file in vectors.files(folder):
        os.utime(file, (1, 1))  # as a copy has it
    assert index.current(folder)[0] == first
    again = index.refresh(folder)
    assert again["vectors_sha256"] == first["vectors_sha256"]
    assert (folder / index.INDEX).stat().st_mtime_ns == made
    write(folder, wide[::-1].copy())
    found = search(folder, "id:0", 3)
    assert found.index is None  # an index of other vectors is not asked
    assert "other vectors" in found.why
    changed = index.refresh(folder)
    assert changed["vectors_sha256"] != first["vectors_sha256"]
    indexed = search(folder, "id:0", 3)
    assert indexed.index == "Flat"
    assert [one.id for one in indexed.neighbors] == [one.id for one in found.neighbors]


def test_what_an_interruption_leaves_is_no_index(pixels):
    folder, _ = pixels
    index.refresh(folder)
    (folder / index.NOTE).unlink()
    assert index.current(folder)[0] is None
    index.refresh(folder)
    (folder / index.INDEX).write_bytes((folder / index.INDEX).read_bytes()[:1000])
    assert "damaged" in index.current(folder)[1]
    assert search(folder, "id:0").index is None
    assert index.refresh(folder)["bytes"] == (folder / index.INDEX).stat().st_size
    assert ds.dataset(folder).count_rows() == 1797  # readers of Parquet do not see an index


def test_embedding_anew_notes_what_queries_need_and_keeps_what_is_there(pixels):
    folder, _ = pixels
    index.refresh(folder)
    identity = {"encoder": "a", "corpus": "b"}
    (folder / vectors.NOTE).write_text(json.dumps(identity))  # as written before there was a search
    _make_room(folder, identity, {"model": "/models/a", "classes": ["cat"]})
    assert json.loads((folder / vectors.NOTE).read_text()) == {**identity, "model": "/models/a", "classes": ["cat"]}
    assert index.current(folder)[0]["rows"] == 1797
    _make_room(folder, identity | {"encoder": "c"}, {"model": "/models/c"})
    assert sorted(file.name for file in folder.iterdir()) == [vectors.NOTE]  # neither vectors nor index of another


def test_without_faiss_an_index_is_refused_before_anything_runs(pixels, digits, tmp_path, monkeypatch):
    folder, _ = pixels
    index.refresh(folder)
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"^an index needs .* pip install 'selfray\[index\]'$"):
        embed(tmp_path / "no encoder", digits, tmp_path / "out", index=True)
    recipe = parse({"name": "tiny", "corpus": {"path": str(digits)}, "pretrain": {**IMAGES, "steps": 1},
                    "embed": {"index": True}})  # fmt: skip
    with pytest.raises(UserError, match="pip install"):
        selfray.run(recipe, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    found = search(folder, "id:7", 2)
    assert (found.index, len(found.neighbors)) == (None, 2)
    assert "faiss-cpu" in found.why


def test_an_unknown_sample_is_a_sentence_with_a_hint(pixels, tmp_path):
    folder, _ = pixels
    with pytest.raises(UserError, match=r"no id 8; it holds 1,797 ids from 0 to 12572, the nearest of them is id:7$"):
        search(folder, "id:8")
    with pytest.raises(UserError, match="such as id:42"):
        search(folder, "id:seven")
    with pytest.raises(UserError, match="`selfray embed MODEL CORPUS"):
        search(tmp_path, "id:7")
    with pytest.raises(UserError, match="does not say which encoder made it; name it with --model"):
        search(folder, "some words")


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
def test_a_picture_of_the_corpus_finds_itself(images, digits, tmp_path):
    _, folder = images
    sample = read_rows(digits, "test", [5])
    Image.fromarray(sample["data"][0, :, :, 0]).save(tmp_path / "digit.png")
    best, second = search(folder, str(tmp_path / "digit.png"), 2).neighbors
    assert best.id == sample["id"][0]
    assert best.similarity == pytest.approx(1, abs=1e-5)
    assert second.similarity < best.similarity
    with pytest.raises(UserError, match=r"no file nothing.png; the encoder reads images"):
        search(folder, "nothing.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "digit.png").read_bytes()[:40])
    with pytest.raises(UserError, match=r"half.png cannot be searched with: \w+"):
        search(folder, str(tmp_path / "half.png"))


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
def test_another_encoder_than_the_one_of_the_embeddings_is_refused(images, digits, tmp_path):
    encoder, embeddings = images
    folder = shutil.copytree(embeddings, tmp_path / "embeddings")
    Image.fromarray(read_rows(digits, "test", [5])["data"][0, :, :, 0]).save(picture := tmp_path / "digit.png")
    other = trained(digits, tmp_path / "other", {**IMAGES, "encoder": {"name": "conv", "width": 8, "stages": 1}})
    with pytest.raises(UserError, match="has other weights than the one that made"):
        search(folder, str(picture), model=str(other))
    note = json.loads((folder / vectors.NOTE).read_text())
    (folder / vectors.NOTE).write_text(json.dumps(note | {"model": str(tmp_path / "gone")}))
    with pytest.raises(UserError, match=r"no encoder at .*gone.*; name the encoder with --model$"):
        search(folder, str(picture))
    assert search(folder, str(picture), 1, str(encoder)).neighbors[0].similarity == pytest.approx(1, abs=1e-5)


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
def test_texts_and_text_files_are_searched_with(texts):
    source, encoder, folder = texts
    best = search(folder, str(source / "heapq.txt"), 1).neighbors[0]
    assert best.source.startswith("heapq.txt")  # the row that the file begins with
    assert best.similarity == pytest.approx(1, abs=1e-4)
    words = "def heappush(heap, item):"
    with torch.inference_mode():
        asked = selfray.load(encoder).embed(selfray.tokenizer(encoder)([words])).numpy()
    expected, similarity = vectors.nearest(folder, vectors.unit(asked), 10)
    found = search(folder, words).neighbors
    assert [one.id for one in found] == expected[0].tolist()
    np.testing.assert_allclose([one.similarity for one in found], similarity[0], rtol=1e-6)
    for wrong, sentence in (("missing.txt", "no file missing.txt"), ("  ", "empty text")):
        with pytest.raises(UserError, match=sentence):
            search(folder, wrong)


def recordings(folder):
    for number, wave in enumerate(sounds.waves(3, ragged=False).numpy()):
        soundfile.write(folder / f"{number}.wav", wave[: 4800 - 500 * number], sounds.RATE)
    return {"seconds": 0.3, "min_seconds": 0.1}


def walks(folder):
    generator = np.random.default_rng(0)
    for number in range(3):
        np.savez(folder / f"{number}.npz", one=generator.standard_normal((20 + number, 2)).cumsum(0))
    return {"length": 24}


def pictures(folder):
    for number, digit in enumerate(load_digits().images[:3]):
        Image.fromarray((digit * 15.9).astype(np.uint8)).resize((20, 12)).save(folder / f"{number}.png")
    return {"size": 16, "fit": "pad"}


@pytest.mark.parametrize(("kind", "make"), [("audio", recordings), ("series", walks), ("image", pictures)])
def test_a_file_becomes_the_sample_that_the_corpus_made_of_it(kind, make, tmp_path):
    (source := tmp_path / "source").mkdir()
    manifest = prepare(source, tmp_path / "corpus", kind=kind, ray=False, **make(source))
    stored = read_rows(tmp_path / "corpus", "train", slice(None))["data"]
    note = query.noted(manifest, tmp_path / "corpus")
    copy(tmp_path / "corpus", tmp_path / "copied")
    alone = query.noted(manifest, tmp_path / "copied")  # a copy does not say how it was prepared; its shape decides
    for number, file in enumerate(sorted(source.iterdir())):
        made = query.sample_of(str(file), kind, note, tmp_path)
        assert made.dtype == stored.dtype
        assert np.array_equal(made[0], stored[number], equal_nan=kind == "series")
        assert query.sample_of(str(file), kind, alone, tmp_path).shape == made.shape


def test_a_file_of_several_series_is_no_query(tmp_path):
    (source := tmp_path / "source").mkdir()
    manifest = prepare(source, tmp_path / "corpus", kind="series", ray=False, **walks(source))
    np.save(tmp_path / "many.npy", np.zeros((5, 20, 2)))
    with pytest.raises(UserError, match="holds 5 series; a query is one"):
        query.sample_of(str(tmp_path / "many.npy"), "series", query.noted(manifest, tmp_path / "corpus"), tmp_path)


def test_the_command_prints_a_table_or_json(pixels):
    folder, wide = pixels
    index.refresh(folder)
    order, _ = brute(wide, 3)
    shown = CliRunner().invoke(app, ["neighbors", str(folder), "id:14", "--count", "3"])
    assert shown.exit_code == 0, shown.output
    for number in order[2]:
        assert f"{number * 7} " in shown.stdout
        assert f"{number}.png" in shown.stdout
    assert "of 1,797 vectors; index Flat, exact" in shown.stdout
    plain = CliRunner().invoke(app, ["neighbors", str(folder), "id:14", "--count", "3", "--json"])
    found = json.loads(plain.stdout)
    assert [one["id"] for one in found["neighbors"]] == (order[2] * 7).tolist()
    assert found["neighbors"][0]["label"] == str(order[2, 0] % 3)


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
def test_a_pipeline_with_an_index_makes_it_and_notices_that_it_is_gone(digits, ray_cluster, tmp_path, capsys):
    pretrain = {**IMAGES, "steps": 2, "batch": 16, "workers": 0, "threads": 1, "compile": False, "precision": "fp32"}
    plain = {"name": "tiny", "corpus": {"path": str(digits)}, "pretrain": pretrain}
    run, folder = tmp_path / "runs" / "tiny", tmp_path / "runs" / "tiny" / "embeddings"
    selfray.run(parse({**plain, "embed": {}}), out=run, quiet=True)
    assert not (folder / index.NOTE).exists()
    indexed = parse({**plain, "embed": {"index": True}})
    selfray.run(indexed, out=run, quiet=False)
    assert "600 rows and an index in" in capsys.readouterr().err
    assert index.current(folder)[0]["rows"] == 600
    selfray.run(indexed, out=run, quiet=False)
    assert "embed      done before" in capsys.readouterr().err
    (folder / index.NOTE).unlink()
    selfray.run(indexed, out=run, quiet=True)
    assert index.current(folder)[0]["rows"] == 600
