"""Pairs of texts for probes: read from a file, and as vectors of an encoder or of TF-IDF."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..corpus import place, tokens
from ..corpus.manifest import Manifest
from ..corpus.place import Place
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..sentences import rows
from . import raw
from .features import Samples, embed

FILE = "pairs.parquet"
"""What a corpus that has pairs of its own calls them."""

Vectors = Callable[[Sequence[str]], Any]
"""From texts to a matrix, (texts, width), dense or sparse."""

_ADVICE = "give a Parquet or CSV file with columns a and b, and score where pairs are graded"


@dataclass(frozen=True)
class Pairs:
    """Two texts of each pair, by their places in `texts`."""

    texts: list[str]
    a: NDArray[np.int64]  # (pairs)
    b: NDArray[np.int64]
    score: NDArray[np.float64]  # how alike they are, on any scale; NaN where they belong together


def there(corpus: Place) -> bool:
    """Whether a corpus has pairs of its own."""
    return place.exists(corpus, FILE)


def content(file: str, corpus: Place) -> bytes:
    """The bytes of a file of the corpus's folder, or else of the working directory.

    Raises:
        UserError: it is in neither.
    """
    if not Path(file).is_absolute() and place.exists(corpus, file):
        return bytes(place.storage(place.absolute(corpus)).read(file))
    if not Path(file).is_file():
        raise UserError(f"pairs: no file {file} in {corpus}, nor here; {_ADVICE}")
    return Path(file).read_bytes()


def digest(file: str, corpus: Place) -> str:
    """Changes with the file; empty if there is none."""
    try:
        return hashlib.sha256(content(file, corpus)).hexdigest()[:32]
    except UserError:
        return ""


def read(file: str, corpus: Place) -> Pairs:
    """The pairs of a file.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    try:
        table = _table(file, content(file, corpus))
    except pa.ArrowException as error:
        raise UserError(f"pairs: {file} cannot be read ({error}); {_ADVICE}") from None
    if lacking := {"a", "b"} - set(table.column_names):
        raise UserError(f"pairs: {file} has no column {' or '.join(sorted(lacking))}; {_ADVICE}")
    sides = [table[side].to_pylist() for side in ("a", "b")]
    for number, pair in enumerate(zip(*sides, strict=True)):
        if not all(isinstance(text, str) and text.strip() for text in pair):
            raise UserError(f"pairs: row {number} of {file} lacks a text in column a or b; leave it out")
    places: dict[str, int] = {}
    a, b = (np.array([places.setdefault(text, len(places)) for text in side], np.int64) for side in sides)
    return Pairs(list(places), a, b, _scores(table, file))


def _table(file: str, data: bytes) -> pa.Table:
    if file.endswith(".csv"):
        options = csv.ConvertOptions(column_types={"a": pa.string(), "b": pa.string()})
        newlines = csv.ParseOptions(newlines_in_values=True)
        return csv.read_csv(io.BytesIO(data), parse_options=newlines, convert_options=options)
    return pq.read_table(io.BytesIO(data))


def _scores(table: pa.Table, file: str) -> NDArray[np.float64]:
    if "score" not in table.column_names:
        return np.full(len(table), np.nan)
    try:
        scores = table["score"].cast(pa.float64())
    except pa.ArrowException:
        raise UserError(f"pairs: column score of {file} holds {table['score'].type}, not numbers") from None
    found: NDArray[np.float64] = scores.fill_null(np.nan).to_numpy()
    return found


def vectors(
    probe: str, encoders: dict[str, Encoder], train: Samples, manifest: Manifest, corpus: Place
) -> dict[str, Vectors]:
    """What each encoder, and TF-IDF of the training split by the name `raw`, makes of texts.

    Raises:
        UserError: the corpus holds no texts.
    """
    if manifest.kind != "text":
        raise UserError(f"{probe} asks for pairs of texts, which {manifest.kind} corpora do not have; leave it out")
    tokenizer = tokens.load(place.storage(place.absolute(corpus)).read(tokens.FILE).decode("utf-8"))
    longest = min(encoder.size[0] for encoder in encoders.values())

    def tokenized(texts: Sequence[str]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = rows(texts, tokenizer, manifest.facts, longest).numpy()
        return found

    def embedded(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
        return embed(encoder, tokenized(texts), lambda inputs: inputs)

    def weighted(texts: Sequence[str]) -> Any:
        return raw.weights(train.data, tokenized(texts), manifest.facts)[1]

    return {who: partial(embedded, encoder) for who, encoder in encoders.items()} | {"raw": weighted}
