"""Pairs of texts: places of partners and correlations written out, files of all forms, and the way to a report."""

import sysconfig
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from scipy.sparse import csr_matrix
from scipy.stats import spearmanr

from selfray import verbs
from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest
from selfray.errors import UserError
from selfray.evaluation import beside, pairs
from selfray.evaluation.compare import compare
from selfray.probes.pairs import Pairs, correlation, ranks
from selfray.recipe import parse
from selfray.stages import evaluate
from selfray.stages.run import Run
from selfray.summary import export_encoder
from selfray.train import build
from selfray.train.loop import Job, train

MODULES = ("argparse", "difflib", "doctest", "heapq", "inspect", "pickle", "string", "textwrap", "tarfile")


def paragraphs():
    """Program text of real modules, in pieces of some lines."""
    found = []
    for name in MODULES:
        text = (Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text(encoding="utf-8")
        found += [" ".join(part.split()) for part in text.split("\n\n") if len(part.split()) > 20]
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Paragraphs of program text, with the halves of some of them as pairs."""
    source, folder = tmp_path_factory.mktemp("texts"), tmp_path_factory.mktemp("corpora") / "code"
    every = paragraphs()
    (source / "all.txt").write_text("\n".join(every), encoding="utf-8")
    prepare(source, folder, name="code", pack=False, length=32, vocabulary=600, holdout=0.2, ray=False)
    write(folder / beside.FILES["pairs"], [(text[: len(text) // 2], text[len(text) // 2 :]) for text in every[::5]])
    return folder


def write(file, rows, names=("a", "b", "score")):
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=False))
    if file.suffix == ".csv":
        lines = [",".join("" if cell is None else f'"{cell}"' for cell in row) for row in rows]
        file.write_text("\n".join([",".join(columns), *lines]) + "\n", encoding="utf-8")
    else:
        pq.write_table(pa.table(columns), file)
    return str(file)


def recipe(corpus, **probes):
    return parse(
        {
            "name": "tiny",
            "corpus": {"path": str(corpus)},
            "pretrain": {
                "objective": {"name": "mlm"},
                "encoder": {"name": "bert", "shape": "tiny", "layers": 1},
                "batch": 16,
                "steps": 2,
                "workers": 0,
            },
            "evaluate": {"probes": probes},
        }
    )


def protocol(corpus, **probes):
    run = Run(recipe(corpus, **probes), Path("run"), Console(), quiet=True)
    run.folder = corpus
    return evaluate.protocol(run)


def test_a_place_is_that_of_the_best_partner_among_all_partners_but_the_text_itself():
    random = np.random.default_rng(0)
    features = random.normal(size=(30, 4)).astype(np.float32)
    features[7] = features[3]
    a, b = random.integers(0, 20, 60), random.integers(5, 30, 60)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = []
    for text in np.unique(a):
        partners = set(b[a == text])
        others = [unit[text] @ unit[other] for other in set(b) - partners - {text}]
        best = max(unit[text] @ unit[partner] for partner in partners)
        expected.append(1 + sum(other >= best - 1e-7 for other in others))
    assert ranks(features, a, b, 1000).tolist() == expected
    assert ranks(csr_matrix(features), a, b, 1000).tolist() == expected
    few = ranks(features, a, b, 7)
    assert len(few) == 7
    assert set(few) <= set(expected)


def test_embeddings_that_all_coincide_find_nothing():
    place = np.arange(50)
    assert (ranks(np.ones((100, 4), np.float32), place, place + 50, 100) == 50).all()


def test_the_correlation_is_spearmans(tmp_path):
    random = np.random.default_rng(1)
    texts = [f"text {number}" for number in range(40)]
    score = random.integers(0, 6, 20).astype(float)  # graded by people: many are equal
    file = write(tmp_path / "graded.parquet", [*zip(texts[:20], texts[20:], score, strict=True)])
    features = {text: random.normal(size=5) for text in texts}
    probe = Pairs(file)
    (found,) = probe.over_pairs(tmp_path, lambda asked: np.array([features[text] for text in asked]))
    cosines = [
        features[a] @ features[b] / np.linalg.norm(features[a]) / np.linalg.norm(features[b])
        for a, b in zip(texts[:20], texts[20:], strict=True)
    ]
    assert (found.metric, found.part) == ("Spearman", "")
    assert found.value == pytest.approx(spearmanr(cosines, score).statistic)
    assert found.interval[0] < found.value < found.interval[1]
    assert correlation(np.array([[4.0, 0, 0, 0, 2, 0]])) == 0  # what does not vary says nothing


def test_pairs_without_a_score_belong_together_and_others_are_graded(corpus, tmp_path):
    rows = [("one", "uno", None), ("two", "dos", None), ("one", "two", 0.5), ("two", "three", 0.9)]
    made = {"one": [1.0, 0], "uno": [1, 0.1], "two": [0, 1.0], "dos": [0.1, 1], "three": [0, 1.0]}
    for name in ("mixed.parquet", "mixed.csv"):
        probe = Pairs(write(tmp_path / name, rows), within=(1,))
        found = probe.over_pairs(corpus, lambda texts: np.array([made[text] for text in texts]))
        assert [(score.metric, score.part, score.value) for score in found] == [
            ("MRR", "", 1.0),
            ("recall@1", "recall1", 1.0),
            ("Spearman", "similarity", pytest.approx(1.0)),
        ]


def test_a_file_is_looked_for_in_the_corpus_first_and_its_content_is_noted(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = beside.digest("pairs", beside.FILES["pairs"], corpus)
    write(tmp_path / beside.FILES["pairs"], [("here", "there"), ("up", "down")], ("a", "b"))
    assert beside.digest("pairs", beside.FILES["pairs"], corpus) == before
    write(tmp_path / "mine.csv", [("here", "there"), ("up", "down")], ("a", "b"))
    assert pairs.read("mine.csv", corpus).texts == ["here", "up", "there", "down"]
    first = protocol(corpus, pairs={"file": "mine.csv"})
    write(tmp_path / "mine.csv", [("here", "there"), ("up", "under")], ("a", "b"))
    again = protocol(corpus, pairs={"file": "mine.csv"})
    assert {key for key in first if first[key] != again[key]} == {"evaluate.probes.pairs.content"}
    assert "evaluate.probes.pairs.content" not in protocol(corpus, knn={})


@pytest.mark.parametrize(
    ("rows", "names", "sentence"),
    [
        ([("one", "two")], ("a", "second"), "has no column b; give a Parquet or CSV file with columns a and b"),
        ([("one", "two"), ("three", None)], ("a", "b"), "row 1 of .* lacks a text in column a or b; leave it out"),
        ([("one", "two", "alike")], ("a", "b", "score"), "column score of .* holds string, not numbers"),
        ([("one", "two", 0.5)], ("a", "b", "score"), "neither two texts to choose from nor two different scores"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(rows, names, sentence, tmp_path):
    file = write(tmp_path / "wrong.parquet", rows, names)
    with pytest.raises(UserError, match=sentence):
        Pairs(file).over_pairs(tmp_path, lambda texts: np.ones((len(texts), 3)))


def test_what_is_no_table_and_what_is_not_there_is_refused(tmp_path):
    (tmp_path / "wrong.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match=r"wrong.parquet cannot be read .*; give a Parquet or CSV file"):
        pairs.read("wrong.parquet", tmp_path)
    with pytest.raises(UserError, match=r"no file none.csv in .*, nor here; give a Parquet or CSV file"):
        pairs.read("none.csv", tmp_path)


def test_halves_of_paragraphs_are_found_beside_an_untrained_encoder_and_tf_idf(corpus, tmp_path):
    settings, manifest = recipe(corpus).pretrain, Manifest.read(corpus)
    encoder = build.objective(settings, manifest, 0).encoder
    results = compare(encoder, encoder, build.views(settings, manifest.facts), corpus, {"pairs": {}}, tmp_path)
    by_name = {row["probe"]: row for row in results["probes"]}
    assert list(by_name) == ["pairs", "pairs/recall1", "pairs/recall10"]
    row = by_name["pairs"]
    assert row["pretrained"] == row["untrained"]
    assert row["raw"] > 1.4 * row["untrained"]  # halves share words
    assert row["raw_name"] == "TF-IDF of all tokens"
    assert "pairs MRR" in results["verdict"]


def test_other_data_than_texts_are_refused_in_the_verdict(digits, recipe, tmp_path):
    settings, manifest = recipe().pretrain, Manifest.read(digits)
    encoder = build.objective(settings, manifest, 0).encoder
    results = compare(encoder, encoder, build.views(settings), digits, {"knn": {}, "pairs": {}}, tmp_path)
    assert [row["probe"] for row in results["probes"]] == ["knn"]
    assert results["unfit"] == ["pairs asks for pairs of texts, which image corpora do not have; leave it out"]


def test_evaluate_asks_for_pairs_where_the_corpus_has_some(corpus, tmp_path):
    asked = recipe(corpus)
    (tmp_path / "run").mkdir()
    train(Job(asked, str(corpus), str(tmp_path / "run")), lambda row: None)
    export_encoder(tmp_path / "run", asked, Manifest.read(corpus), 2, None, corpus)
    found = verbs.evaluate(tmp_path / "run" / "encoder", corpus, out=tmp_path / "out")
    assert "pairs" in [row["probe"] for row in found["probes"]]
    assert found["unfit"] == []
    assert "pairs" not in verbs._fitting("image", tmp_path)
    assert "forecasting" in verbs._fitting("series", tmp_path)
