"""Sound corpora: what is decoded, how it is cut, and the reason for what is not."""

import contextlib
import io
import struct
import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from selfray.corpus import sounds
from selfray.corpus.bad import BadSample
from selfray.corpus.ingest import prepare
from selfray.corpus.kinds.audio import Audio
from selfray.corpus.read import read_rows
from selfray.corpus.sources import open_source
from selfray.corpus.sources.source import Sample
from selfray.errors import UserError

FORMATS = [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"),
           ("OGG", "OPUS"), ("MP3", None)]  # fmt: skip


def tone(seconds=1.0, rate=16_000, hertz=440.0, level=0.5):
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def encoded(values, rate=16_000, format="WAV", subtype=None):
    buffer = io.BytesIO()
    soundfile.write(buffer, values, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def encode(data, settled=None, **settings):
    kind = Audio(**settings)
    kind.use(settled or {"rate": settings.get("rate", 16_000), "channels": settings.get("channels", 1)})
    return kind.encode(Sample(3, "x", data, "a"))


def reason(data, **settings):
    with pytest.raises(BadSample) as raised:
        encode(data, **settings)
    assert raised.value.detail
    return raised.value.reason


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and ".prepare" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def tones(tmp_path):
    """Twelve tones of two classes in every format, 0.8 to 3 seconds long, at two rates."""
    for number in range(12):
        format, subtype = FORMATS[number % len(FORMATS)]
        rate = 48_000 if number % 2 else 16_000
        path = tmp_path / "tones" / ("low" if number % 3 else "high") / f"{number:02d}.{format.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(tone(0.8 + 0.2 * number, rate, 200 + 50 * number), rate, format, subtype))
    return tmp_path / "tones"


def pitch(values, rate=16_000):
    """The strongest frequency, in hertz."""
    return np.abs(np.fft.rfft(values * np.hanning(len(values)))).argmax() * rate / len(values)


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_every_format_and_rate_keeps_the_tone(format, subtype, rate):
    (row,) = encode(encoded(tone(1.0, rate), rate, format, subtype))
    assert row.values.dtype == np.int16
    assert abs(row.length - 16_000) <= 1
    assert pitch(row.values) == pytest.approx(440, abs=2)
    assert np.abs(row.values[2000:-2000]).max() == pytest.approx(
        0.5 * 32768, rel=0.02 if "PCM" in str(subtype) else 0.15
    )
    assert row.data == row.values.tobytes()


def test_sixteen_bits_at_the_same_rate_are_kept_exactly():
    values = np.random.default_rng(0).integers(-32767, 32768, 20_000).astype(np.int16)
    for format in ("WAV", "FLAC"):
        (row,) = encode(encoded(values, format=format))
        np.testing.assert_array_equal(row.values, values)


def test_channels_are_mixed_or_kept():
    left, right = tone(1.0), tone(1.0, hertz=880)
    data = encoded(np.stack([left, right], 1))
    (mono,) = encode(data)
    np.testing.assert_allclose(mono.values, (left + right) / 2 * 32768, atol=2)
    (stereo,) = encode(data, channels=2)
    assert stereo.values.shape == (16_000, 2)
    np.testing.assert_allclose(stereo.values[:, 1], right * 32768, atol=2)
    (filled,) = encode(encoded(left), channels=2)
    np.testing.assert_array_equal(filled.values[:, 0], filled.values[:, 1])
    assert reason(data, channels=3) == "wrong_channels"


def test_a_long_file_becomes_segments_that_join_to_the_whole():
    values = (tone(7.3) * 32767).astype(np.int16)
    rows = encode(encoded(values), seconds=2.0)
    assert [row.length for row in rows] == [32_000] * 3 + [20_800]
    np.testing.assert_array_equal(np.concatenate([row.values for row in rows]), values)
    assert [row.id - rows[0].id for row in rows] == [0, 1, 2, 3]
    assert rows[0].id == 3 * Audio.pieces
    assert [row.length for row in encode(encoded(values), seconds=2.0, min_seconds=1.5)] == [32_000] * 3


def test_an_hour_is_decoded_in_little_more_than_its_result():
    values = np.tile((tone(10.0, 8000) * 32767).astype(np.int16), 180)  # half an hour
    data = encoded(values, 8000, "FLAC")
    tracemalloc.start()
    rows = encode(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(row.length for row in rows) == pytest.approx(30 * 60 * 16_000, abs=2)
    assert most < 1.3 * sum(len(row.data) for row in rows) + (16 << 20)


def test_reasons():
    assert reason(b"") == "empty"
    assert reason(b"a text that is named .wav") == "not_audio"
    assert reason(b"fLaC" + b"junk" * 10) == "undecodable"
    assert reason(encoded(tone(0.2))) == "too_short"
    assert reason(encoded(np.zeros(0))) == "too_short"
    assert reason(encoded(tone(3.0)), max_seconds=2.0) == "too_long"
    assert reason(encoded(np.zeros(16_000))) == "silent"
    assert reason(encoded(tone(level=1e-4), subtype="FLOAT")) == "silent"
    assert reason(encoded(np.full(16_000, 0.3))) == "constant"
    assert reason(encoded(np.clip(tone(level=5.0), -1, 1))) == "clipped"
    assert reason(encoded(tone(rate=2000), 2000)) == "wrong_rate"
    broken = tone()
    broken[777] = np.nan
    assert reason(encoded(broken, subtype="FLOAT")) == "not_finite"
    broken[777] = np.inf
    assert reason(encoded(broken, subtype="FLOAT")) == "not_finite"
    encode(encoded(np.clip(tone(level=5.0), -1, 1)), max_clipped=1.0)


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_half_a_file_is_truncated(format, subtype):
    data = encoded(tone(3.0), format=format, subtype=subtype)
    assert reason(data[: len(data) // 2]) in ("truncated", "undecodable")


def test_a_stream_that_was_stopped_after_a_whole_page_is_a_recording_and_one_cut_within_a_page_is_not():
    hiss = np.random.default_rng(0).normal(scale=0.1, size=10 * 16_000)
    data = encoded(hiss, format="OGG", subtype="VORBIS")
    pages = [at for at in range(len(data)) if data.startswith(b"OggS", at)]
    assert 80_000 < encode(data[: pages[-1]])[0].length < len(hiss)
    for cut in (pages[-1] + 3, pages[-1] + 20, pages[-1] + 28, len(data) - 1):
        assert reason(data[:cut]) == "truncated"


def test_the_pauses_of_a_recording_are_left_out_and_their_numbers_stay_free():
    wave = np.concatenate([tone(seconds=1.0), np.zeros(32_000), tone(seconds=1.0)])
    kept = [row.id % Audio.pieces for row in encode(encoded(wave), seconds=1.0)]
    assert kept == [0, 3]
    assert len(encode(encoded(wave), seconds=1.0, keep_pauses=True)) == 4


def test_a_header_that_promises_gigabytes_costs_nothing():
    data = bytearray(encoded(tone()))
    at = data.find(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFF00)
    assert reason(bytes(data)) == "truncated"
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)  # what recorders write that do not go back
    assert encode(bytes(data))[0].length == 16_000
    data = bytearray(encoded(tone()))
    data[22:24], data[24:28] = struct.pack("<H", 1000), struct.pack("<I", 0x7FFFFFFF)
    assert reason(bytes(data)) in ("undecodable", "wrong_channels", "wrong_rate", "truncated")


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_damaged_bytes_decode_or_have_a_reason(format, subtype):
    data, rng = encoded(tone(0.6), format=format, subtype=subtype), np.random.default_rng(1)
    for _ in range(25):
        damaged = bytearray(data)
        for position in rng.integers(0, len(damaged), 6):
            damaged[position] = rng.integers(256)
        with contextlib.suppress(BadSample):  # anything else, a warning too, fails the test
            encode(bytes(damaged))
            sounds.header(bytes(damaged))


def test_a_folder_of_classes_becomes_segments_with_labels(tones, tmp_path):
    manifest = prepare(tones, tmp_path / "out", seconds=1.0, ray=False)
    assert (manifest.kind, manifest.shape, manifest.dtype) == ("audio", (16_000,), "int16")
    assert (manifest.facts["rate"], manifest.classes) == (16_000, ("high", "low"))
    rows = read_rows(tmp_path / "out", "train", slice(None))
    assert rows["data"].shape[1:] == (16_000,)
    assert (rows["length"] <= 16_000).all()
    assert (rows["length"] < 16_000).any()
    short = rows["data"][np.argmin(rows["length"])]
    assert (short[rows["length"].min() :] == manifest.facts["pad"]).all()
    assert manifest.std[0] == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    table = pq.read_table(tmp_path / "out" / "train").to_pylist()
    assert all(row["source"].startswith(manifest.classes[row["label"]]) for row in table)


def test_the_same_sounds_give_the_same_bytes_after_an_interruption(tones, tmp_path):
    settings = {"seconds": 1.0, "rows_per_fragment": 5, "ray": False}
    prepare(tones, tmp_path / "a", **settings)

    def interrupt(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tones, tmp_path / "b", progress=interrupt, **settings)
    prepare(tones, tmp_path / "b", **settings)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_rate_and_channels_follow_most_headers(tmp_path):
    for number, (rate, width) in enumerate([(22_050, 2), (22_050, 2), (8_000, 1)]):
        values = np.repeat(tone(1.0, rate)[:, None], width, 1)
        (tmp_path / f"{number}.wav").write_bytes(encoded(values, rate))
    manifest = prepare(tmp_path, tmp_path.with_name("out"), rate=None, channels=None, ray=False)
    assert (manifest.shape, manifest.facts["rate"]) == ((220_500, 2), 22_050)


def test_bad_sounds_are_quarantined(tones, tmp_path):
    (tones / "low" / "bad.wav").write_bytes(b"no sound")
    (tones / "low" / "cut.flac").write_bytes(encoded(tone(3.0), format="FLAC")[:5000])
    manifest = prepare(tones, tmp_path / "out", max_bad_rate=0.3, ray=False)
    assert manifest.quarantined == {"not_audio": 1, "undecodable": 1}


def test_images_beside_sounds_need_a_kind(tones, tmp_path, digits_folder):
    image = next(digits_folder.rglob("*.png"))
    (tones / image.name).write_bytes(image.read_bytes())
    with pytest.raises(UserError, match="say which with kind"):
        open_source(tones)
    assert open_source(tones, "audio").kind == "audio"
    assert open_source(tones, "image").kind == "image"


@pytest.mark.parametrize(
    "settings",
    [{"rate": 10}, {"channels": 100}, {"seconds": 0.0}, {"min_seconds": 20.0}, {"min_level": 3.0},
     {"max_clipped": 2.0}],
)  # fmt: skip
def test_impossible_settings_are_refused(tones, tmp_path, settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        prepare(tones, tmp_path / "out", ray=False, **settings)
