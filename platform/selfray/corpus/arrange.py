"""Collections whose labels stand beside the files, made into one Parquet file that the readers know.

One that has splits of its own becomes a folder of Parquet files instead. Files for probes come to lie beside it.
"""

import gzip
import hashlib
import itertools
import json
import lzma
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from . import pickled, wordnet
from .wordnet import Sense, Tree

FEW = {"Component"}  # skin tones and hair by themselves


def emoji(folder: Path, file: Path) -> None:
    """The 64-pixel pictures of an emoji-datasource package with their categories.

    An emoji and its skin tones are the same thing drawn several times: they are one group, so that no split has both.
    """
    listed = json.loads((folder.parents[2] / "emoji.json").read_text(encoding="utf-8"))
    rows = []
    for one in sorted(listed, key=lambda one: one["unified"]):
        if one["category"] in FEW:
            continue
        for shape in (one, *one.get("skin_variations", {}).values()):
            picture = folder / shape["image"]
            if picture.is_file():
                rows.append({"image": picture.read_bytes(), "label": one["category"], "group": one["unified"]})
    pq.write_table(pa.Table.from_pylist(rows), file)


PAUSES = {"pau", "brth", "h#", "#"}
TENTH = 0.1  # of the glosses are for tests
FEWEST_WORDS = 4  # of a gloss or an example; shorter ones say little
GRADED = 5000  # draws of two senses with a similarity; those of one sense are left out
PASSAGE = 80  # words
PASSAGES = 2000  # pairs of passages

Pair = tuple[str, str, float | None]


def glosses(folder: Path, file: Path) -> None:
    """The glosses of WordNet by lexicographer file; a gloss's text decides on its split, so equal ones share it.

    For probes there are held-out pairs of definitions (`pairs.parquet`): a sense's and that of one directly above it,
    and two nouns' with their similarity in the tree of nouns. `examples.parquet` has an example and what it is one of.
    """
    every = list(wordnet.senses(folder))
    long = [sense for sense in every if len(sense.gloss.split()) >= FEWEST_WORDS]
    held = [sense for sense in long if _share(sense.gloss) < TENTH]
    unseen = {sense.key: sense for sense in held}
    splits = {"train": [sense for sense in long if sense.key not in unseen], "test": held}
    _write_splits({split: [(one.gloss, one.kind) for one in mine] for split, mine in splits.items()}, file)
    near = [(one.definition, unseen[up].definition, None) for one in held for up in one.above if up in unseen]
    _write_pairs([*near, *_graded(unseen, Tree({sense.key: sense.above for sense in every}))], file, "pairs")
    examples = [(text, one.definition, None) for one in held for text in one.examples]
    _write_pairs([pair for pair in examples if len(pair[0].split()) >= FEWEST_WORDS], file, "examples")


def _graded(unseen: Mapping[str, Sense], tree: Tree) -> list[Pair]:
    """Pairs of nouns at all distances: one noun, one of those above it, and any noun below that."""
    nouns = [key for key, sense in unseen.items() if sense.kind.startswith("noun")]
    below = defaultdict(list)
    for key in nouns:
        for up in tree.ancestors(key):
            below[up].append(key)
    draw, found = random.Random(0), dict[tuple[str, str], Pair]()
    for _ in range(GRADED if nouns else 0):
        first = _drawn(nouns, draw)
        second = _drawn(below[_drawn(list(tree.ancestors(first)), draw)], draw)
        texts = unseen[first].definition, unseen[second].definition
        if texts[0] != texts[1]:
            found[first, second] = (*texts, round(tree.similarity(first, second), 4))
    return list(found.values())


def _drawn(choices: Sequence[str], draw: random.Random) -> str:
    return choices[int(draw.random() * len(choices))]  # what `choice` draws may change with Python's version


def newsgroups(folder: Path, file: Path) -> None:
    """20 Newsgroups in its official split, from tables of Orange, which have three lines of header.

    `pairs.parquet` has two passages, one behind the other, of held-out messages.
    """
    splits = {}
    for split in ("train", "test"):
        lines = (folder / f"20newsgroups-{split}.tab").read_text(encoding="utf-8").splitlines()[3:]
        rows = [line.split("\t", 1) for line in lines if line.strip()]
        splits[split] = [(text, label) for label, text in rows if text.strip()]
    _write_splits(splits, file)
    messages = [text.split() for text, _ in sorted(splits["test"], key=lambda row: _share(row[0]))]
    long = [words for words in messages if len(words) >= 2 * PASSAGE][:PASSAGES]
    pairs = [(" ".join(words[:PASSAGE]), " ".join(words[PASSAGE : 2 * PASSAGE]), None) for words in long]
    _write_pairs(pairs, file, "pairs")


def phones(folder: Path, file: Path) -> None:
    """The phones of a festvox voice as `frames.parquet`: of each file of `lab`, when each ends; pauses are left out.

    The recordings themselves stay as they are.
    """
    rows = []
    for labels in sorted((folder.parent / "lab").glob("*.lab")):
        start = 0.0
        for line in labels.read_text(encoding="utf-8").partition("#")[2].splitlines():
            if line.strip():
                end, _, name = line.split()
                if name not in PAUSES and float(end) > start:
                    rows.append({"source": f"{labels.stem}.wav", "start": start, "end": float(end), "name": name})
                start = float(end)
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file.with_name("frames.parquet"))


WINDOW, OVERLAP = 128, 64  # steps of 20 ms
SENSORS = ("acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z")
TESTED = {2, 4, 9, 10, 12, 13, 18, 20, 24}  # people
ACTIVITIES = (  # by number, from 1; the last six are transitions
    *("walking", "walking upstairs", "walking downstairs", "sitting", "standing", "lying"),
    *("stand to sit", "sit to stand", "sit to lie", "lie to sit", "stand to lie", "lie to stand"),
)


def activities(file: Path, folder: Path) -> None:
    """HAPT's recordings as windows of 2.56 s, half of which the next one shares, with the activity and the person.

    A window lies within one activity: cut so, there are the 7,767 and 3,162 windows of the official split.
    """
    rows: dict[str, list[dict[str, object]]] = {"train": [], "test": []}
    for (person, *_), table in pickled.tables(pickled.read(gzip.decompress(file.read_bytes()), file.name)):
        labels = np.asarray(table["label"])
        values = {name: np.asarray(table[name], np.float32) for name in SENSORS}
        changes = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
        for start, stop in itertools.pairwise(changes):
            label = int(labels[start])
            for at in range(start, stop - WINDOW + 1, OVERLAP) if label > 0 else ():
                window = {name: of[at : at + WINDOW] for name, of in values.items()}
                known = {"label": ACTIVITIES[label - 1], "person": person}
                rows["test" if person in TESTED else "train"].append(window | known)
    folder.mkdir(parents=True, exist_ok=True)
    channels = [(name, pa.list_(pa.float32())) for name in SENSORS]
    schema = pa.schema([*channels, ("label", "string"), ("person", "int64")])
    for split, mine in rows.items():
        pq.write_table(pa.Table.from_pylist(mine, schema), folder / f"{split}.parquet")


EARLIER = 0.8  # of a table in time is for training


def air(file: Path, folder: Path) -> None:
    """Fine dust and weather of Beijing by the hour; hours without a measurement of dust stay missing values."""
    table = pacsv.read_csv(file, convert_options=pacsv.ConvertOptions(null_values=["NA"]))
    _write_periods(table.select(["pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"]), folder)


def appliances(file: Path, folder: Path) -> None:
    """Electricity, temperatures and humidity of a house every ten minutes, without two columns of random numbers."""
    table = pacsv.read_csv(pa.BufferReader(lzma.decompress(file.read_bytes())))
    _write_periods(table.drop_columns(["date", "rv1", "rv2"]), folder)


def _write_periods(table: pa.Table, folder: Path) -> None:
    """The rows of a table, which are in order of time, as one series for training and a later one for tests."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = table.cast(pa.schema([(name, pa.float32()) for name in table.column_names]))
    end = int(EARLIER * len(numbers))
    for split, part in (("train", numbers.slice(0, end)), ("test", numbers.slice(end))):
        pq.write_table(part, folder / f"{split}.parquet")


def _share(text: str) -> float:
    """A number in [0, 1) that looks random, of a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _write_splits(splits: Mapping[str, Sequence[tuple[str, str]]], folder: Path) -> None:
    """A file of texts and labels for each split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        table = pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
        pq.write_table(table, folder / f"{split}.parquet")


def _write_pairs(pairs: Sequence[Pair], beside: Path, name: str) -> None:
    """What the probe `pairs` reads."""
    columns = [pa.array(column, kind) for column, kind in zip(zip(*pairs, strict=True), _PAIR.types, strict=True)]
    pq.write_table(pa.table(columns, schema=_PAIR), beside.with_name(f"{name}.parquet"))


_PAIR = pa.schema([("a", pa.string()), ("b", pa.string()), ("score", pa.float64())])
