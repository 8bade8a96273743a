"""Random crops, flips, colours and blur of images, with one draw a sample and without a loop over samples."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from annotated_types import Le
from pydantic import AfterValidator
from torch import Tensor

from ..bounds import Fraction, NonNegative, NonNegativeInt, Positive, PositiveInt
from ..discovery import nearest
from ..errors import UserError
from ..parts.colour import adjust, solarise
from ..parts.resample import CROP_DRAWS, Boxes, between, blurring_matrix, crop_boxes, resample, resampling_matrix
from .random import uniform
from .settings import checked
from .views import Views

LOCAL_SHARE = 3 / 7  # 96 px of 224 in SwAV and DINO


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("should have the smaller number first")
    return pair


Share = Annotated[Positive, Le(1)]
Turn = Annotated[NonNegative, Le(0.5)]
Shares = Annotated[tuple[Share, Share], AfterValidator(_ordered)]
Range = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]


@dataclass(frozen=True)
class Augmentation:
    """What the views of one kind are drawn from; see ImageViews for the meaning of each."""

    scale: Shares
    ratio: Range
    flip: Fraction
    jitter: Fraction
    brightness: NonNegative
    contrast: NonNegative
    saturation: NonNegative
    hue: Turn
    grey: Fraction
    blur: Fraction
    blur_sigma: Range
    solarise: Fraction
    solarise_threshold: Fraction


class Parameters(NamedTuple):
    """What was drawn for each sample of a batch: (batch,) each, and floats unless stated otherwise."""

    boxes: Boxes
    flip: Tensor  # bool
    brightness: Tensor  # factors
    contrast: Tensor
    saturation: Tensor
    hue: Tensor  # turns
    grey: Tensor  # bool
    sigma: Tensor  # pixels of the view; 0 is no blur
    solarise: Tensor  # bool


class ImageViews(Views):
    """Views of images: uint8 (batch, height, width, channels) in, float32 (batch, channels, h, w) in [0, 1] out.

    The defaults are those of MoCo v2 (arXiv:2003.04297) as released; SimCLR (arXiv:2002.05709, appendix A) doubles the
    jitter (.8, .8, .8, .2) and crops from `scale: [0.08, 1.0]`, and does not blur images of 32 px. Results are in
    channels_last memory format and not normalised: that is the encoder's part. Images that are not RGB get no
    saturation, hue and greyscale.

    Crop, resizing, flip and blur are two matrices a sample, the colours are one affine map, and values are clamped
    once at the end. Order: crop and flip, blur, brightness, contrast, saturation, hue, greyscale, solarisation; blur
    and colours commute but for the clamp.

    Args:
        size: side of the views in pixels; by default the samples' own height and width.
        scale: smallest and largest share of the image's area in a crop.
        ratio: smallest and largest width / height of a crop.
        flip: probability of a left-right flip.
        jitter: probability of the colour jitter.
        brightness: factor is uniform in 1 ± this, at least 0.
        contrast: factor is uniform in 1 ± this, at least 0.
        saturation: factor is uniform in 1 ± this, at least 0.
        hue: turn is uniform in ± this, at most 0.5, the half turn.
        grey: probability of greyscale.
        blur: probability of a Gaussian blur.
        blur_sigma: smallest and largest standard deviation of the blur, in pixels of the view.
        solarise: probability of inverting all values from the threshold on.
        solarise_threshold: the threshold, in [0, 1].
        second: settings of the second view where they differ from those of the first; BYOL (arXiv:2006.07733,
            appendix B) has `{blur: 0.1, solarise: 0.2}` there and `blur: 1.0` in the first.
        local_crops: number of small crops in multi_crop views.
        local_size: their side in pixels; by default 3/7 of the views', as 96 of 224 in DINO (arXiv:2104.14294).
        local_scale: smallest and largest share of the image's area in a small crop.
    """

    kinds: ClassVar[tuple[str, ...]] = ("plain", "single", "pair", "multi_crop")

    def __init__(
        self,
        *,
        size: PositiveInt | None = None,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: Fraction = 0.5,
        jitter: Fraction = 0.8,
        brightness: NonNegative = 0.4,
        contrast: NonNegative = 0.4,
        saturation: NonNegative = 0.4,
        hue: Turn = 0.1,
        grey: Fraction = 0.2,
        blur: Fraction = 0.5,
        blur_sigma: tuple[float, float] = (0.1, 2.0),
        solarise: Fraction = 0.0,
        solarise_threshold: Fraction = 0.5,
        second: dict[str, Any] | None = None,
        local_crops: NonNegativeInt = 0,
        local_size: PositiveInt | None = None,
        local_scale: tuple[float, float] = (0.05, 0.4),
    ):
        given = locals()
        known = [field.name for field in fields(Augmentation)]
        for key in second or {}:
            if key not in known:
                raise UserError(f"second: no setting {key!r}{nearest(str(key), known)}; there are {', '.join(known)}")
        self.size: int | None = checked(PositiveInt | None, size, "size")
        self.second = second
        self.local_crops: int = checked(NonNegativeInt, local_crops, "local_crops")
        self.local_size: int | None = checked(PositiveInt | None, local_size, "local_size")
        self.local_scale: tuple[float, float] = checked(Shares, local_scale, "local_scale")
        self._first: Augmentation = checked(Augmentation, {key: given[key] for key in known})
        self._second: Augmentation = checked(Augmentation, asdict(self._first) | (second or {}), "second")
        self._local = replace(self._first, scale=self.local_scale)

    def input_size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Height and width of a view."""
        return (self.size, self.size) if self.size else shape[:2]

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, for the report."""
        return asdict(self._first) | super().settings()

    def plain(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`images`: the samples as they are or, if the size differs, their largest centred crop of its shape."""
        height, width = samples.shape[1:3]
        h, w = self._shape(samples)
        if (h, w) == (height, width):
            return {"images": samples.permute(0, 3, 1, 2).float() / 255}
        part = min(height / h, width / w)
        box_height, box_width = round(h * part), round(w * part)
        middle = ((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)
        boxes = Boxes(*(keys.new_full(keys.shape, edge, dtype=torch.float32) for edge in middle))
        rows = resampling_matrix(boxes.top, boxes.height, height, h)
        columns = resampling_matrix(boxes.left, boxes.width, width, w)
        images = resample(_to_float(samples), rows, columns).permute(0, 2, 1, 3)
        return {"images": images.clamp(0, 1).contiguous(memory_format=torch.channels_last)}

    def single(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`images`: one random view of each sample; `keys`: what an objective draws masks and noise from."""
        images = self._view(_to_float(samples), keys, 0, self._shape(samples))
        return {"images": images.permute(0, 3, 1, 2), "keys": keys}

    def pair(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`first` and `second`: two random views of each sample."""
        pictures, shape = _to_float(samples), self._shape(samples)
        first, second = (self._view(pictures, keys, view, shape) for view in (0, 1))
        return {"first": first.permute(0, 3, 1, 2), "second": second.permute(0, 3, 1, 2)}

    def multi_crop(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """A pair, and `local`: (local_crops, batch, channels, h, w) small crops, else drawn as the first view is."""
        pictures, shape = _to_float(samples), self._shape(samples)
        side = self.local_size
        small = (side, side) if side else (round(shape[0] * LOCAL_SHARE), round(shape[1] * LOCAL_SHARE))
        first, second = (self._view(pictures, keys, view, shape) for view in (0, 1))
        local = [self._view(pictures, keys, 2 + crop, small) for crop in range(self.local_crops)]
        stacked = torch.stack(local) if local else first.new_empty(0, len(samples), *small, samples.shape[3])
        return {
            "first": first.permute(0, 3, 1, 2),
            "second": second.permute(0, 3, 1, 2),
            "local": stacked.permute(0, 1, 4, 2, 3),  # memory stays channels last, also of local.flatten(0, 1)
        }

    def parameters(self, keys: Tensor, view: int, height: int, width: int) -> Parameters:
        """What a view's samples are put through.

        Args:
            keys: int64, (batch,), of `random.sample_keys`.
            view: 0 and 1 for the pair, 2 and on for the local crops; each is a random stream of its own.
            height, width: of the samples.
        """
        setting = self._augmentation(view)
        # Every number is drawn whatever the settings, so that switching one off leaves the others' draws alone.
        draws = uniform(keys, view, CROP_DRAWS + 10)
        flip, jitter, brightness, contrast, saturation, hue, grey, blur, sigma, inverted = draws[:, -10:].unbind(1)

        def factor(draw: Tensor, strength: float) -> Tensor:
            return torch.where(jitter < setting.jitter, between(draw, max(0.0, 1 - strength), 1 + strength), 1.0)

        return Parameters(
            boxes=crop_boxes(draws[:, :CROP_DRAWS], height, width, setting.scale, setting.ratio),
            flip=flip < setting.flip,
            brightness=factor(brightness, setting.brightness),
            contrast=factor(contrast, setting.contrast),
            saturation=factor(saturation, setting.saturation),
            hue=torch.where(jitter < setting.jitter, between(hue, -setting.hue, setting.hue), 0.0),
            grey=grey < setting.grey,
            sigma=torch.where(blur < setting.blur, between(sigma, *setting.blur_sigma), 0.0),
            solarise=inverted < setting.solarise,
        )

    def _augmentation(self, view: int) -> Augmentation:
        return (self._first, self._second, self._local)[min(view, 2)]

    def _shape(self, samples: Tensor) -> tuple[int, int]:
        return (self.size, self.size) if self.size else (samples.shape[1], samples.shape[2])

    def _view(self, pictures: Tensor, keys: Tensor, view: int, shape: tuple[int, int]) -> Tensor:
        parameters = self.parameters(keys, view, pictures.shape[1], pictures.shape[3])
        return render(pictures, parameters, self._augmentation(view), shape)


def render(pictures: Tensor, parameters: Parameters, setting: Augmentation, shape: tuple[int, int]) -> Tensor:
    """Put every picture of a batch through its own parameters.

    Args:
        pictures: float32, (batch, height, channels, width), in [0, 1].
        parameters: one of each a picture.
        setting: what the parameters were drawn from; steps of probability 0 are left out.
        shape: height and width of the result.

    Returns:
        float32, (batch, h, w, channels), in [0, 1].
    """
    p, (h, w) = parameters, shape
    # Under autocast the products would be of bfloat16, coarser than the eight bits of the samples.
    with torch.autocast(pictures.device.type, enabled=False):
        rows = resampling_matrix(p.boxes.top, p.boxes.height, pictures.shape[1], h)
        columns = resampling_matrix(p.boxes.left, p.boxes.width, pictures.shape[3], w, p.flip)
        if setting.blur:
            blur_rows = blurring_matrix(p.sigma, h)
            blur_columns = blur_rows if h == w else blurring_matrix(p.sigma, w)
            rows, columns = torch.bmm(blur_rows, rows), torch.bmm(blur_columns, columns)
        views = resample(pictures, rows, columns)
    if setting.jitter or setting.grey:
        views = adjust(views, p.brightness, p.contrast, p.saturation, p.hue, p.grey)
    else:
        views = views.transpose(2, 3).contiguous()
    views = views.clamp(0, 1)
    return solarise(views, setting.solarise_threshold, p.solarise) if setting.solarise else views


def _to_float(samples: Tensor) -> Tensor:
    """uint8 (batch, height, width, channels) to float32 (batch, height, channels, width) in [0, 1]."""
    return samples.transpose(2, 3).contiguous().float() / 255
