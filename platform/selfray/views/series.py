"""Crops, warps, noise and gaps of time series, with one draw a sample and without a loop over samples."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Le
from pydantic import AfterValidator
from torch import Tensor

from ..bounds import Fraction, NonNegative, NonNegativeInt, Positive
from ..discovery import nearest
from ..errors import UserError
from ..parts import warps
from ..parts.ragged import lengths, moments
from .random import normal, uniform
from .settings import checked
from .views import Views

KNOTS = 4  # of a warp's curve, as of the usual implementations of Um et al. (arXiv:1706.00527)
STREAMS = 8  # independent sequences of random numbers of a view


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("should have the smaller number first")
    return pair


Shares = Annotated[
    tuple[Annotated[Positive, Le(1)], Annotated[Positive, Le(1)]],
    AfterValidator(_ordered),
]


@dataclass(frozen=True)
class Augmentation:
    """What the views of one kind are drawn from; see SeriesViews for the meaning of each."""

    crop: Shares
    resize: bool
    time_warp: NonNegative
    segments: NonNegativeInt
    magnitude_warp: NonNegative
    scale_mean: float
    scale: NonNegative
    scale_each: Literal["series", "channel", "step"]
    jitter: NonNegative
    frequencies: Fraction
    missing: Fraction


class SeriesViews(Views):
    """Views of series: float32 (batch, time, channels) in and out, NaN where values are missing or padded.

    A series ends at its last step with a value; all shares of a length are of each series' own, and missing values
    stay missing. Jitter, scaling, permutation and the warps are those of Um et al. (arXiv:1706.00527).

    Order: crop and time warp in one resampling, permutation, magnitude warp and scaling, jitter, frequencies, gaps.

    Args:
        crop: smallest and largest share of the series' length in a view.
        resize: stretch a crop to the series' length (window slicing) instead of leaving it shorter.
        time_warp: deviation of the logarithm of the speed, a smooth curve over the series.
        segments: largest number of pieces that are put in random order; 0 or 1 is none.
        magnitude_warp: deviation of a smooth curve over the series, one a channel, by which values are multiplied.
        scale_mean: mean of the factor by which values are multiplied.
        scale: deviation of that factor.
        scale_each: one factor for the `series`, for each `channel`, or for each `step`, shared by its channels; TS-TCC
            (arXiv:2106.14112) draws a factor of mean 2 and deviation 1.1 for each step in its weak view.
        jitter: deviation of the noise on every value, in deviations of its channel in this series.
        frequencies: share of the frequencies that are taken out, the mean excepted.
        missing: share of the steps that become missing.
        second: settings of the second view where they differ from those of the first.
        local_crops: number of short crops in multi_crop views.
        local_crop: smallest and largest share of the series' length in a short crop.
    """

    kinds: ClassVar[tuple[str, ...]] = ("plain", "single", "pair", "multi_crop")

    def __init__(
        self,
        *,
        crop: tuple[float, float] = (0.5, 1.0),
        resize: bool = False,
        time_warp: NonNegative = 0.2,
        segments: NonNegativeInt = 0,
        magnitude_warp: NonNegative = 0.2,
        scale_mean: float = 1.0,
        scale: NonNegative = 0.2,
        scale_each: Literal["series", "channel", "step"] = "channel",
        jitter: NonNegative = 0.1,
        frequencies: Fraction = 0.0,
        missing: Fraction = 0.0,
        second: dict[str, Any] | None = None,
        local_crops: NonNegativeInt = 0,
        local_crop: tuple[float, float] = (0.1, 0.5),
    ):
        given = locals()
        known = [field.name for field in fields(Augmentation)]
        for key in second or {}:
            if key not in known:
                raise UserError(f"second: no setting {key!r}{nearest(str(key), known)}; there are {', '.join(known)}")
        self.second = second
        self.local_crops: int = checked(NonNegativeInt, local_crops, "local_crops")
        self.local_crop: tuple[float, float] = checked(Shares, local_crop, "local_crop")
        self._first: Augmentation = checked(Augmentation, {key: given[key] for key in known})
        self._second: Augmentation = checked(Augmentation, asdict(self._first) | (second or {}), "second")
        self._local = replace(self._first, crop=self.local_crop)

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, for the report."""
        return asdict(self._first) | super().settings()

    def plain(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`images`, which for this data type are series: the samples as they are."""
        return {"images": samples.float()}

    def single(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`images`: the samples as they are; `keys`: what an objective draws crops, masks and noise from.

        Objectives that predict or rebuild values want those that were measured, so nothing is warped.
        """
        return {"images": samples.float(), "keys": keys}

    def pair(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`first` and `second`: two random views of each sample."""
        return {"first": self._view(samples, keys, 0), "second": self._view(samples, keys, 1)}

    def multi_crop(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """A pair, and `local`: (local_crops, batch, time, channels) short crops, else drawn as the first view is."""
        local = [self._view(samples, keys, 2 + crop) for crop in range(self.local_crops)]
        stacked = torch.stack(local) if local else samples.float().new_empty(0, *samples.shape)
        return self.pair(samples, keys) | {"local": stacked}

    def _view(self, samples: Tensor, keys: Tensor, view: int) -> Tensor:
        setting, stream = (self._first, self._second, self._local)[min(view, 2)], view * STREAMS
        rows = samples.float()
        rows, length = _resampled(rows, keys, stream, setting)
        if setting.segments > 1:
            draws = uniform(keys, stream + 2, 2 * setting.segments)
            rows = warps.permuted(rows, length, draws)
        if setting.magnitude_warp:
            rows = rows * _curves(rows, length, keys, stream + 3, setting.magnitude_warp)
        if setting.scale or setting.scale_mean != 1:
            rows = rows * _factors(rows, keys, stream + 4, setting)
        if setting.jitter:
            _, deviation = moments(rows)
            noise = normal(keys, stream + 5, rows[0].numel()).view(rows.shape)
            rows = rows + setting.jitter * deviation * noise
        if setting.frequencies:
            rows = warps.without_frequencies(rows, uniform(keys, stream + 6, rows.shape[1]) < setting.frequencies)
        if setting.missing:
            gone = uniform(keys, stream + 7, rows.shape[1]) < setting.missing
            rows = rows.masked_fill(gone[:, :, None], float("nan"))
        return rows


def _resampled(rows: Tensor, keys: Tensor, stream: int, setting: Augmentation) -> tuple[Tensor, Tensor]:
    """Crop and time warp: the rows of the view and the length of each."""
    share, place = uniform(keys, stream, 2).unbind(1)
    own = lengths(rows)
    low, high = setting.crop
    kept = (own * (low + (high - low) * share)).round().clamp_min(1).minimum(own)
    start = (place * (own - kept + 1)).floor().minimum(own - kept)
    length = own if setting.resize else kept.long()
    if setting.time_warp:
        speeds = (setting.time_warp * normal(keys, stream + 1, KNOTS)).exp()
    else:
        speeds = torch.ones(len(rows), KNOTS, device=rows.device)
    return warps.resampled(rows, start, kept, length, speeds), length


def _curves(rows: Tensor, length: Tensor, keys: Tensor, stream: int, strength: float) -> Tensor:
    knots = 1 + strength * normal(keys, stream, KNOTS * rows.shape[2]).view(len(rows), KNOTS, -1)
    return warps.curve(knots, warps.progress(length, rows.shape[1]))


def _factors(rows: Tensor, keys: Tensor, stream: int, setting: Augmentation) -> Tensor:
    shape = {"series": (1, 1), "channel": (1, rows.shape[2]), "step": (rows.shape[1], 1)}[setting.scale_each]
    draws = normal(keys, stream, shape[0] * shape[1]).view(-1, *shape)
    return setting.scale_mean + setting.scale * draws
