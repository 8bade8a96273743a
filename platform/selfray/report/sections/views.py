"""The views: what the objective saw of a few samples."""

from typing import Any

from ..images import is_pixel_art, thumbnails
from ..reading import Run

TILE = 96
BYTES = 1_000_000


def content(run: Run) -> dict[str, Any]:
    """A row of images for the samples and one for each view."""
    if not run.views:
        return {"missing": "No views were saved: a run saves those of its first batch when it starts training."}
    names = sorted(run.views, key=lambda name: name != "sample")  # the sample first, the views in their own order
    return {
        "rows": [
            {
                "name": name,
                "uris": thumbnails(list(run.views[name]), side=TILE, budget=BYTES // len(names)),
                "size": " × ".join(map(str, run.views[name].shape[1:3])),
                "pixelated": is_pixel_art(run.views[name][0]),
            }
            for name in names
        ],
        "columns": max(len(run.views[name]) for name in names),
    }
