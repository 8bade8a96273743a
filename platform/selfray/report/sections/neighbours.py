"""The nearest neighbours of a few samples: what the encoder takes to be alike."""

from typing import Any

import numpy as np

from ..images import is_pixel_art, player, thumbnails
from ..numbers import count
from ..reading import Run, Samples
from ..space import Array, agreement, neighbours

FEWEST, MOST, NEIGHBOURS = 8, 10, 8
TILE = 64  # pixels on the screen
BYTES = 1_500_000


def content(run: Run) -> dict[str, Any]:
    """A row of neighbours for each query, by the pretrained and by the untrained encoder."""
    samples = run.samples
    if samples is None or len(samples.id) < 2:
        return {"missing": "No embeddings to compare yet; this computes them:", "command": "evaluate"}
    queries = _queries(samples.label)
    galleries = [
        _gallery(samples, who, embedding, queries)
        for who, embedding in (("pretrained", samples.embedding), ("untrained", samples.untrained))
        if embedding is not None
    ]
    shown = sorted({index for gallery in galleries for row in gallery["order"] for index in row} | set(queries))
    images = samples.image
    uris = [] if images is None else thumbnails([images[index] for index in shown], side=TILE, budget=BYTES)
    side = TILE if images is None else max(images.shape[1:3])
    pixelated = images is not None and is_pixel_art(images[0])
    return {
        "galleries": galleries,
        "image": dict(zip(shown, uris, strict=bool(uris))),
        "text": {index: samples.text[index] for index in shown} if samples.text else {},
        "sound": {index: player(samples.sound[index]) for index in shown} if samples.sound else {},
        "tile": side * max(1, round(TILE / side)) if pixelated else TILE,  # whole multiples keep pixels square
        "pixelated": pixelated,
        "labelled": bool((samples.label >= 0).any()),
        "among": count(len(samples.id)),
    }


def _queries(label: np.ndarray[Any, Any]) -> list[int]:
    """Random samples, one a class in turn, so that none is picked for its looks."""
    shuffled = np.random.default_rng(0).permutation(len(label)).tolist()
    known = label[label >= 0]
    classes = sorted(set((known if len(known) else label).tolist()))
    waiting = {one: [index for index in shuffled if label[index] == one] for one in classes}
    wanted = min(max(FEWEST, min(len(classes), MOST)), sum(map(len, waiting.values())))
    chosen: list[int] = []
    while len(chosen) < wanted:
        for one in classes:
            if waiting[one] and len(chosen) < wanted:
                chosen.append(waiting[one].pop(0))
    return sorted(chosen, key=lambda index: label[index])


def _gallery(samples: Samples, who: str, embedding: Array, queries: list[int]) -> dict[str, Any]:
    order, similarity = neighbours(embedding, NEIGHBOURS)
    share = agreement(order, samples.label)
    return {
        "who": who,
        "order": order[queries].tolist(),
        "agreement": "" if share is None else f"{100 * share:.1f}\N{NO-BREAK SPACE}%",
        "rows": [
            {
                "query": _tile(samples, query),
                "neighbours": [
                    {
                        **_tile(samples, int(index)),
                        "similarity": f"{float(alike):.2f}",
                        "agrees": bool(samples.label[index] == samples.label[query]),
                    }
                    for index, alike in zip(order[query], similarity[query], strict=True)
                ],
            }
            for query in queries
        ],
    }


def _tile(samples: Samples, index: int) -> dict[str, Any]:
    label = int(samples.label[index])
    return {"index": index, "id": int(samples.id[index]), "name": samples.name(label), "labelled": label >= 0}
