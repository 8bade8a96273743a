"""Thumbnails and sounds as data URIs; pictures are shrunk until they fit a budget of bytes."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PIXEL_ART = 48  # images up to this side are shown with hard pixel edges; smoothing would only blur them

Image = NDArray[np.uint8]  # height x width x channels


@dataclass(frozen=True)
class Sprite:
    """Many thumbnails in one PNG, row by row, so that a page carries a thousand of them cheaply."""

    uri: str
    columns: int
    rows: int


def thumbnails(images: Sequence[Image], *, side: int, budget: int) -> list[str]:
    """One data URI an image: at most `side` pixels a side, and less where all together exceed `budget` bytes."""
    while True:
        uris = [_uri(_shrunk(image, side)) for image in images]
        if side <= 8 or sum(map(len, uris)) <= budget:
            return uris
        side = side * 3 // 4


def sprite(images: Image, *, side: int, budget: int) -> Sprite:
    """All images (n x height x width x channels) in one PNG, within `budget` bytes."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    while True:
        cells = [_shrunk(image, side) for image in images]
        height, width, channels = cells[0].shape
        sheet = np.zeros((rows * height, columns * width, channels), np.uint8)
        for index, cell in enumerate(cells):
            top, left = index // columns * height, index % columns * width
            sheet[top : top + height, left : left + width] = cell
        uri = _uri(sheet)
        if side <= 8 or len(uri) <= budget:
            return Sprite(uri, columns, rows)
        side = side * 3 // 4


def player(mp3: bytes) -> str:
    """What an audio element plays."""
    return "data:audio/mpeg;base64," + base64.b64encode(mp3).decode()


def is_pixel_art(image: Image) -> bool:
    """Whether enlarging should keep the pixels visible."""
    return max(image.shape[:2]) <= PIXEL_ART


def _shrunk(image: Image, side: int) -> Image:
    """At most `side` pixels a side, with one channel or three, which is what PNG and the eye can take."""
    from PIL import Image as Pillow

    image = image[..., :3] if image.shape[-1] >= 3 else image[..., :1]
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Pillow.fromarray(image if image.shape[-1] == 3 else image[..., 0])
    small = np.asarray(picture.resize(size, Pillow.Resampling.BOX), np.uint8)
    return small if small.ndim == 3 else small[..., None]


def _uri(image: Image) -> str:
    from PIL import Image as Pillow

    encoded = io.BytesIO()
    Pillow.fromarray(image if image.shape[-1] == 3 else image[..., 0]).save(encoded, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
