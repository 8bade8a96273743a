"""What an encoder of series says at single time steps, and the small parts that forecasts and gaps share.

N: windows, T: steps, C: channels, D: width of features. Missing values are NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.ragged import lengths

VALUES = 2**21  # features of a forward pass at most, to bound memory

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Windows of series of both splits, in units of each channel's deviation over the corpus, around its mean."""

    train: Array  # (N, T, C)
    test: Array
    mean: Array  # (C,): what was taken off
    std: Array

    def few(self, most: int) -> "Windows":
        """At most so many windows of each split, spread over all of it."""
        train, test = (part[_spread(len(part), most)] for part in (self.train, self.test))
        return Windows(train, test, self.mean, self.std)


def standard(train: Array, test: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Windows:
    """Windows as a corpus stores them, scaled by its statistics, which are those of its training split."""
    centre, scale = np.array(mean, np.float32), np.array(std, np.float32).clip(1e-3)
    scaled: list[Array] = [(part - centre) / scale for part in (train, test)]
    return Windows(scaled[0], scaled[1], centre, scale)


class Steps:
    """An encoder's features of single steps; its inputs are `Windows`' values.

    Args:
        encoder: a series encoder.
        windows: whose scale is undone, since the encoder has its own.
    """

    def __init__(self, encoder: Encoder, windows: Windows):
        self._encoder, self._windows = encoder.eval(), windows

    def needs_every_step(self, probe: str) -> None:
        """Raise a UserError unless every step has its own features."""
        if self._encoder.stride != 1:
            raise UserError(
                f"{probe} needs features of every time step, but a position of this encoder covers "
                f"{self._encoder.stride}; pretrain encoder dilated, recurrent, or tst with patch 1"
            )

    def every(self, values: Array) -> Array:
        """Features of all positions: (N, T, C) to (N, positions, D)."""
        return self._run(values, lambda part: self._encoder(part).float())

    def last(self, values: Array, hide: bool = False) -> Array:
        """Features at each window's last step with a value: (N, T, C) to (N, D).

        Args:
            values: of the windows.
            hide: Whether the encoder may not see what is at the last step of all, of encoders with a feature a step.
        """

        def features(part: Tensor) -> Tensor:
            mask = None
            if hide:
                mask = torch.zeros(part.shape[:2], dtype=torch.bool, device=part.device)
                mask[:, -1] = True
            position = (lengths(part) - 1) // self._encoder.stride
            found: Tensor = self._encoder(part, mask)
            return found[torch.arange(len(part), device=part.device), position].float()

        return self._run(values, features)

    @torch.inference_mode()
    def _run(self, values: Array, features: Callable[[Tensor], Tensor]) -> Array:
        place = self._encoder.mean.device
        stored = values * self._windows.std + self._windows.mean
        batch = max(1, VALUES // (stored.shape[1] * self._encoder.width))
        parts = [torch.from_numpy(stored[i : i + batch]).to(place) for i in range(0, len(stored), batch)]
        return np.concatenate([features(part).cpu().numpy() for part in parts])


def known(values: Array) -> NDArray[np.bool_]:
    """Steps at which any channel has a value: (N, T)."""
    there: NDArray[np.bool_] = ~np.isnan(values)
    return np.any(there, axis=2)


def ends(values: Array) -> NDArray[np.int64]:
    """Each window's length, up to its last step with a value: (N,)."""
    there = known(values)
    return np.where(there.any(axis=1), values.shape[1] - there[:, ::-1].argmax(axis=1), 0)


def carried(values: Array) -> Array:
    """Missing values are the channel's last known one, and before the first one the corpus's mean: (N, T, C)."""
    there = ~np.isnan(values)
    step = np.where(there, np.arange(values.shape[1])[None, :, None], 0)
    return np.nan_to_num(np.take_along_axis(values, np.maximum.accumulate(step, axis=1), axis=1))


def interpolated(values: Array) -> Array:
    """Missing values are on the line between the channel's known neighbours, level at the ends: (N, T, C)."""
    steps, found = np.arange(values.shape[1]), np.zeros_like(values)
    for window, filled in zip(values, found, strict=True):
        for channel in range(values.shape[2]):
            (there,) = np.nonzero(~np.isnan(window[:, channel]))
            if len(there):
                filled[:, channel] = np.interp(steps, there, window[there, channel])
    return found


def _spread(count: int, most: int) -> NDArray[np.int64]:
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)
