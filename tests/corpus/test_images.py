"""Image bytes: what is accepted, what it becomes, and the reason for what is not."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from selfray.corpus import images
from selfray.corpus.bad import BadSample

PHOTO = load_sample_image("china.jpg")[100:164, 200:296]  # 64 x 96 x 3


def encoded(pixels, format, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def png(width, height, depth=8, color=2, body=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def reason(data, **options):
    with pytest.raises(BadSample) as raised:
        images.decode(data, 3, **options)
    assert raised.value.detail
    return raised.value.reason


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_a_lossless_file_decodes_to_its_pixels(format, options):
    np.testing.assert_array_equal(images.decode(encoded(PHOTO, format, **options), 3), PHOTO)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "GIF"])
def test_a_lossy_file_decodes_near_its_pixels(format):
    decoded = images.decode(encoded(PHOTO, format), 3)
    assert decoded.shape == PHOTO.shape
    assert np.abs(decoded.astype(int) - PHOTO).mean() < 12


def test_one_channel_is_luma():
    luma = PHOTO @ np.array([0.299, 0.587, 0.114])
    grey = images.decode(encoded(PHOTO, "PNG"), 1)
    assert grey.shape == (64, 96, 1)
    assert np.abs(grey[:, :, 0] - luma).max() <= 1


def test_grey_becomes_three_equal_channels():
    color = images.decode(encoded(PHOTO[:, :, 0], "PNG"), 3)
    np.testing.assert_array_equal(color, np.repeat(PHOTO[:, :, :1], 3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_the_header_says_the_upright_size(orientation):
    lying = {1: PHOTO, 2: PHOTO[:, ::-1], 3: PHOTO[::-1, ::-1], 4: PHOTO[::-1]}
    turned = PHOTO.transpose(1, 0, 2)
    lying |= {5: turned, 6: turned[::-1], 7: turned[::-1, ::-1], 8: turned[:, ::-1]}
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.ascontiguousarray(lying[orientation]), "PNG", exif=exif)
    np.testing.assert_array_equal(images.decode(data, 3), PHOTO)
    head = images.header(data)
    assert (head.height, head.width) == (64, 96)
    assert head.is_exactly((64, 96, 3)) == (orientation == 1)


def test_transparency_is_white():
    pixels = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255, np.uint8)])
    pixels[:10, :, 3] = 0
    decoded = images.decode(encoded(pixels, "PNG"), 3)
    assert (decoded[:10] == 255).all()
    np.testing.assert_array_equal(decoded[10:], PHOTO[10:])


def test_a_palette_with_transparency_is_white_too():
    picture = Image.fromarray(PHOTO).quantize(16)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=bytes([0] * 16))
    assert (images.decode(buffer.getvalue(), 3) == 255).all()
    assert images.header(buffer.getvalue()).transparent


def test_sixteen_bit_grey_keeps_the_high_byte():
    wide = (PHOTO[:, :, 0].astype(np.uint16) << 8) + 37
    for format in ("PNG", "TIFF"):
        np.testing.assert_array_equal(images.decode(encoded(wide, format), 1)[:, :, 0], PHOTO[:, :, 0])


def test_bilevel_and_cmyk_are_understood():
    assert set(np.unique(images.decode(encoded(PHOTO[:, :, 0] > 128, "PNG"), 1))) == {0, 255}
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).convert("CMYK").save(buffer, "JPEG", quality=95)
    assert np.abs(images.decode(buffer.getvalue(), 3).astype(int) - PHOTO).mean() < 6


def test_the_first_frame_of_an_animation_counts():
    buffer, frames = io.BytesIO(), [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert (images.decode(buffer.getvalue(), 3) == (255, 0, 0)).all()


def test_a_photo_may_be_decoded_at_a_smaller_scale_but_not_below_the_bound():
    large = encoded(load_sample_image("china.jpg"), "JPEG")
    assert images.decode(large, 3).shape == (427, 640, 3)
    height, width, _ = images.decode(large, 3, smallest=100).shape
    assert 100 <= min(height, width) < 427


def test_reasons():
    whole = encoded(PHOTO, "PNG")
    assert reason(b"") == "empty"
    assert reason(b"a text that is named .png") == "not_an_image"
    assert reason(b"%PDF-1.7 something") == "not_an_image"
    assert reason(whole[: len(whole) // 2]) == "truncated"
    assert reason(whole[:20]) == "truncated"
    assert reason(b"\xff\xd8\xff" + b"junk" * 10) == "undecodable"
    assert reason(encoded(PHOTO[:3], "PNG")) == "too_small"
    assert reason(encoded(PHOTO, "PNG"), max_pixels=1000) == "too_large"
    assert reason(encoded(PHOTO.astype(np.float32)[:, :, 0], "TIFF")) == "undecodable"
    assert reason(encoded(PHOTO.astype(np.int32)[:, :, 0] * 10**6, "TIFF")) == "undecodable"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_half_an_image_is_never_an_image(format, share):
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), format)
    assert reason(data[: int(share * len(data))]) in ("truncated", "undecodable")


def test_a_bomb_is_refused_by_its_header():
    assert reason(png(50_000, 50_000)) == "too_large"
    assert reason(png(9_000, 9_000)) == "too_large"  # below Pillow's own limit


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_damaged_bytes_decode_or_have_a_reason(format):
    data, rng = encoded(PHOTO, format), np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 8):
            damaged[position] = rng.integers(256)
        with contextlib.suppress(BadSample):  # anything else, a warning too, fails the test
            assert images.decode(bytes(damaged), 3).ndim == 3
            images.header(bytes(damaged))


@pytest.mark.parametrize("channels", [1, 3])
def test_fit(channels):
    ramp = np.repeat(np.tile(np.arange(100, dtype=np.uint8), (50, 1))[:, :, None], channels, axis=2)
    cropped, squashed, padded = (images.fit(ramp, 20, 20, how) for how in ("crop", "squash", "pad"))
    assert cropped.shape == squashed.shape == padded.shape == (20, 20, channels)
    assert 24 < cropped.min() < 28  # the middle half of the ramp
    assert 71 < cropped.max() < 75
    assert squashed.min() < 4
    assert squashed.max() > 95
    assert not padded[:5].any()
    assert not padded[15:].any()
    assert padded[5:15].max() > 95
    assert images.fit(ramp, 50, 100, "crop") is ramp


def test_encode_and_decode_are_inverse():
    np.testing.assert_array_equal(images.decode(images.encode(PHOTO), 3), PHOTO)
    np.testing.assert_array_equal(images.decode(images.encode(PHOTO[:, :, :1]), 1), PHOTO[:, :, :1])
    assert np.abs(images.decode(images.encode(PHOTO, "JPEG"), 3).astype(int) - PHOTO).mean() < 4
