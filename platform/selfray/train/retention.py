"""Which checkpoints are kept."""

import math
from collections.abc import Sequence

from .publish import Saved


def surplus(saved: Sequence[Saved], keep: int, every: int | None, best: str | None) -> list[Saved]:
    """Which of the checkpoints, newest first, are kept for no reason; oldest first.

    Args:
        saved: All of them.
        keep: How many of the newest are kept.
        every: Steps of which multiples are kept.
        best: Name of a number of which the lowest is kept; `-name` for the highest.
    """
    kept = {one.name for one in saved[:keep]}
    kept |= {one.name for one in saved if every and one.step % every == 0}
    if best:
        sign, metric = (-1, best[1:]) if best.startswith("-") else (1, best)
        scored = [(sign * one.metrics[metric], -one.step, one.name) for one in saved if _known(one.metrics.get(metric))]
        kept |= {min(scored)[2]} if scored else set()
    return [one for one in reversed(saved) if one.name not in kept]


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)
