"""How a method's own settings move over a run: pure functions of the progress, so there is nothing to save."""


def linear_rise(start: float, end: float, share: float, progress: float) -> float:
    """From `start` along a line to `end`, which is reached after `share` of the run and kept (DINO's teacher).

    Args:
        start: The value at progress 0.
        end: The value from progress `share` on; at once if `share` is 0.
        share: How much of the run the rise takes, in [0, 1].
        progress: How much of the run is over, in [0, 1].
    """
    risen = min(1.0, progress / share) if share else 1.0
    return start + (end - start) * risen if risen < 1 else end
