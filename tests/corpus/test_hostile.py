"""A folder of files that were made to do harm: each is turned away with a reason, and memory does not grow."""

import os
import shutil
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfray.corpus.ingest import prepare


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def saved(format: str, **options: object) -> bytes:
    buffer = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, format, **options)
    return buffer.getvalue()


def zeros(count: int) -> bytes:
    """`count` zeros, compressed without ever holding them all."""
    packer, parts = zlib.compressobj(9), []
    parts += [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join([*parts, packer.flush()])


def hostile() -> dict[str, bytes]:
    """Name -> content of 25 files; the links and the pipe of the test come on top."""
    jpeg, gif, webp = saved("JPEG"), saved("GIF"), saved("WEBP")
    tiff, bmp, small = saved("TIFF"), saved("BMP"), saved("PNG")
    lying = bytearray(jpeg)
    start = lying.index(b"\xff\xc0") + 5
    lying[start : start + 4] = b"\xff\xff\xff\xff"  # 65,535 x 65,535 pixels, says the header
    return {
        "bomb-wide.png": png(12_000, 12_000, zeros(432 << 20)),
        "bomb-lying.png": png(2**31 - 1, 2**31 - 1),
        "bomb-text.png": png(16, 16, zlib.compress(bytes(16 * 49)), extra=chunk(b"zTXt", b"a\0\0" + zeros(256 << 20))),
        "bomb-profile.png": png(16, 16, zlib.compress(bytes(784)), extra=chunk(b"iCCP", b"a\0\0" + zeros(256 << 20))),
        "short-data.png": png(64, 64, zlib.compress(bytes(10))),
        "no-data.png": png(64, 64),
        "zero-width.png": png(0, 64),
        "bad-depth.png": png(64, 64, zlib.compress(bytes(64 * 193)), depth=77),
        "bad-sum.png": small[:-30] + b"\0" * 30,
        "half.png": small[: len(small) // 2],
        "signature-only.png": b"\x89PNG\r\n\x1a\n",
        "lying-size.jpg": bytes(lying),
        "half.jpg": jpeg[: len(jpeg) // 2],
        "start-only.jpg": b"\xff\xd8\xff\xe0",
        "half.gif": gif[: len(gif) // 2],
        "huge-screen.gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + gif[10:],
        "half.webp": webp[: len(webp) // 2],
        "riff-only.webp": b"RIFF\xff\xff\xff\xffWEBP",
        "half.tiff": tiff[: len(tiff) // 2],
        "loop.tiff": b"II*\0\x08\0\0\0" + b"\0\0" + struct.pack("<I", 8),
        "negative.bmp": bmp[:18] + struct.pack("<ii", -64, 2**31 - 1) + bmp[26:],
        "empty.png": b"",
        "page.png": b"<html><script>alert(1)</script></html>",
        "pickle.png": b"\x80\x04cos\nsystem\n(S'echo harm > harmed'\ntR.",
        "script.jpg": b"#!/bin/sh\necho harm > harmed\n",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "raw"
    place.mkdir()
    for name, content in hostile().items():
        (place / name).write_bytes(content)
    (place / "secret.png").symlink_to("/etc/passwd")
    (place / "endless.png").symlink_to("/dev/zero")
    (place / "nowhere.png").symlink_to("/there/is/no/such/file")
    os.mkfifo(place / "pipe.png")
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(noise).save(place / f"good-{number}.png")
    return place


def test_every_hostile_file_is_turned_away_with_a_reason(folder, tmp_path):
    manifest = prepare(folder, tmp_path / "out", size=16, max_bad_rate=1, ray=False)
    bad = sum(manifest.quarantined.values())
    # a text or a colour profile that unpacks to 256 MB is no reason to lose the picture: it is not unpacked
    assert 27 <= bad <= 29, manifest.quarantined
    assert manifest.rows() == 33 - bad
    known = {"undecodable", "truncated", "too_large", "too_small", "not_an_image", "empty", "unreadable"}
    assert set(manifest.quarantined) <= known
    assert manifest.quarantined["unreadable"] == 3
    assert not list(tmp_path.rglob("harmed"))


def test_memory_does_not_grow_by_more_than_50_mb(folder, tmp_path):
    script = (
        "import sys, resource\n"
        "from selfray.corpus.ingest import prepare\n"
        "good, hostile, out = sys.argv[1:]\n"
        "prepare(good, out + '/warm', size=16, ray=False)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "prepare(hostile, out + '/out', size=16, max_bad_rate=1, ray=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    good = tmp_path / "good"
    good.mkdir()
    for number in range(4):
        shutil.copy(folder / f"good-{number}.png", good)
    command = [sys.executable, "-c", script, str(good), str(folder), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50 << 10  # KiB
