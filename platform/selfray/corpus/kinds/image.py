"""Images: PNG, JPEG, BMP, GIF, WebP or TIFF bytes, or pixels, brought to one height, width and number of channels."""

import math
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import PIL.Image

from ...bounds import Fraction, NonNegative, PositiveInt
from ...errors import UserError
from .. import images
from ..bad import BadSample
from ..duplicates import bands
from ..sources.source import Sample
from .kind import Draw, Kind, Row

LARGEST_KEPT = 512  # pixels a side that are kept without being asked
RAW_BYTES = 96 * 96 * 3  # of one sample that is stored as pixels


class Image(Kind):
    """Images of one size.

    Args:
        size: pixels, one side of a square or [height, width]. By default the size of the source if the headers of
            1,000 samples agree on one up to 512, else 224 x 224.
        channels: 1 or 3; by default 1 if all those headers are grey, else 3.
        fit: how an image of another size is brought to it: crop, squash or pad.
        store: `raw` pixels or `file` (the original PNG or JPEG where it has the shape already, else encoded anew);
            `auto` is raw up to 96 x 96 x 3.
        max_pixels: height times width above which an image is refused before it is decoded.
        min_side: pixels below which a side is too small.
        min_deviation: standard deviation of the brightness, of 255, below which an image is near-constant.
        min_sharpness: share of the brightness's variance that lies between neighbouring pixels below which an image
            is blurry; 0 keeps all. Photographs in focus have some 0.01, and noise has 2.
    """

    title = "images"
    scale = 255.0
    dtype = "uint8"

    def __init__(
        self,
        *,
        size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None,
        channels: Literal[1, 3] | None = None,
        fit: images.Fit = "crop",
        store: Literal["auto", "raw", "file"] = "auto",
        max_pixels: PositiveInt = images.MAX_PIXELS,
        min_side: PositiveInt = images.MIN_SIDE,
        min_deviation: NonNegative = 0.0,
        min_sharpness: Fraction = 0.0,
    ):
        sides = (size, size) if isinstance(size, int) else tuple(size) if size is not None else None
        if sides is not None and not all(images.MIN_SIDE <= side <= 4096 for side in sides):
            raise UserError(f"size is {size}; it must be {images.MIN_SIDE} to 4096 pixels, or [height, width]")
        self._sides, self._channels, self.fit, self.store = sides, channels, fit, store
        self.max_pixels, self.min_side = max_pixels, min_side
        self.min_deviation, self.min_sharpness = min_deviation, min_sharpness

    def settle(self, samples: Draw) -> dict[str, Any]:
        """Height, width and channels: as asked, else what the samples' headers say."""
        heads: list[tuple[int, int, bool]] = []
        if self._sides is None or self._channels is None:
            for sample in samples:
                if isinstance(sample.data, np.ndarray):
                    with suppress(BadSample):
                        pixels = _square(sample.data)
                        heads.append((*pixels.shape[:2], pixels.ndim == 2))
                elif isinstance(sample.data, bytes):
                    with suppress(BadSample):  # counted when its fragment is done
                        head = images.header(sample.data, self.max_pixels)
                        heads.append((head.height, head.width, head.grey))
        sizes = {(height, width) for height, width, _ in heads}
        if self._sides is None:
            agreed = next(iter(sizes)) if len(sizes) == 1 else (LARGEST_KEPT + 1,) * 2
            height, width = agreed if max(agreed) <= LARGEST_KEPT else (224, 224)
        else:
            height, width = self._sides
        channels = self._channels or (1 if heads and all(grey for *_, grey in heads) else 3)
        raw = self.store == "raw" or (self.store == "auto" and height * width * channels <= RAW_BYTES)
        return {"shape": [height, width, channels], "encoding": "raw" if raw else "file"}

    def use(self, settled: dict[str, Any]) -> None:
        height, width, channels = settled["shape"]
        self.shape, self.encoding, self.facts = (height, width, channels), settled["encoding"], {}

    def encode(self, sample: Sample) -> list[Row]:
        """The sample in the corpus's shape."""
        pixels, stored = self._prepared(sample.data)
        self._check(pixels)
        return [Row(sample.id, stored, pixels, sample.label, sample.group, sample.meta, sample.source)]

    def in_place(self, cell: bytes | np.ndarray | None) -> np.ndarray:
        """An image of any size, decoded and fitted."""
        return self._pixels(b"" if cell is None else cell)

    def near(self, values: np.ndarray) -> tuple[list[int], bytes]:
        """A difference hash, cut into bands: which of 8 x 9 pixels are darker than their neighbour; and a thumbnail."""
        grey = PIL.Image.fromarray(values[:, :, 0] if self.channels == 1 else values).convert("L")
        small = np.asarray(grey.resize((9, 8), PIL.Image.Resampling.BOX), np.int16)
        bits = (small[:, 1:] > small[:, :-1]).ravel()
        thumbnail = grey.resize((12, 12), PIL.Image.Resampling.BOX).tobytes()
        return bands(int.from_bytes(np.packbits(bits).tobytes(), "big")), thumbnail

    def values(self, data: bytes) -> np.ndarray:
        """The pixels of a stored row."""
        return super().values(data) if self.encoding == "raw" else images.decode(data, self.channels)

    def row_bytes(self) -> int:
        """Bytes of a row; an encoded image takes about an eighth of its pixels."""
        return math.prod(self.shape) // (1 if self.encoding == "raw" else 8) or 1

    def moments(self, values: np.ndarray) -> tuple[list[int], list[float], list[float]]:
        """Counts, sums and sums of squares a channel, from a histogram: exact, and faster than squaring pixels."""
        levels = np.arange(256)
        counts = [np.bincount(values[:, :, c].ravel(), minlength=256) for c in range(self.channels)]
        pixels = values.shape[0] * values.shape[1]
        return [pixels] * self.channels, [int(n @ levels) for n in counts], [int(n @ levels**2) for n in counts]

    def _pixels(self, data: bytes | np.ndarray) -> np.ndarray:
        """The pixels in the corpus's shape."""
        height, width, channels = self.shape
        if isinstance(data, np.ndarray):
            return images.fit(images.with_channels(_square(data), channels), height, width, self.fit)
        # Twice the target keeps the quality of a full decode and is much faster for photos
        decoded = images.decode(data, channels, smallest=2 * max(height, width), max_pixels=self.max_pixels)
        return images.fit(decoded, height, width, self.fit)

    def _prepared(self, data: Any) -> tuple[np.ndarray, bytes]:
        """The pixels in the corpus's shape, and the bytes to store."""
        if isinstance(data, np.ndarray):
            pixels = self._pixels(data)
            return pixels, pixels.tobytes() if self.encoding == "raw" else images.encode(pixels)
        head = images.header(data, self.max_pixels)
        if min(head.height, head.width) < self.min_side:
            raise BadSample("too_small", f"{head.width} x {head.height} pixels, a side below {self.min_side}")
        pixels = self._pixels(data)
        if self.encoding == "raw":
            return pixels, pixels.tobytes()
        height, width, channels = self.shape
        if head.is_exactly((height, width, channels)):
            return pixels, data
        return pixels, images.encode(pixels, "JPEG" if head.format == "JPEG" else "PNG")

    def _check(self, pixels: np.ndarray) -> None:
        if not (self.min_deviation or self.min_sharpness):
            return
        grey = pixels.mean(2)
        variance = float(grey.var())
        if math.sqrt(variance) < self.min_deviation:
            raise BadSample("near_constant", f"brightness deviates by {math.sqrt(variance):.2f} of 255")
        between = (np.diff(grey, axis=0) ** 2).mean() + (np.diff(grey, axis=1) ** 2).mean()
        if variance and between / (2 * variance) < self.min_sharpness:
            raise BadSample("blurry", f"neighbouring pixels hold {between / (2 * variance):.4f} of the variance")


def _square(data: np.ndarray) -> np.ndarray:
    """Pixels as height x width or height x width x 3; a flat list of them is a square, grey or with three channels."""
    if data.dtype != np.uint8:
        raise BadSample("undecodable", f"pixels are {data.dtype}, not uint8")
    if data.ndim == 1:
        for channels in (1, 3):
            side = math.isqrt(data.size // channels)
            if side * side * channels == data.size:
                return data.reshape(side, side) if channels == 1 else data.reshape(side, side, 3)
        raise BadSample("undecodable", f"{data.size} values are no square image")
    if data.ndim == 2 or (data.ndim == 3 and data.shape[2] in (1, 3)):
        return data
    raise BadSample("undecodable", f"pixels of shape {data.shape}")
