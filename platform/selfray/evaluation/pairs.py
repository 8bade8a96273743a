"""Pairs of texts for probes: read from a file, and as vectors of an encoder or of TF-IDF."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..corpus import place, tokens
from ..corpus.manifest import Manifest
from ..corpus.place import Place
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..sentences import rows
from . import beside, raw
from .features import Samples, embed

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


def read(file: str, corpus: Place) -> Pairs:
    """The pairs of a file.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    table = beside.table("pairs", file, corpus, ("a", "b"), _ADVICE)
    sides = [table[side].to_pylist() for side in ("a", "b")]
    for number, pair in enumerate(zip(*sides, strict=True)):
        if not all(isinstance(text, str) and text.strip() for text in pair):
            raise UserError(f"pairs: row {number} of {file} lacks a text in column a or b; leave it out")
    places: dict[str, int] = {}
    a, b = (np.array([places.setdefault(text, len(places)) for text in side], np.int64) for side in sides)
    return Pairs(list(places), a, b, _scores(table, file))


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
