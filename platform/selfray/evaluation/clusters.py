"""A gallery of what an objective's own clusters hold, for the report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..corpus import stream
from ..objectives.objective import Objective
from ..views.random import sample_keys
from ..views.views import Views
from .pictures import drawn

LOOKED_AT, ROWS, COLUMNS = 2048, 12, 10


def write(file: Path, objective: Objective, views: Views, plan: stream.Plan) -> bool:
    """Store samples of the largest clusters; False where the objective has none or its samples cannot be drawn.

    Samples are the first of an epoch, which the order has mixed.
    """
    if type(objective).assignments is Objective.assignments:
        return False
    clusters, pictures = list[NDArray[np.int64]](), list[NDArray[np.uint8]]()
    with torch.inference_mode():
        for ids, samples in _first(plan, LOOKED_AT):
            rows = torch.tensor(samples)
            seen = views.inputs(rows, sample_keys(torch.tensor(ids), 0, 0))
            found = objective.assignments(objective.encoder.embed(seen))
            picture = drawn(plan.manifest.kind, samples)
            if found is None or picture is None:
                return False
            clusters.append(found.numpy())
            pictures.append(picture)
    np.savez(file, **gallery(np.concatenate(clusters), np.concatenate(pictures)))
    return True


def _first(plan: stream.Plan, most: int) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    steps = min(plan.order.steps, -(-most // plan.order.batch))
    for first, last in plan.spans(0, steps):
        for ids, samples, _ in plan.blocks(first, last):
            yield ids, samples


def gallery(cluster: NDArray[np.int64], image: NDArray[np.uint8]) -> dict[str, Any]:
    """The largest clusters' numbers and shares, how many are in use, and the first samples of each."""
    numbers, sizes = np.unique(cluster, return_counts=True)
    largest = np.argsort(-sizes, kind="stable")[:ROWS]
    shown = np.concatenate([np.flatnonzero(cluster == number)[:COLUMNS] for number in numbers[largest]])
    return {
        "image": image[shown],
        "cluster": cluster[shown],
        "number": numbers[largest],
        "share": sizes[largest] / len(cluster),
        "used": np.array(len(numbers)),
    }
