"""Label efficiency: the same probes fitted on a few of the labels, and on more and more of them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..probes import find
from ..probes.probe import Probe, Score
from .features import Samples, few

Judged = Callable[[Probe, NDArray[np.int64]], dict[str, list[Score]]]
"""From a probe and the places of the labelled samples that it is fitted on to its numbers, by who was measured."""


def rows(
    probes: dict[str, dict[str, Any]],
    shares: Sequence[float],
    train: Samples,
    judged: Judged,
    seed: int,
    raw_name: str,
) -> list[dict[str, Any]]:
    """A row of `results.json` for each probe that is fitted on labels and each share, from the smallest on.

    A larger share holds the labels of the smaller ones; of every class there is one at least. A probe that cannot be
    fitted on so few has no row for them.

    Args:
        probes: names with settings.
        shares: of the labels of each class; 1 is all of them.
        train: what they are taken from.
        judged: measures a probe.
        seed: fixes which labels are taken.
        raw_name: what samples without an encoder are called.
    """
    found = []
    for name, settings in probes.items():
        probe = find(name)(**settings)
        if probe.asks != "labels" or not probe.fits_labels:
            continue
        for share in sorted(set(shares)):
            fit = np.arange(len(train.ids)) if share == 1 else few(train, share, seed)
            try:
                scores = judged(probe, fit)
            except UserError:
                continue
            firsts = {who: numbers[0] for who, numbers in scores.items()}
            row = {"probe": name, "metric": firsts["pretrained"].metric, "share": share, "labels": len(fit)}
            row |= {who: score.value for who, score in firsts.items()}
            row |= {f"{who}_interval": score.interval for who, score in firsts.items()}
            found.append(row | {"raw_name": probe.raw or raw_name})
    return found
