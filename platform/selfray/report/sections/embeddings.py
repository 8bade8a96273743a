"""The map: embeddings in two dimensions, beside those of the untrained encoder."""

from collections import Counter
from typing import Any

import numpy as np

from ..figures import COLOURS, MARKERS, Mark, scatter
from ..images import is_pixel_art, sprite
from ..numbers import count
from ..reading import Run, Samples
from ..space import Array, layout, neighbours

MOST_CLASSES = 20  # more cannot be told apart; the rest is grey
NEIGHBOURS = 8
MOST_LETTERS = 140
SPRITE_SIDE, SPRITE_BYTES = 40, 2_200_000


def content(run: Run) -> dict[str, Any]:
    """The maps, their legend, and what the script needs to show a sample under the pointer."""
    samples = run.samples
    if samples is None:
        return {"missing": "No embeddings to map yet; this computes them:", "command": "evaluate"}
    marks, group = _marks(samples)
    maps, data = [], []
    for who, embedding in (("Pretrained", samples.embedding), ("Untrained", samples.untrained)):
        if embedding is None:
            continue
        place, method = layout(embedding)
        words = f"{method} map of {len(place)} embeddings of the {who.lower()} encoder"
        collapsed = float(embedding.std(axis=0).max()) < 1e-6
        drawn = scatter(place, group, marks, words)
        maps.append({"title": who, "method": method, "svg": drawn, "collapsed": collapsed})
        data.append({"title": who, **_nearest(embedding)})
    images = samples.image
    thumbs = None if images is None else sprite(images, side=SPRITE_SIDE, budget=SPRITE_BYTES)
    height, width = (1, 1) if images is None else images.shape[1:3]
    named = any(mark.name for mark in marks)
    return {
        "maps": maps,
        "legend": marks if named else [],
        "sprite": thumbs,
        "shape": f"{width} / {height}",
        "pixelated": images is not None and is_pixel_art(images[0]),
        "shown": count(len(samples.id)),
        "evaluated": count(samples.evaluated) if samples.evaluated > len(samples.id) else "",
        "data": {
            "id": samples.id.tolist(),
            "label": samples.label.tolist(),
            "names": {int(label): samples.name(label) for label in np.unique(samples.label)},
            "columns": thumbs.columns if thumbs else 1,
            "rows": thumbs.rows if thumbs else 1,
            "text": [] if thumbs else [text[:MOST_LETTERS] for text in samples.text],
            "maps": data,
        },
    }


def _marks(samples: Samples) -> tuple[list[Mark], list[int]]:
    """The marks of the map, and for each sample the index of its mark."""
    counts = Counter(samples.label.tolist())
    unlabelled = counts.pop(-1, 0)
    named = sorted(sorted(counts, key=lambda label: -counts[label])[:MOST_CLASSES])
    marks = [
        Mark(_cut(samples.name(label)), f"c{index % COLOURS}", index % len(MARKERS), counts[label])
        for index, label in enumerate(named)
    ]
    position = {label: index for index, label in enumerate(named)}
    rest = sum(counts.values()) - sum(mark.samples for mark in marks) + unlabelled
    if rest:
        marks.append(Mark("", "none", 0, rest))
    return marks, [position.get(label, len(named)) for label in samples.label.tolist()]


def _cut(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def _nearest(embedding: Array) -> dict[str, Any]:
    order, similarity = neighbours(embedding, NEIGHBOURS)
    return {"nearest": order.tolist(), "similarity": [[round(float(one), 2) for one in row] for row in similarity]}
