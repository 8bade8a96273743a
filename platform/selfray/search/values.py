"""The values that a knob may take: ranges, logarithmic ranges, steps and choices; drawn, listed and nudged."""

import math
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from ..bounds import Positive, PositiveInt
from ..recipe import Stage

Bounds = tuple[int | float, int | float]
NUDGE = 1.2
"""Factor by which population-based training moves a value (Jaderberg et al. 2017, arXiv:1711.09846, section 4.1)."""
RESAMPLE = 0.25
"""How often it draws a new one instead, as in the same section."""


class Values(Stage):
    """One distribution; it counts where the settings named in `when` have the values named there."""

    uniform: Bounds | None = Field(None, description="Lowest and highest value.")
    loguniform: Bounds | None = Field(None, description="Lowest and highest value, every octave alike.")
    choice: list[Any] | None = Field(None, description="The values themselves; lists and mappings may be among them.")
    step: int | Positive | None = Field(None, description="Only multiples of this; whole if the bounds are, too.")
    points: PositiveInt = Field(5, description="How many values of a range a grid has.")
    when: dict[str, Any] = Field({}, description="Settings and the value, or list of values, that they must have.")

    @model_validator(mode="after")
    def _sound(self) -> "Values":
        if sum(x is not None for x in (self.uniform, self.loguniform, self.choice)) != 1:
            raise ValueError("give exactly one of uniform, loguniform and choice")
        if self.choice is not None:
            if not self.choice or self.step:
                raise ValueError("choice needs one value or more, and no step")
            return self
        low, high = self.bounds
        if not low < high or not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"{low} is not less than {high}")
        if self.loguniform and low <= 0:
            raise ValueError("loguniform needs bounds above 0")
        if self.step is not None and (self.step <= 0 or self._multiples()[0] > self._multiples()[1]):
            raise ValueError(f"there is no multiple of {self.step} from {low} to {high}")
        return self

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest value of a range."""
        found = self.uniform or self.loguniform
        assert found is not None
        return found

    def sample(self, random: np.random.Generator) -> Any:
        """A draw."""
        if self.choice is not None:
            return self.choice[int(random.integers(len(self.choice)))]
        return self.at(float(random.random()))

    def at(self, share: float) -> int | float:
        """The value at a share, 0 to 1, of the way through the range."""
        low, high = self.bounds
        if self.loguniform:
            return self.rounded(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
        return self.rounded(low + share * (high - low))

    def rounded(self, value: float) -> int | float:
        """The nearest value that is allowed; four digits are enough for a range without steps."""
        low, high = self.bounds
        if self.step is None:
            return min(max(float(f"{value:.4g}"), low), high)
        first, last = self._multiples()
        multiple = min(max(round(value / self.step), first), last) * self.step
        whole = all(isinstance(x, int) for x in (low, high, self.step))
        return int(multiple) if whole else float(f"{multiple:.12g}")

    def listed(self) -> list[Any]:
        """The values of a grid."""
        if self.choice is not None:
            return list(self.choice)
        if self.step is not None and self._multiples()[1] - self._multiples()[0] < self.points:
            first, last = self._multiples()
            return [self.rounded(n * self.step) for n in range(first, last + 1)]
        if self.points == 1:
            return [self.at(0.5)]
        return list(dict.fromkeys(self.at(i / (self.points - 1)) for i in range(self.points)))

    def nudged(self, value: Any, random: np.random.Generator) -> Any:
        """A value near a given one, or now and then a fresh draw."""
        fresh = random.random() < RESAMPLE
        if self.choice is not None:
            if fresh or value not in self.choice:
                return self.sample(random)
            moved = self.choice.index(value) + (1 if random.random() < 0.5 else -1)
            return self.choice[min(max(moved, 0), len(self.choice) - 1)]
        if fresh or not isinstance(value, int | float):
            return self.sample(random)
        return self.rounded(value * NUDGE if random.random() < 0.5 else value / NUDGE)

    def finite(self) -> bool:
        """Whether the values can be counted."""
        return self.choice is not None or self.step is not None

    def _multiples(self) -> tuple[int, int]:
        assert self.step is not None
        low, high = self.bounds
        return math.ceil(low / self.step - 1e-9), math.floor(high / self.step + 1e-9)
