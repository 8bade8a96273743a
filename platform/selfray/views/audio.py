"""Crops, gain, speed, mixing, noise and masks of sound, with one draw a sample and without a loop over samples."""

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Lt
from torch import Tensor

from ..bounds import Fraction, NonNegative, NonNegativeInt, Positive
from ..discovery import nearest
from ..encoders.inputs import audio
from ..errors import UserError
from ..parts import sound
from ..parts.spectrum import lengths
from .random import normal, uniform
from .settings import checked
from .views import Views

STREAMS = 8  # independent sequences of random numbers of a view


@dataclass(frozen=True)
class Augmentation:
    """What the views of one kind are drawn from; see AudioViews for the meaning of each."""

    clip: Positive | None
    speed: Annotated[NonNegative, Lt(1)]
    gain: NonNegative
    room: NonNegative
    mix: Fraction
    noise: tuple[float, float] | None
    time_mask: Fraction
    frequency_mask: Fraction


class AudioViews(Views):
    """Views of sound: int16 (batch, time) in, float (batch, time) in [-1, 1] out; several channels become one.

    Sound ends at its last sample that is not exactly 0, and what follows is padding; all shares of a length are of
    each sound's own. Views may leave [-1, 1] where a loud sound is made louder.

    Order: crop and speed in one resampling, gain, room, mix, noise, frequency mask, time mask.

    Args:
        clip: seconds of a view, cut out anywhere; shorter sounds keep silence behind them. None keeps all.
        speed: largest relative change of the speed, and with it of the pitch; log-uniform.
        gain: largest change of the level, in decibels.
        room: largest reverberation time of a simulated room, in seconds; uniform.
        mix: largest share of another sample's sound in the background, uniform; 0.4 in BYOL-A (arXiv:2103.06695).
            The other sample is drawn from the same batch of the same worker.
        noise: smallest and largest ratio of sound to added white noise, in decibels; None adds none.
        time_mask: largest share of the view's length that is silenced, in one run.
        frequency_mask: largest share of the mel scale that is filtered out, in one band.
        second: settings of the second view where they differ from those of the first.
        local_crops: number of short crops in multi_crop views.
        local_clip: seconds of a short crop.
    """

    kinds: ClassVar[tuple[str, ...]] = ("plain", "single", "pair", "multi_crop")

    def __init__(
        self,
        *,
        clip: Positive | None = 1.0,
        speed: Annotated[NonNegative, Lt(1)] = 0.0,
        gain: NonNegative = 6.0,
        room: NonNegative = 0.0,
        mix: Fraction = 0.4,
        noise: tuple[float, float] | None = None,
        time_mask: Fraction = 0.0,
        frequency_mask: Fraction = 0.0,
        second: dict[str, Any] | None = None,
        local_crops: NonNegativeInt = 0,
        local_clip: Positive = 0.5,
    ):
        given = locals()
        known = [field.name for field in fields(Augmentation)]
        for key in second or {}:
            if key not in known:
                raise UserError(f"second: no setting {key!r}{nearest(str(key), known)}; there are {', '.join(known)}")
        self.second = second
        self.local_crops: int = checked(NonNegativeInt, local_crops, "local_crops")
        self.local_clip: float = checked(Positive, local_clip, "local_clip")
        self._first: Augmentation = checked(Augmentation, {key: given[key] for key in known})
        self._second: Augmentation = checked(Augmentation, asdict(self._first) | (second or {}), "second")
        if self._second.clip != self._first.clip:
            raise UserError("second.clip must be what clip is: both views have one length; leave it out")
        self._local = checked(Augmentation, asdict(self._first) | {"clip": self.local_clip})
        for setting in (self._first, self._second):
            if setting.noise and setting.noise[0] > setting.noise[1]:
                raise UserError(f"noise should have the smaller number first, not {setting.noise}")
        self._rate = 16_000

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, for the report."""
        return asdict(self._first) | super().settings()

    def use(self, facts: dict[str, Any]) -> None:
        """Take the sampling rate."""
        self._rate = int(facts.get("rate", self._rate))

    def input_size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Samples of a view."""
        return (self._samples(self._first, shape[0]),)

    def plain(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`images`, which for this data type are waveforms: the whole of each."""
        return {"images": waveform(samples)}

    def single(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`images`: a crop of each sample, else as it is; `keys`: what an objective draws masks and noise from."""
        waves = waveform(samples)
        crop, _ = self._crop(waves, keys, 0, self._first, None)
        return {"images": crop, "keys": keys}

    def pair(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`first` and `second`: two random views of each sample."""
        waves = waveform(samples)
        return {
            "first": self._view(waves, keys, 0, self._first),
            "second": self._view(waves, keys, 1, self._second),
        }

    def multi_crop(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """A pair, and `local`: (local_crops, batch, time) short crops, else drawn as the first view is."""
        waves = waveform(samples)
        local = [self._view(waves, keys, 2 + crop, self._local) for crop in range(self.local_crops)]
        empty = waves.new_empty(0, len(waves), self._samples(self._local, waves.shape[1]))
        return self.pair(samples, keys) | {"local": torch.stack(local) if local else empty}

    def _samples(self, setting: Augmentation, most: int) -> int:
        return most if setting.clip is None else max(1, min(most, round(setting.clip * self._rate)))

    def _crop(
        self, waves: Tensor, keys: Tensor, stream: int, setting: Augmentation, speed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """A crop of each waveform and its length."""
        count = self._samples(setting, waves.shape[1])
        own = lengths(waves)
        span = count if speed is None else (count * speed).ceil().long()
        start = (uniform(keys, stream, 1)[:, 0] * ((own - span).clamp_min(0) + 1)).floor().long()
        start = start.minimum((own - span).clamp_min(0))
        left = own - start if speed is None else ((own - start) / speed).floor().long()
        length = left.clamp(0, count)
        crop = sound.resampled(waves, start, speed, count)
        return crop * sound.inside(length, count), length

    def _view(self, waves: Tensor, keys: Tensor, view: int, setting: Augmentation) -> Tensor:
        stream = view * STREAMS
        draws = uniform(keys, stream + 1, 12)
        speed = None
        if setting.speed:
            speed = (1 + setting.speed) ** (2 * draws[:, 0] - 1)
        crop, length = self._crop(waves, keys, stream, setting, speed)
        inside = sound.inside(length, crop.shape[1])
        if setting.room:
            noise = normal(keys, stream + 2, crop.shape[1])
            crop = sound.in_a_room(crop, noise, self._rate, setting.room * draws[:, 1]) * inside
        if setting.mix and len(crop) > 1:
            crop = mixed(crop, length, setting.mix * draws[:, 2], draws[:, 3])
        if setting.gain:
            crop = crop * 10 ** (setting.gain * (2 * draws[:, 4:5] - 1) / 20)
        if setting.noise:
            low, high = setting.noise
            noise = normal(keys, stream + 3, crop.shape[1])
            crop = crop + sound.at_ratio(crop, noise, length, low + (high - low) * draws[:, 5])
        if setting.frequency_mask:
            share = setting.frequency_mask * draws[:, 6]
            crop = sound.without_band(crop, self._rate, share, draws[:, 7]) * inside
        if setting.time_mask:
            crop = sound.without_run(crop, length, setting.time_mask * draws[:, 8], draws[:, 9])
        return crop


def waveform(samples: Tensor) -> Tensor:
    """int16 (batch, time) or (batch, time, channels) to float (batch, time) in [-1, 1]; padding becomes silence."""
    waves = audio(samples, ())
    return waves if waves.ndim == 2 else waves.mean(2)


def mixed(waves_BT: Tensor, length_B: Tensor, share_B: Tensor, draws_B: Tensor) -> Tensor:
    """Each waveform with that share of its power from another one of the batch, which `draws` in [0, 1) choose."""
    count = len(waves_BT)
    step = 1 + (draws_B * (count - 1)).floor().long().clamp_max(count - 2)
    other = waves_BT[(torch.arange(count, device=waves_BT.device) + step) % count]
    equal = sound.at_ratio(waves_BT, other, length_B, torch.zeros_like(share_B))
    return (1 - share_B).sqrt()[:, None] * waves_BT + share_B.sqrt()[:, None] * equal
