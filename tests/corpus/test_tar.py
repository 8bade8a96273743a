"""WebDataset tars: samples by key, and members that must not be trusted."""

import gzip
import io
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from selfray.corpus import tars
from selfray.corpus.images import encode
from selfray.corpus.ingest import prepare
from selfray.corpus.read import read_rows
from selfray.corpus.sources import open_source
from selfray.errors import UserError


def write(path, members, mode="w", format=tarfile.USTAR_FORMAT):
    """A tar of (name, bytes) or ready headers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=format) as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            file.addfile(info, io.BytesIO(member[1]))
    return path


def of_type(name, type, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type, target
    return info


@pytest.fixture
def members(digits):
    """Thirty digits as a shard: png, cls, json and txt of each."""
    listed = []
    for number, (image, label) in enumerate(zip(digits[0][:30], digits[1][:30], strict=True)):
        listed.append((f"{number:06d}.png", encode(image[:, :, None])))
        listed.append((f"{number:06d}.cls", str(label).encode()))
        listed.append((f"{number:06d}.json", json.dumps({"writer": number // 3}).encode()))
        listed.append((f"{number:06d}.txt", f"the digit {label}\n".encode()))
    return listed


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and ".prepare" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")])
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_a_key_are_one_sample(members, digits, tmp_path, name, mode, format):
    long = "folder/" + "x" * 120 + "."
    members += [(long + "png", members[0][1]), (long + "cls", b"7")] if format != tarfile.USTAR_FORMAT else []
    source = write(tmp_path / name, members, mode, format)
    manifest = prepare(source, tmp_path / "out", rows_per_fragment=8, ray=False)
    extra = format != tarfile.USTAR_FORMAT
    assert (manifest.kind, manifest.rows(), manifest.quarantined) == ("image", 30 + extra, {})
    rows = read_rows(tmp_path / "out", "train", slice(0, 30))
    np.testing.assert_array_equal(rows["data"][..., 0], digits[0][:30])
    assert [manifest.classes[label] for label in rows["label"]] == [str(label) for label in digits[1][:30]]
    table = pq.read_table(tmp_path / "out" / "train").to_pylist()
    assert json.loads(table[4]["meta"]) == {"text": f"the digit {digits[1][4]}", "writer": 1}
    assert table[4]["source"] == f"{name}/000004"
    assert not extra or table[30]["source"].endswith("x" * 120)


def test_tars_of_splits_give_the_same_bytes_after_an_interruption(members, tmp_path):
    write(tmp_path / "s" / "train-0.tar", members[:80])
    write(tmp_path / "s" / "train-1.tar.gz", members[80:100], "w:gz")
    write(tmp_path / "s" / "test-0.tar", members[100:])
    settings = {"rows_per_fragment": 10, "ray": False}
    manifest = prepare(tmp_path / "s", tmp_path / "a", **settings)
    assert {split: manifest.rows(split) for split in manifest.splits} == {"train": 25, "test": 5}

    def interrupt(done, total):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "s", tmp_path / "b", progress=interrupt, **settings)
    prepare(tmp_path / "s", tmp_path / "b", **settings)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_kind_follows_the_members(members, tmp_path):
    sound = io.BytesIO()
    soundfile.write(sound, 0.5 * np.sin(np.arange(16_000) / 8), 16_000, format="FLAC")
    write(tmp_path / "sound.tar", [("a.flac", sound.getvalue()), ("a.json", b'{"label": "hum"}')])
    manifest = prepare(tmp_path / "sound.tar", tmp_path / "out", ray=False)
    assert (manifest.kind, manifest.classes, manifest.rows()) == ("audio", ("hum",), 1)
    both = write(tmp_path / "both.tar", [*members[:3], ("b.flac", sound.getvalue())])
    with pytest.raises(UserError, match="audio and image; say which with kind"):
        open_source(both)
    assert prepare(both, tmp_path / "a", kind="audio", ray=False).kind == "audio"
    assert prepare(both, tmp_path / "i", kind="image", ray=False).kind == "image"
    with pytest.raises(UserError, match="tars of audio, not of image"):
        open_source(tmp_path / "sound.tar", "image")
    with pytest.raises(UserError, match="no image or sound"):
        open_source(write(tmp_path / "none.tar", [("a.txt", b"text")]))


def test_unsafe_members_are_quarantined_and_nothing_is_written(members, tmp_path):
    png = members[0][1]
    hostile = [
        ("../../escape.png", png),
        ("/etc/absolute.png", png),
        ("C:\\drive.png", png),
        of_type("link.png", tarfile.SYMTYPE, "/etc/passwd"),
        of_type("hard.png", tarfile.LNKTYPE, "000000.png"),
        of_type("device.png", tarfile.CHRTYPE),
        of_type("pipe.png", tarfile.FIFOTYPE),
        of_type("folder", tarfile.DIRTYPE),
        (".hidden.png", png),
    ]
    source = write(tmp_path / "s" / "a.tar", [*members, *hostile])
    before = set(tmp_path.rglob("*"))
    manifest = prepare(source, tmp_path / "out", max_bad_rate=0.5, ray=False)
    assert (manifest.rows(), manifest.quarantined) == (30, {"unsafe_member": 7})
    details = pq.read_table(tmp_path / "out" / "quarantine")["detail"].to_pylist()
    assert sorted(details) == sorted(
        ["a name that leaves the folder", "an absolute name", "an absolute name", "a symbolic link", "a hard link",
         "a character device", "a pipe"]
    )  # fmt: skip
    assert {path for path in tmp_path.rglob("*") if "out" not in path.parts} == before


@pytest.mark.parametrize("packed", [False, True])
def test_a_truncated_tar_keeps_what_came_before(members, tmp_path, packed):
    whole = write(tmp_path / "whole.tar", members).read_bytes()
    cut = whole[: 512 * 100 + 700]
    source = tmp_path / ("cut.tar.gz" if packed else "cut.tar")
    source.write_bytes(gzip.compress(cut)[:-40] if packed else cut)
    manifest = prepare(source, tmp_path / "out", max_bad_rate=0.2, ray=False)
    assert manifest.quarantined == {"truncated": 1}
    assert 5 < manifest.rows() < 30


def test_damaged_headers_end_a_tar_without_harm(members, tmp_path):
    whole = bytearray(write(tmp_path / "whole.tar", members).read_bytes())
    rng = np.random.default_rng(0)
    for number in range(40):
        damaged = whole.copy()
        for position in rng.integers(1024, len(damaged), 20):
            damaged[position] = rng.integers(256)
        path = tmp_path / f"{number}.tar"
        path.write_bytes(damaged)
        for fragment in open_source(path).fragments(100):
            assert len(list(open_source(path).read(fragment))) == fragment.rows


def test_a_huge_extended_header_is_not_read(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2048)
    with tars.opened(tmp_path / "a.tar") as file, pytest.raises(tars.Damaged, match="extended header"):
        list(tars.members(file))


def test_labels_that_cannot_be_read_are_quarantined(members, tmp_path):
    deep = b'{"a":' * 10_000
    bad = [
        ("x1.png", members[0][1]), ("x1.json", deep),
        ("x2.png", members[0][1]), ("x2.json", b"no json"),
        ("x3.png", members[0][1]), ("x3.cls", b"9" * 100_000),
    ]  # fmt: skip
    source = write(tmp_path / "a.tar", [*members, *bad])
    manifest = prepare(source, tmp_path / "out", max_bad_rate=0.5, ray=False)
    assert (manifest.rows(), manifest.quarantined) == (30, {"too_large": 1, "undecodable": 2})
