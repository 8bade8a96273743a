"""How the learning rate moves: a pure function of the step, so there is nothing to save."""

import math


def learning_rate_factor(step: int, total: int, warmup: float, final: float) -> float:
    """What multiplies the peak learning rate at a step (from 0): a linear rise, then half a cosine down to `final`.

    Args:
        step: The step about to be taken.
        total: Steps of the run.
        warmup: Share of the run that the rise takes.
        final: The factor at the end.
    """
    rise = round(total * warmup)
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, total - rise)
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
