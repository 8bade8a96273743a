"""An exported text encoder with its tokenizer: from sentences to vectors."""

import sysconfig
from pathlib import Path

import pytest
import torch

import selfray
from selfray.corpus import tokens
from selfray.corpus.bits import packed_bits, unpacked_bits
from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest
from selfray.errors import UserError
from selfray.recipe import parse
from selfray.summary import export_encoder
from selfray.train.loop import Job, train

MODULES = ("bisect", "heapq", "keyword", "queue", "string", "token")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Rows of program text, an eighth of a module each or less."""
    source, folder = tmp_path_factory.mktemp("texts"), tmp_path_factory.mktemp("corpora") / "modules"
    for name in MODULES:
        text = (Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text(encoding="utf-8")
        (source / f"{name}.txt").write_text(text, encoding="utf-8")
    prepare(source, folder, name="modules", pack=False, long="cut", length=32, vocabulary=600, ray=False)
    return folder


@pytest.fixture(scope="module")
def encoder(corpus, tmp_path_factory):
    """The folder of an encoder after three steps."""
    run = tmp_path_factory.mktemp("run")
    recipe = parse(
        {
            "name": "tiny",
            "corpus": {"path": str(corpus)},
            "pretrain": {
                "objective": {"name": "mlm"},
                "encoder": {"name": "bert", "shape": "tiny", "layers": 1},
                "views": {"whole_words": True},
                "batch": 16,
                "steps": 3,
                "workers": 0,
            },
        }
    )
    rows = []
    train(Job(recipe, str(corpus), str(run)), rows.append)
    assert rows[-1]["train/perplexity"] > 1
    export_encoder(run, recipe, Manifest.read(corpus), 3, None, corpus)
    return run / "encoder"


def test_sentences_become_vectors_that_do_not_depend_on_their_neighbours(encoder):
    loaded, tokenize = selfray.load(encoder), selfray.tokenizer(encoder)
    texts = ["def heappush(heap, item):", "import keyword", "x" * 500, ""]
    numbers = tokenize(texts)
    facts = loaded.facts
    assert numbers.shape[1] == 32  # the longest was cut
    assert (numbers[:, 0] == facts["cls"]).all()
    assert ((numbers == facts["sep"]).sum(1) == 1).all()
    with torch.inference_mode():
        torch.testing.assert_close(loaded.embed(numbers)[1:2], loaded.embed(tokenize(texts[1:2])))


def test_the_tokenizer_of_the_corpus_and_a_card_lie_beside_the_weights(encoder, corpus):
    assert (encoder / tokens.FILE).read_bytes() == (corpus / tokens.FILE).read_bytes()
    card = (encoder / "README.md").read_text(encoding="utf-8")
    assert "32 tokens of a vocabulary of 600" in card
    assert "selfray.tokenizer" in card


def test_what_is_no_list_of_texts_and_what_has_no_tokenizer_is_refused(encoder, tmp_path):
    with pytest.raises(UserError, match="put it in brackets"):
        selfray.tokenizer(encoder)("one text")
    (tmp_path / "encoder.json").write_bytes((encoder / "encoder.json").read_bytes())
    with pytest.raises(UserError, match=r"tokenizer.json is missing; copy it from the folder of the corpus"):
        selfray.tokenizer(tmp_path)


def test_tokens_that_go_on_with_a_word_are_marked(corpus):
    tokenizer = tokens.load((corpus / tokens.FILE).read_text(encoding="utf-8"))
    facts = Manifest.read(corpus).facts
    flags = unpacked_bits(facts["continues"], facts["vocabulary"])
    for text, first in ((" the", False), ("the", True)):
        assert flags[tokens.encode(tokenizer, text)[0]] == first
    wordpiece = tokens.load(tokens.train(["one two three four five six seven eight"] * 9, "wordpiece", 300, True))
    marks = tokens.continues(wordpiece)
    assert {t for t, number in wordpiece.get_vocab().items() if marks[number]} == {
        t for t in wordpiece.get_vocab() if t.startswith("##")
    }
    assert unpacked_bits(packed_bits([True, False, True] * 5), 15).tolist() == [True, False, True] * 5
