"""How good the encoder of a trial is, by labels of the training split or without any; the test split is never read.

A probe is fitted on four fifths of the labelled samples and asked about the others. Their images were pretrained on,
like all of the training split; their labels were not, and the test split stays untouched for the end.
"""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import probes
from ..corpus.manifest import Manifest
from ..corpus.place import Place
from ..discovery import nearest
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..evaluation.features import Samples, embed, load
from ..probes.probe import Features, Probe
from ..train import health
from ..views.views import Views

LABEL_FREE = {"rankme": "max", "feature_std": "max", "uniformity": "min", "loss": "min"}
"""Scores that need no labels, and what is better."""
DEFAULT_LABEL_FREE = "rankme"
"""It was proposed for choosing settings without labels (Garrido et al. 2023, arXiv:2210.02885)."""
LOOKED_AT = 1000  # samples for the label-free scores


def known() -> list[str]:
    """Every metric."""
    return [*judging(), *LABEL_FREE]


def judging() -> list[str]:
    """The probes that say of each sample whether they were right, so that the score has a standard error."""
    return [name for name in probes.names("labels") if probes.find(name).correct is not Probe.correct]


def choose(metric: str, mode: str | None, corpus: Place, samples: int) -> tuple[str, str]:
    """The metric's name and what is better, with `auto` decided by the labels that the training split has.

    Raises:
        UserError: there is no such metric, it needs labels that are missing, or a better end that was not given.
    """
    if metric == "auto":
        metric = "knn" if labelled(corpus, samples) else DEFAULT_LABEL_FREE
    if metric in LABEL_FREE:
        return metric, mode or LABEL_FREE[metric]
    if metric not in judging():
        raise UserError(
            f"there is no metric {metric!r}{nearest(metric, known())}; there are auto, {', '.join(known())}"
        )
    if not labelled(corpus, samples):
        raise UserError(
            f"metric {metric!r} needs labels in the training split, and {Manifest.read(corpus).name!r} has none there "
            f"for every sample; use one of {', '.join(LABEL_FREE)}"
        )
    return metric, mode or "max"


def labelled(corpus: Place, limit: int) -> bool:
    """Whether the samples to be judged by all have labels, of two classes or more."""
    labels = _samples(str(corpus), limit).labels
    return bool((labels >= 0).all()) and len(np.unique(labels)) > 1


@functools.lru_cache(maxsize=1)  # an actor that runs one trial after another reads them once
def _samples(corpus: str, limit: int) -> Samples:
    return load(corpus, "train", limit)


def parts(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that a probe is fitted on and rows that it is asked about."""
    shuffled = np.random.default_rng(0).permutation(count)
    return np.sort(shuffled[count // 5 :]), np.sort(shuffled[: count // 5])


def judge(
    metric: str, encoder: Encoder, views: Views, corpus: str | Path, limit: int, row: Mapping[str, float]
) -> dict[str, float]:
    """The score with its standard error (0 where it has none), and the label-free measures.

    Args:
        metric: Its name.
        encoder: Of the trial.
        views: What prepares samples for it.
        corpus: A prepared corpus.
        limit: Samples used at most.
        row: The trial's last row of numbers, for `loss`.
    """
    samples = _samples(str(corpus), limit)

    def prepare(data: torch.Tensor) -> torch.Tensor:
        return views.inputs(data, torch.zeros(len(data), dtype=torch.long, device=data.device))

    vectors = embed(encoder, samples.data, prepare)
    if not np.isfinite(vectors).all():
        raise UserError("the embeddings are not finite; lower the learning rate")
    found = {
        name.removeprefix("health/"): float(value)
        for name, value in health.measures(torch.from_numpy(vectors[:LOOKED_AT])).items()
    }
    if metric == "loss":
        return {"score": row.get("train/loss", math.nan), "error": 0.0, **found}
    if metric in LABEL_FREE:
        return {"score": found[metric], "error": 0.0, **found}
    fit, asked = parts(len(vectors))
    right = probes.find(metric)().correct(
        Features(vectors[fit], samples.labels[fit]), Features(vectors[asked], samples.labels[asked])
    )
    share = float(right.mean())
    return {"score": share, "error": math.sqrt(share * (1 - share) / len(right)), **found}


def settle(metric: str) -> str:
    """The metric in words."""
    if metric in LABEL_FREE:
        return {"loss": "training loss"}.get(metric, metric)
    return f"{metric} accuracy on a fifth of the training split's labels"


def shown(metric: str, value: Any) -> str:
    """A score as people read it."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "-"
    return f"{value:.1%}" if metric not in LABEL_FREE else f"{value:.4g}"
