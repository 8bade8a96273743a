"""Image bytes to pixels and back: checked before decoding, and every failure has a reason."""

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .bad import BadSample

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
MAX_PIXELS = 50_000_000
MIN_SIDE = 4
Fit = Literal["crop", "squash", "pad"]

_ORIENTATION = 0x0112
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Header:
    """What an image says about itself before its pixels are decoded; height and width in pixels, upright."""

    format: str
    mode: str
    height: int
    width: int
    upright: bool  # no EXIF orientation to apply
    transparent: bool

    @property
    def grey(self) -> bool:
        """One channel is enough to hold it."""
        return self.mode in ("1", "L", "LA") or self.mode.startswith("I")

    def is_exactly(self, shape: tuple[int, int, int]) -> bool:
        """Its bytes decode to `shape` by themselves: PNG or JPEG, nothing to rotate, convert or composite."""
        return (
            self.format in ("PNG", "JPEG")
            and (self.height, self.width) == shape[:2]
            and self.mode == ("L" if shape[2] == 1 else "RGB")
            and self.upright
            and not self.transparent
        )


def header(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Read the header alone; nothing is decompressed.

    Raises:
        BadSample: no image of an allowed format, or one whose size is out of bounds.
    """
    with _strict(data), _open(data, max_pixels) as picture:
        orientation = picture.getexif().get(_ORIENTATION, 1)
        width, height = picture.size if orientation < 5 else picture.size[::-1]
        return Header(
            picture.format or "", picture.mode, height, width, orientation == 1, picture.has_transparency_data
        )


def decode(data: bytes, channels: int, *, smallest: int | None = None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode the first frame to uint8 pixels, height x width x channels, upright, on white where transparent.

    16-bit greys keep their high byte, as 16-bit colours do in Pillow.

    Args:
        channels: 1 (ITU-R 601 luma) or 3 (RGB).
        smallest: a JPEG may be decoded at a reduced scale as long as both sides keep at least this many pixels.

    Raises:
        BadSample: the bytes are not one whole image of an allowed format and size.
    """
    with _strict(data), _open(data, max_pixels) as opened:
        if smallest is not None and opened.format == "JPEG":
            opened.draft(None, (smallest, smallest))
        opened.load()
        picture = ImageOps.exif_transpose(opened)
        if picture.mode.startswith("I"):
            return with_channels(_high_byte(np.asarray(picture)), channels)
        if picture.mode == "F":
            raise BadSample("undecodable", "floating-point pixels have no agreed range")
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
        return pixels[:, :, None] if channels == 1 else pixels


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """uint8 pixels, height x width or height x width x (1 or 3), as height x width x `channels`."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


def fit(pixels_HWC: np.ndarray, height: int, width: int, how: Fit = "crop") -> np.ndarray:
    """Bring pixels to height x width.

    `crop` covers the target and cuts what sticks out, evenly on both sides; `squash` ignores the aspect ratio;
    `pad` shows the whole image on black.
    """
    if pixels_HWC.shape[:2] == (height, width):
        return pixels_HWC
    picture = Image.fromarray(pixels_HWC[:, :, 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)
    box, size = (0.0, 0.0, float(picture.width), float(picture.height)), (width, height)
    if how == "crop":
        scale = max(width / picture.width, height / picture.height)
        left, top = (picture.width - width / scale) / 2, (picture.height - height / scale) / 2
        box = (max(left, 0), max(top, 0), min(left + width / scale, box[2]), min(top + height / scale, box[3]))
    elif how == "pad":
        scale = min(width / picture.width, height / picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    resized = np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))
    resized = resized.reshape(size[1], size[0], -1)
    if how != "pad":
        return resized
    padded = np.zeros((height, width, resized.shape[2]), np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    padded[top : top + size[1], left : left + size[0]] = resized
    return padded


def encode(pixels_HWC: np.ndarray, format: Literal["PNG", "JPEG"] = "PNG") -> bytes:
    """Encode uint8 pixels without metadata: PNG, or JPEG of quality 95."""
    picture = Image.fromarray(pixels_HWC[:, :, 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)
    buffer = io.BytesIO()
    if format == "JPEG":
        picture.save(buffer, "JPEG", quality=95)
    else:
        picture.save(buffer, "PNG")
    return buffer.getvalue()


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise BadSample("empty", "no bytes")
    picture = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = picture.size
    if width * height > max_pixels:
        raise BadSample("too_large", f"{width} x {height} pixels, more than {max_pixels:,} in all")
    if min(width, height) < MIN_SIDE:
        raise BadSample("too_small", f"{width} x {height} pixels, a side below {MIN_SIDE}")
    return picture


def _high_byte(pixels_HW: np.ndarray) -> np.ndarray:
    if pixels_HW.min() < 0 or pixels_HW.max() > 0xFFFF:
        raise BadSample("undecodable", "32-bit integer pixels have no agreed range")
    return (pixels_HW >> 8).astype(np.uint8)


@contextmanager
def _strict(data: bytes) -> Iterator[None]:
    """Turn whatever Pillow raises or warns about into a `BadSample`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # such as damaged EXIF, truncated TIFF
            warnings.simplefilter("error", RuntimeWarning)  # decompression bombs
            yield
    except BadSample:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise BadSample("too_large", _sentence(error)) from None
    except UnidentifiedImageError:
        if data.startswith(_SIGNATURES):
            raise BadSample("undecodable", "it begins like an image, but its header is damaged") from None
        raise BadSample("not_an_image", f"not a {', '.join(FORMATS)} file; it begins with {data[:12]!r}") from None
    except Exception as error:  # Pillow's plugins raise nearly anything on hostile bytes
        cut = isinstance(error, (EOFError, struct.error)) or "truncated" in str(error).lower()
        raise BadSample("truncated" if cut else "undecodable", _sentence(error)) from None


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
