"""How training went: learning, health and speed, one small chart a metric."""

from typing import Any

from ...train.rules import LEAST_FEATURE_STD, MOST_UNIFORMITY
from ..figures import Limit, line_chart
from ..numbers import plain
from ..reading import Run, Series

LIMITS = {
    "health/feature_std": Limit(LEAST_FEATURE_STD, "below"),
    "health/uniformity": Limit(MOST_UNIFORMITY, "above"),
}
TITLES = {
    "train/loss": "Loss",
    "train/learning_rate": "Learning rate",
    "train/gradient_norm": "Gradient norm",
    "health/feature_std": "Feature standard deviation",
    "health/rankme": "RankMe",
    "health/uniformity": "Uniformity",
    "speed/samples_per_second": "Samples per second",
    "speed/data_wait_share": "Share of time waiting for data",
}
MEANINGS = {
    "health/feature_std": "How much each feature varies over a batch of unit-length embeddings, times the root of the "
    "width. From 0.3 (all-positive features) to 1 the samples are spread out; towards 0 all samples get the same "
    "embedding, which is complete collapse.",
    "health/rankme": "The effective number of dimensions in use (Garrido et al. 2023). A fall while the loss still "
    "improves is dimensional collapse.",
    "health/uniformity": "How evenly embeddings cover the sphere (Wang & Isola 2020): the lower, the more even; 0 "
    "means that all are in one place.",
    "speed/data_wait_share": "Above about a tenth, more CPUs for decoding would speed up training.",
}
GROUPS = (
    ("train", "Learning", ""),
    ("health", "Health", "Measured on the batch's own embeddings, to catch a collapse that the loss does not show."),
    ("speed", "Speed", ""),
)


def content(run: Run) -> dict[str, Any]:
    """The charts in groups."""
    groups = [
        {"title": title, "about": about, "charts": [_chart(name, run.metrics[name]) for name in _names(run, prefix)]}
        for prefix, title, about in GROUPS
    ]
    groups = [group for group in groups if group["charts"]]
    if not groups:
        return {"missing": "No metrics yet: they appear here once the run has logged its first step."}
    return {"groups": groups}


def _names(run: Run, prefix: str) -> list[str]:
    """The metrics of a group: the known ones in their order, then the objective's own by name."""
    known = [name for name in TITLES if name in run.metrics]
    return [name for name in [*known, *sorted(set(run.metrics) - set(known))] if name.startswith(f"{prefix}/")]


def _chart(name: str, series: Series) -> dict[str, str]:
    title = TITLES.get(name) or name.partition("/")[2].replace("_", " ").replace("/", " ").strip().capitalize() or name
    limit = LIMITS.get(name)
    last = next((value for _, value in reversed(series) if value is not None), None)
    lost = sum(value is None for _, value in series)
    notes = [MEANINGS.get(name, "")]
    if lost:
        notes.append(f"{lost} of {len(series)} values {'was' if lost == 1 else 'were'} not finite, marked ×.")
    status, kind = "", ""
    if limit and last is not None:
        kind = "bad" if limit.crossed(last) else "good"
        status = f"{'⚠ warning' if kind == 'bad' else '✓ fine'}: warns {limit.wrong} {plain(limit.value, 1)}"
    return {
        "name": name,
        "title": title,
        "last": plain(last),
        "svg": line_chart(series, title, limit, from_zero=name.startswith("speed/")),
        "note": " ".join(note for note in notes if note),
        "status": status,
        "kind": kind,
    }
