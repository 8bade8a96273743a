"""The objective's own clusters: what it has put together without being told any class."""

from typing import Any

from ..images import is_pixel_art, thumbnails
from ..reading import Run

TILE = 72
BYTES = 1_000_000


def content(run: Run) -> dict[str, Any]:
    """A row of samples for each of the largest clusters."""
    if not run.clusters:
        return {"missing": "This objective has no clusters."}
    return {
        "rows": [
            {
                "number": one.number,
                "share": f"{100 * one.share:.1f}\N{NO-BREAK SPACE}%",
                "uris": thumbnails(list(one.image), side=TILE, budget=BYTES // len(run.clusters)),
            }
            for one in run.clusters
        ],
        "columns": max(len(one.image) for one in run.clusters),
        "pixelated": is_pixel_art(run.clusters[0].image[0]),
        "used": run.clusters_used,
    }
