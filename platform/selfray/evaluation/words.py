"""Rows of tokens as a person reads them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..corpus import place
from ..corpus.manifest import Manifest
from ..corpus.place import Place

MOST = 280
"""Characters that are kept of a row."""


def texts(tokens: NDArray[Any], manifest: Manifest, corpus: Place) -> NDArray[np.str_]:
    """What rows of tokens say, (n, length) -> (n,); [MASK] and [SEP] stay to be seen, what is long is cut."""
    from ..corpus.tokens import FILE, load

    tokenizer = load(place.storage(place.absolute(corpus)).read(FILE).decode("utf-8"))
    hidden = {manifest.facts[name] for name in ("pad", "cls") if name in manifest.facts}
    rows = [[int(token) for token in row if int(token) not in hidden] for row in tokens]
    end = manifest.facts.get("sep")
    rows = [row[:-1] if row and row[-1] == end else row for row in rows]
    said = tokenizer.decode_batch(rows, skip_special_tokens=False)
    return np.array([_cut(" ".join(text.split())) for text in said], dtype=np.str_)


def _cut(text: str) -> str:
    return text if len(text) <= MOST else text[: MOST - 1] + "…"
