"""Text corpora from the standard library's own files: tokens, rows, sources, and hostile text."""

import csv
import gzip
import hashlib
import json
import sysconfig
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from selfray.corpus import lines, tokens
from selfray.corpus.bad import BadSample
from selfray.corpus.ingest import prepare
from selfray.corpus.kinds.text import Packer, Text
from selfray.corpus.manifest import Manifest
from selfray.corpus.read import read_rows
from selfray.corpus.sources import open_source
from selfray.corpus.sources.source import Sample
from selfray.corpus.text import near_keys
from selfray.errors import UserError

SMALL = {"rows_per_fragment": 10, "rows_per_group": 32, "vocabulary": 1000, "ray": False}
STANDARD = Path(sysconfig.get_path("stdlib"))
MODULES = ("abc", "bisect", "heapq", "keyword", "queue", "sched", "stat", "string", "struct", "this", "token", "types")
GERMAN = "Übermäßig schöne Äpfel, cafe\u0301 und naïve Wörter \U0001f34e 中文 हिन्दी"


@pytest.fixture(scope="module")
def texts():
    """Program text of a dozen modules, by name."""
    return {name: (STANDARD / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}


@pytest.fixture(scope="module")
def folder(texts, tmp_path_factory):
    """The texts as files."""
    made = tmp_path_factory.mktemp("texts")
    for name, text in texts.items():
        (made / f"{name}.txt").write_text(text, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def paragraphs(texts):
    """300 paragraphs of at least five words."""
    found = [part.strip() for text in texts.values() for part in text.split("\n\n") if len(part.split()) > 4]
    return found[:300]


@pytest.fixture(scope="module")
def trained(texts):
    """Byte-level BPE of the texts, as JSON."""
    return tokens.train([*texts.values(), GERMAN], "bpe", 1000, False)


def contents(folder):
    """Every byte of a corpus but its marks."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".prepare" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def rows_of(folder, split="train"):
    """The valid token ids of each row, with ids and labels."""
    read = read_rows(folder, split, slice(None))
    return [row[:valid].tolist() for row, valid in zip(read["data"], read["length"], strict=True)], read


def written(folder):
    """The tokenizer that lies beside a corpus."""
    return tokens.load((folder / tokens.FILE).read_text(encoding="utf-8"))


def clean(text):
    """What a corpus holds of a text."""
    return unicodedata.normalize("NFC", text.strip())


def write_json(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# Tokens


@given(st.text(max_size=300))
@settings(deadline=None)
def test_byte_level_tokens_decode_to_the_normalised_text(trained, text):
    tokenizer = tokens.load(trained)
    ids = tokens.encode(tokenizer, text)
    assert tokenizer.decode(ids, skip_special_tokens=False) == unicodedata.normalize("NFC", text)
    assert min(ids, default=5) >= len(tokens.SPECIAL)


def test_long_texts_are_encoded_in_parts_that_decode_to_the_whole(trained, texts, monkeypatch):
    monkeypatch.setattr(tokens, "PART", 1000)
    tokenizer = tokens.load(trained)
    for text in texts.values():
        assert tokenizer.decode(tokens.encode(tokenizer, text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece"])
def test_training_a_tokenizer_twice_gives_the_same_one(texts, algorithm):
    once, again = (tokens.train(list(texts.values()), algorithm, 600, True) for _ in range(2))
    assert once == again
    tokenizer = tokens.load(once)
    assert tokens.facts(tokenizer) == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "vocabulary": 600}
    assert tokens.encode(tokenizer, "Return") == tokens.encode(tokenizer, "return")
    assert [tokenizer.id_to_token(number) for number in range(5)] == list(tokens.SPECIAL.values())


def test_wordpiece_knows_words_and_marks_their_middle(texts):
    tokenizer = tokens.load(tokens.train(list(texts.values()), "wordpiece", 600, True))
    assert tokenizer.decode(tokens.encode(tokenizer, "Return the Queue")) == "return the queue"
    assert tokens.encode(tokenizer, "\u4e2d") == [tokenizer.token_to_id("[UNK]")]
    assert any(token.startswith("##") for token in tokenizer.get_vocab())


def test_the_names_of_special_tokens_in_a_document_are_text(trained):
    tokenizer = tokens.load(trained)
    ids = tokens.encode(tokenizer, "a [MASK] and [SEP]")
    assert min(ids) >= 5
    assert tokenizer.decode(ids) == "a [MASK] and [SEP]"


# Rows

documents = st.lists(st.lists(st.integers(5, 99), min_size=1, max_size=40), max_size=20)


@given(documents, st.integers(8, 20))
def test_packing_loses_no_token_and_keeps_their_order(found, length):
    packer, packed = Packer(2, 3, length), []
    for number, ids in enumerate(found):
        packed += packer.add(Sample(number * 7, f"document {number}", ""), ids)
    packed += packer.rest()
    rows = [row for _, row, _ in packed]
    assert all(row[0] == 2 for row in rows)
    assert all(len(row) == length for row in rows[:-1])
    joined, flat = [t for ids in found for t in (*ids, 3)], [t for row in rows for t in row[1:]]
    assert joined[: len(flat)] == flat
    assert joined[len(flat) :] in ([], [3])
    ids = [id for id, _, _ in packed]
    assert ids == sorted(set(ids))
    starts = np.cumsum([0, *(len(ids) + 1 for ids in found)])
    for number, (id, _, source) in enumerate(packed):
        first = int(np.searchsorted(starts, number * (length - 1), "right")) - 1
        assert (id // Text.pieces, source) == (first * 7, f"document {first}")


def test_a_packed_corpus_holds_every_document_in_order(folder, texts, tmp_path):
    manifest = prepare(folder, tmp_path, **SMALL)
    assert (manifest.kind, manifest.shape, manifest.dtype, manifest.encoding) == ("text", (128,), "uint16", "raw")
    assert {key: manifest.facts[key] for key in ("pad", "unk", "cls", "sep", "mask", "vocabulary")} == {
        "pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "vocabulary": 1000,
    }  # fmt: skip
    rows, read = rows_of(tmp_path)
    assert len(set(read["id"])) == len(rows)
    assert [len(row) < 128 for row in rows].count(True) == 2  # the last of each fragment
    tokenizer = written(tmp_path)
    whole = tokenizer.decode([t for row in rows for t in row[1:]], skip_special_tokens=False)
    found = [part for part in whole.split("[SEP]") if part]
    assert found == [clean(texts[name]) for name in sorted(texts)]
    short = int(np.argmin(read["length"]))
    assert (read["data"][short, read["length"][short] :] == manifest.facts["pad"]).all()
    source = pq.read_table(tmp_path / "train" / "00000.parquet")["source"].to_pylist()
    assert list(dict.fromkeys(source)) == [f"{name}.txt" for name in sorted(texts)[:10]]


def test_the_tokenizer_lies_beside_the_corpus_with_its_hash(folder, tmp_path):
    manifest = prepare(folder, tmp_path, **SMALL)
    data = (tmp_path / tokens.FILE).read_bytes()
    assert manifest.facts["files"] == {tokens.FILE: hashlib.sha256(data).hexdigest()}
    (tmp_path / tokens.FILE).unlink()
    assert prepare(folder, tmp_path, **SMALL) == manifest
    assert (tmp_path / tokens.FILE).read_bytes() == data


def test_unpacked_rows_keep_label_group_and_meta(paragraphs, tmp_path):
    rows = [
        {"text": text, "label": f"c{number % 3}", "group": number // 4, "stars": number, "long": "x" * 300}
        for number, text in enumerate(paragraphs[:60])
    ]
    manifest = prepare(
        write_json(tmp_path / "t.jsonl", rows), tmp_path / "out", pack=False, length=512, max_bad_rate=0.1, **SMALL
    )
    assert manifest.classes == ("c0", "c1", "c2")
    found, read = rows_of(tmp_path / "out")
    tokenizer, numbers = written(tmp_path / "out"), read["id"] // Text.pieces
    assert len(found) >= 54
    for row, label, number in zip(found, read["label"], numbers, strict=True):
        assert (row[0], row[-1]) == (2, 3)
        assert tokenizer.decode(row[1:-1]) == clean(paragraphs[number])
        assert label == number % 3
    stored = pq.read_table(tmp_path / "out" / "train" / "00000.parquet").to_pylist()
    assert {row["id"] // Text.pieces: (row["group"], json.loads(row["meta"])) for row in stored} == {
        number: (str(number // 4), {"stars": number}) for number in numbers if number < 10
    }


def test_packed_rows_have_no_classes(paragraphs, tmp_path):
    source = write_json(tmp_path / "t.jsonl", [{"text": text, "label": n % 2} for n, text in enumerate(paragraphs)])
    manifest = prepare(source, tmp_path / "out", max_bad_rate=0.1, **SMALL)
    assert (manifest.classes, manifest.label_counts) == ((), {})
    assert set(read_rows(tmp_path / "out", "train", slice(None))["label"]) == {-1}


def test_a_long_document_is_truncated_or_cut(folder, texts, tmp_path):
    short = prepare(folder, tmp_path / "a", pack=False, **SMALL)
    assert short.rows() == len(texts)
    prepare(folder, tmp_path / "b", pack=False, long="cut", **SMALL)
    rows, read = rows_of(tmp_path / "b")
    assert len(set(read["id"])) == len(rows) > len(texts)
    for number, name in enumerate(sorted(texts)):
        mine = [row[1:-1] for row, id in zip(rows, read["id"], strict=True) if id // Text.pieces == number]
        assert written(tmp_path / "b").decode([t for row in mine for t in row]) == clean(texts[name])


def test_a_large_vocabulary_needs_wider_numbers(paragraphs, tmp_path):
    words = {"[UNK]": 0, **{f"w{number}": number + 1 for number in range(70_000)}}
    large = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    large.pre_tokenizer = pre_tokenizers.Whitespace()
    large.save(str(tmp_path / "large.json"))
    source = write_json(tmp_path / "t.jsonl", [{"text": f"w{n} w69999"} for n in range(20)])
    manifest = prepare(source, tmp_path / "out", tokenizer=str(tmp_path / "large.json"), pack=False, ray=False)
    assert (manifest.dtype, manifest.facts["vocabulary"], manifest.facts["unk"]) == ("int32", 70_005, 0)
    assert rows_of(tmp_path / "out")[0][7] == [manifest.facts["cls"], 8, 70_000, manifest.facts["sep"]]


def test_a_given_tokenizer_is_used_as_it_is(folder, texts, tmp_path):
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    own.train_from_iterator(texts.values(), trainer)
    own.enable_truncation(16)
    own.enable_padding(length=16)
    (tmp_path / "tokenizer").mkdir()
    own.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    own.no_truncation()
    own.no_padding()
    by_folder = prepare(folder, tmp_path / "a", tokenizer=str(tmp_path / "tokenizer"), ray=False)
    by_file = prepare(folder, tmp_path / "b", tokenizer=str(tmp_path / "tokenizer" / "tokenizer.json"), ray=False)
    assert by_folder == by_file
    assert (by_file.facts["cls"], by_file.facts["pad"], by_file.facts["sep"]) == (0, 1, 2)
    assert by_file.facts["vocabulary"] == 700
    first = clean(texts[min(texts)])
    assert rows_of(tmp_path / "a")[0][0] == [0, *own.encode(first).ids[:127]]


def test_an_impossible_tokenizer_is_refused(folder, tmp_path):
    (tmp_path / "bad.json").write_text("{}")
    for tokenizer, message in (
        (tmp_path / "none", "no tokenizer at"),
        (tmp_path / "bad.json", "no readable tokenizer"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(folder, tmp_path / "out", tokenizer=str(tokenizer), ray=False)
    with pytest.raises(UserError, match="lower is for a tokenizer that is trained here"):
        prepare(folder, tmp_path / "out", tokenizer=str(tmp_path / "bad.json"), lower=True, ray=False)
    with pytest.raises(UserError, match="vocabulary is 100; it must be at least 261"):
        prepare(folder, tmp_path / "out", vocabulary=100, ray=False)
    with pytest.raises(UserError, match="length"):
        prepare(folder, tmp_path / "out", length=4, ray=False)


# The same bytes


def test_the_same_source_gives_the_same_bytes_after_an_interruption_too(folder, tmp_path):
    small = {**SMALL, "rows_per_fragment": 3}
    for out in ("a", "b"):
        prepare(folder, tmp_path / out, **small)

    def interrupt(done, total):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "cut", progress=interrupt, **small)
    with pytest.raises(UserError, match="not a prepared corpus"):
        Manifest.read(tmp_path / "cut")
    kept = (tmp_path / "cut" / "train" / "00000.parquet").stat().st_mtime_ns
    prepare(folder, tmp_path / "cut", **small)
    assert (tmp_path / "cut" / "train" / "00000.parquet").stat().st_mtime_ns == kept
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "cut")


@pytest.mark.cluster
def test_ray_and_one_process_give_the_same_text(folder, tmp_path, ray_cluster):
    for out, ray in (("one", False), ("ray", True)):
        prepare(folder, tmp_path / out, **{**SMALL, "rows_per_fragment": 4, "ray": ray, "holdout": 0.3})
    assert contents(tmp_path / "one") == contents(tmp_path / "ray")
    assert set(Manifest.read(tmp_path / "ray").splits) == {"train", "test"}


def test_near_duplicates_share_a_key_and_other_texts_do_not(trained, texts, paragraphs):
    tokenizer = tokens.load(trained)
    found = [np.array(tokens.encode(tokenizer, text)) for text in (*texts.values(), *paragraphs)]
    found = [ids for ids in found if len(ids) > 100]
    changed = [np.concatenate([ids[: len(ids) // 2], [7], ids[len(ids) // 2 :]]) for ids in found]
    keys = [set(near_keys(ids)) for ids in found]
    assert all(len(own) == 14 for own in keys)
    shared = [bool(own & set(near_keys(other))) for own, other in zip(keys, changed, strict=True)]
    assert np.mean(shared) > 0.97
    assert not any(set(near_keys(ids[: len(ids) // 3])) & own for ids, own in zip(found, keys, strict=True))
    assert near_keys(np.arange(4)) == []


# Sources


def read_all(path, rows=7, kind=None, **settings):
    """Every sample of a source, fragment by fragment."""
    source = open_source(path, kind, **settings)
    fragments = source.fragments(rows)
    found = [list(type(source).read(fragment)) for fragment in fragments]
    assert [len(samples) for samples in found] == [fragment.rows for fragment in fragments]
    samples = [sample for part in found for sample in part]
    assert [sample.id for sample in samples] == list(range(len(samples)))
    return source, samples


def looks_like(path):
    """The data type that a source is taken for if none is asked for."""
    try:
        return open_source(path).kind
    except UserError:
        return None


def reasons(samples):
    return [sample.data.reason for sample in samples if isinstance(sample.data, BadSample)]


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_a_text_file_is_read_by_lines_or_paragraphs(texts, tmp_path, suffix):
    data = "\n\n".join(texts.values()).encode()
    path = tmp_path / f"all{suffix}"
    path.write_bytes(gzip.compress(data, mtime=0) if suffix.endswith("gz") else data)
    _, by_line = read_all(path, documents="line")
    assert [s.data for s in by_line] == [line for line in data.split(b"\n") if line.strip()]
    _, by_paragraph = read_all(path)
    split = b"\n".join(b"" if not line.strip() else line for line in data.split(b"\n")).split(b"\n\n")
    assert [s.data.strip(b"\n") for s in by_paragraph] == [p.strip(b"\n") for p in split if p.strip()]
    _, (one,) = read_all(path, documents="file")
    assert one.data == data


def test_what_a_document_is_follows_from_the_files(folder, paragraphs, tmp_path):
    assert [sample.source for sample in read_all(folder)[1]] == [f"{name}.txt" for name in sorted(MODULES)]
    (tmp_path / "lines.txt").write_text("one line\nand another\n")
    assert [sample.data for sample in read_all(tmp_path / "lines.txt")[1]] == [b"one line", b"and another"]
    with pytest.raises(UserError, match="documents is 'word'"):
        open_source(tmp_path / "lines.txt", documents="word")


def test_folders_of_texts_are_splits_and_classes(paragraphs, tmp_path):
    for number, text in enumerate(paragraphs[:40]):
        path = (
            tmp_path / "s" / ("train" if number < 30 else "test") / ("odd" if number % 2 else "even") / f"{number}.txt"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    manifest = prepare(tmp_path / "s", tmp_path / "out", pack=False, max_bad_rate=0.2, **SMALL)
    assert manifest.classes == ("even", "odd")
    assert set(manifest.splits) == {"train", "test"}
    assert sum(manifest.label_counts["test"].values()) == manifest.rows("test") > 5


def test_files_named_train_and_test_are_splits_of_tables(paragraphs, tmp_path):
    for name, part in (("train-0", paragraphs[:20]), ("test", paragraphs[20:30])):
        write_json(tmp_path / f"{name}.jsonl", [{"content": text} for text in part])
    source, samples = read_all(tmp_path)
    assert [fragment.split for fragment in source.fragments(10)] == ["train", "train", "test"]
    assert [sample.data for sample in samples] == paragraphs[:30]


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.json.gz", "t.csv", "t.csv.gz", "t.tsv", "t.parquet"])
def test_a_table_of_any_format_gives_its_texts_and_labels(paragraphs, tmp_path, name):
    wanted = [text.replace("\t", " ").replace("\n", " ") if ".tsv" in name else text for text in paragraphs[:100]]
    rows = [{"id": n, "text": text, "label": n % 12, "lang": "en"} for n, text in enumerate(wanted)]
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name, row_group_size=30)
    else:
        write = gzip.open if name.endswith(".gz") else open
        with write(tmp_path / name, "wt", encoding="utf-8", newline="") as file:
            if ".json" in name:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            else:
                quoting = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None} if ".tsv" in name else {}
                writer = csv.DictWriter(file, list(rows[0]), **quoting)
                writer.writeheader()
                writer.writerows(rows)
    source, samples = read_all(tmp_path / name, kind=None if ".json" in name else "text")
    assert source.classes == tuple(map(str, range(12)))
    assert [s.data if isinstance(s.data, str) else s.data.decode() for s in samples] == wanted
    assert [s.label for s in samples] == [str(n % 12) for n in range(100)]
    kept = json.loads(samples[50].meta)
    assert (int(kept["id"]), kept["lang"]) == (50, "en")


def test_a_column_is_named_where_it_cannot_be_found(paragraphs, tmp_path):
    rows = [{"first": text, "second": text.upper(), "score": 1.5} for text in paragraphs[:5]]
    path = write_json(tmp_path / "t.jsonl", rows)
    with pytest.raises(UserError, match=r"2 columns could be the text; its columns are .*data_column=NAME"):
        open_source(path)
    with pytest.raises(UserError, match="no column 'third' of text"):
        open_source(path, data_column="third")
    with pytest.raises(UserError, match=r"no column 'third'.*label_column=NAME"):
        open_source(path, data_column="first", label_column="third")
    assert read_all(path, data_column="second")[1][0].data == paragraphs[0].upper()


def test_columns_with_too_many_values_are_no_labels(tmp_path):
    path = write_json(tmp_path / "t.jsonl", [{"text": f"text {n}", "target": n} for n in range(10_001)])
    assert open_source(path).classes == ()
    with pytest.raises(UserError, match="more than 10,000 values"):
        open_source(path, label_column="target")


def test_tables_that_could_hold_anything_are_text_only_if_asked(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nhello there,1\n")
    (tmp_path / "b.tsv").write_text("text\tlabel\nhello there\t1\n")
    pq.write_table(pa.table({"text": ["hello"]}), tmp_path / "c.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert open_source(path, "text").kind == "text"
        assert looks_like(path) != "text"
    with pytest.raises(UserError, match="holds csv and tsv files; prepare them apart"):
        open_source(tmp_path, "text")


def test_parquet_files_that_differ_are_refused(tmp_path):
    pq.write_table(pa.table({"text": ["hello"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [1]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b.parquet has other columns \(text: int64\)"):
        open_source(tmp_path, "text")
    with pytest.raises(UserError, match="0 columns could be the text"):
        open_source(tmp_path / "b.parquet", "text")
    pq.write_table(pa.table({"text": ["a"], "label": [[1.5]]}), tmp_path / "c.parquet")
    assert open_source(tmp_path / "c.parquet", "text").classes == ()
    with pytest.raises(UserError, match=r"holds list<.*label_column=NAME"):
        open_source(tmp_path / "c.parquet", "text", label_column="label")


# Hostile text


def quarantined(data, **limits):
    kind = Text(**limits)
    with pytest.raises(BadSample) as refused:
        kind._clean(Sample(0, "", data))
    return refused.value.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \r\n\t \n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        ("Äpfel und Birnen".encode("latin-1"), "wrong_encoding"),
        ("Apples".encode("utf-16"), "wrong_encoding"),
        ("half \ud83d a pair", "wrong_encoding"),
        ("caf\ufffd na\ufffdve", "wrong_encoding"),
        (b"PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "wrong_encoding"),
        ("-" * 40 + "=" * 40 + " a", "mostly_symbols"),
        ("lol" * 1_000_000, "repetition"),
        ("lol " * 1_000_000, "repetition"),
        ("lol\n" * 1_000_000, "repetition"),
        ("buy this now and save a lot of money today " * 20, "repetition"),
        ("a" * 10_000_001, "too_long"),
    ],
)
def test_bad_text_has_a_reason(data, reason):
    assert quarantined(data) == reason


def test_limits_are_settings(paragraphs):
    assert quarantined("two words", min_words=3) == "too_few_words"
    assert quarantined("12345", max_characters=4) == "too_long"
    assert quarantined("a, b", max_symbols=0.1) == "mostly_symbols"
    twice = "\n".join([*"abcdefgh", "a line that comes twice", "a line that comes twice"])
    assert quarantined(twice, max_duplicate_lines=0.3) == "repetition"
    assert Text()._clean(Sample(0, "", twice)) == twice


def test_real_text_in_any_script_is_good(texts):
    kind = Text()
    for text in (*texts.values(), GERMAN, "हिन्दी में लिखा हुआ", "ภาษาไทย", "\ufeffwith a mark"):
        assert kind._clean(Sample(0, "", text)) == text.removeprefix("\ufeff").strip()
    assert kind._clean(Sample(0, "", b"a\r\nb\rc")) == "a\nb\nc"


def test_hostile_lines_end_in_the_quarantine(paragraphs, tmp_path):
    good = [json.dumps({"text": text}).encode() for text in paragraphs[:40]]
    deep = b'{"text":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    bad = {
        b'{"text": "' + b"x" * (50 << 20) + b'"}': "too_long",
        deep: "undecodable",
        b'{"text": "cut off': "undecodable",
        b'{"text": ["a", "list"]}': "undecodable",
        b'"only a string"': "undecodable",
        b'{"other": 1}': "empty",
        b'{"text": "\xff\xfe"}': "wrong_encoding",
        b'{"text": "\\ud800 alone"}': "wrong_encoding",
        b'{"text": ' + b"9" * 5000 + b"}": "undecodable",
    }
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"\n".join([*good[:20], *bad, *good[20:]]))
    repeats = {"max_duplicate_lines": 1.0, "max_top_ngram": 1.0, "max_duplicate_ngrams": 1.0}
    manifest = prepare(path, tmp_path / "out", pack=False, max_bad_rate=0.5, **repeats, **SMALL)
    assert manifest.quarantined == {"empty": 1, "too_long": 1, "undecodable": 5, "wrong_encoding": 2}
    assert manifest.rows() == 40


def test_a_csv_with_an_open_quote_loses_that_line_alone(tmp_path):
    lines_ = ["text,label", '"a, b",1', '"never closed,1', "fine,0", '"two\nlines",1', "one,too,many", '"last",0']
    (tmp_path / "t.csv").write_text("\n".join(lines_))
    _, samples = read_all(tmp_path / "t.csv", rows=2, kind="text")
    good = [sample.data for sample in samples if not isinstance(sample.data, BadSample)]
    assert good[0] == b"a, b"
    assert good[-1] == b"last"
    assert set(reasons(samples)) == {"undecodable"}
    (tmp_path / "u.csv").write_text("\n".join(["text,label", '"never closed,1', *("fine,0" for _ in range(50))]))
    _, samples = read_all(tmp_path / "u.csv", rows=7, kind="text")
    assert [sample.data for sample in samples[1:]] == [b"fine"] * 50
    assert reasons(samples) == ["undecodable"]


def test_an_open_quote_in_a_large_file_is_given_up_on(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LARGEST_RECORD", 100)
    (tmp_path / "t.csv").write_text(
        "\n".join(["text", '"open', *(f"row {n}" for n in range(100)), '"open again', "end"])
    )
    _, samples = read_all(tmp_path / "t.csv", kind="text")
    assert [s.data for s in samples if isinstance(s.data, bytes)] == [
        *(f"row {n}".encode() for n in range(100)),
        b"end",
    ]
    assert reasons(samples) == ["undecodable", "undecodable"]


def test_a_compressed_file_that_ends_early_loses_no_document_silently(paragraphs, tmp_path):
    whole = gzip.compress("\n".join(json.dumps({"text": text}) for text in paragraphs).encode(), mtime=0)
    (tmp_path / "t.jsonl.gz").write_bytes(whole[: len(whole) * 2 // 3])
    for rows in (1, 7, 1000):
        _, samples = read_all(tmp_path / "t.jsonl.gz", rows=rows)
        assert reasons(samples) == ["truncated"]
        assert [sample.data for sample in samples[:-1]] == paragraphs[: len(samples) - 1]


def test_long_lines_and_paragraphs_are_skipped_and_what_follows_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LARGEST", 50)
    long = b"x" * 120
    (tmp_path / "a.txt").write_bytes(b"\n".join([b"first", long, b"last"]))
    assert [s.data for s in read_all(tmp_path / "a.txt", 1, documents="line")[1] if isinstance(s.data, bytes)] == [
        b"first", b"last",
    ]  # fmt: skip
    parts = [b"a\nb\n", b"c\n" * 40, long + b"\n", b"end"]
    (tmp_path / "b.txt").write_bytes(b"\n".join(parts))
    _, samples = read_all(tmp_path / "b.txt", 1)
    assert [sample.data for sample in samples if isinstance(sample.data, bytes)] == [b"a\nb\n", b"end"]
    assert reasons(samples) == ["too_long", "too_long"]


def test_parquet_cells_of_any_bytes_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("selfray.corpus.lines.LARGEST", 1000)
    raw = pa.array([b"fine text", b"no \xff utf-8", None, b"x" * 2000], pa.binary())
    table = pa.table({"text": raw.view(pa.string()), "label": raw.view(pa.string())})
    pq.write_table(table, tmp_path / "t.parquet")
    source, samples = read_all(tmp_path / "t.parquet", kind="text")
    assert [s.data for s in samples[:3]] == [b"fine text", b"no \xff utf-8", b""]
    assert reasons(samples) == ["too_long"]
    assert "no \\udcff utf-8" in source.classes


@given(st.lists(st.sampled_from([b"a", b'"', b"\n", b",", b"b\n\n", b'""', b" \n"]), max_size=60), st.integers(1, 5))
@settings(deadline=None)
def test_any_file_reads_the_same_from_any_offset(tmp_path_factory, parts, rows):
    path = tmp_path_factory.mktemp("any") / "t.txt"
    path.write_bytes(b"".join(parts))
    for unit in ("line", "paragraph", "record"):
        whole = [(at, str(data)) for at, data in lines.units(path, unit)]
        pieces = lines.cuts(path, unit, rows)
        assert sum(count for _, count in pieces) == len(whole)
        joined = []
        for offset, count in pieces:
            joined += [(at, str(data)) for at, data in lines.units(path, unit, offset)][:count]
        assert joined == whole
