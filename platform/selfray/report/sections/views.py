"""The views: what the objective saw of a few samples."""

from typing import Any

from ..images import is_pixel_art, player, thumbnails
from ..reading import Run

TILE = 96
BYTES = 1_000_000


def content(run: Run) -> dict[str, Any]:
    """A row of pictures, sounds or texts for the samples and one for each view."""
    names = sorted({**run.views, **run.sounds, **run.texts}, key=lambda name: name != "sample")  # the sample first
    if not names:
        return {"missing": "No views were saved: a run saves those of its first batch when it starts training."}
    rows = [_row(run, name, BYTES // len(names)) for name in names]
    return {
        "rows": rows,
        "columns": max(max(len(row["uris"]), len(row["sounds"])) for row in rows),
    }


def _row(run: Run, name: str, budget: int) -> dict[str, Any]:
    images = run.views.get(name)
    return {
        "name": name,
        "uris": [] if images is None else thumbnails(list(images), side=TILE, budget=budget),
        "size": "" if images is None or name in run.sounds else " × ".join(map(str, images.shape[1:3])),
        "pixelated": images is not None and is_pixel_art(images[0]),
        "sounds": [player(sound) for sound in run.sounds.get(name, [])],
        "texts": run.texts.get(name, []),
    }
