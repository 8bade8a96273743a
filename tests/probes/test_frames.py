"""The probe of positions: named stretches of recordings, read from a file and found again in features."""

import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from torch import nn

from selfray import verbs
from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest
from selfray.corpus.sources import open_source
from selfray.errors import UserError
from selfray.evaluation import frames as heard
from selfray.evaluation.compare import compare
from selfray.evaluation.features import load
from selfray.probes.frames import Frames
from selfray.views.audio import AudioViews, waveform

sys.path.insert(0, str(Path(__file__).parents[1]))

RATE, TONE = 4000, 0.1  # hertz, seconds of a tone
TONES = {"low": 300.0, "middle": 700.0, "high": 1400.0}
TRAIN, TEST, TONES_EACH = 12, 6, 25


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Recordings of 2.5 s in segments of 1 s: tones in random order, each a tenth of a second long."""
    folder, random, rows = tmp_path_factory.mktemp("tones"), np.random.default_rng(0), []
    for number in range(TRAIN + TEST):
        split = "train" if number < TRAIN else "test"
        names = random.choice(list(TONES), TONES_EACH)
        steps = np.arange(int(TONE * RATE)) / RATE
        wave = np.concatenate([np.sin(2 * np.pi * TONES[name] * steps) for name in names]) * 0.5
        (folder / "source" / split).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "source" / split / f"{number:02}.wav", wave, RATE)
        source = f"{split}/{number:02}.wav"
        rows += [
            {"source": source, "start": i * TONE, "end": (i + 1) * TONE, "name": name} for i, name in enumerate(names)
        ]
    made = folder / "corpus"
    prepare(open_source(folder / "source", "audio"), made, name="tones", ray=False, rate=RATE, seconds=1.0)
    pq.write_table(pa.Table.from_pylist(rows), made / "frames.parquet")
    return made


class Spectra(nn.Module):
    """Stands for an encoder whose positions of 25 ms know their own sound and nothing else."""

    kind, stride, width = "audio", 100, 51

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, waves):
        return torch.fft.rfft(waves.unflatten(1, (-1, self.stride))).abs() * self.scale

    def embed(self, waves):
        return self(waves).mean(1)


class Blind(Spectra):
    """Stands for one that hears nothing."""

    def forward(self, waves):
        return torch.rand(len(waves), waves.shape[1] // self.stride, self.width)


def positions(corpus, encoder, around=0):
    manifest = Manifest.read(corpus)
    splits = [load(corpus, split, 1000) for split in ("train", "test")]
    made = heard.of("frames", {"pretrained": encoder}, *splits, manifest, corpus, waveform)
    return made["pretrained" if around == 0 else "raw"]


def test_what_is_heard_is_found_in_features_that_know_it_and_in_no_others(corpus):
    (knows,), (blind,) = (Frames().over_frames(positions(corpus, encoder)) for encoder in (Spectra(), Blind()))
    assert knows.value > 0.95
    assert blind.value < 0.45
    assert blind.interval[0] < blind.value < blind.interval[1] < knows.interval[0]


def test_a_label_file_that_is_a_tone_late_is_noticed(corpus, tmp_path):
    table = pq.read_table(corpus / "frames.parquet").to_pylist()
    late = [{**row, "start": row["start"] + TONE, "end": row["end"] + TONE} for row in table]
    pq.write_table(pa.Table.from_pylist(late), tmp_path / "late.parquet")
    (found,) = Frames(str(tmp_path / "late.parquet")).over_frames(positions(corpus, Spectra()))
    assert found.value < 0.5


def test_positions_are_at_their_place_in_the_recording_and_never_in_padding(corpus):
    stretches = heard.read("frames.parquet", corpus)
    found = positions(corpus, Spectra()).at(stretches, "test", 10_000)
    assert len(found.labels) == TEST * TONES_EACH * TONE * RATE / 100  # 40 a segment of 1 s, 20 of the last half
    loudest = found.vectors[:, 1:].argmax(1) + 1  # bins of 40 Hz
    for number, name in enumerate(stretches.names):
        assert abs(np.median(loudest[found.labels == number]) * RATE / 100 - TONES[name]) <= 40
    assert len(np.unique(found.recordings)) == TEST


def test_the_choice_of_positions_is_the_same_every_time_and_no_larger_than_asked(corpus):
    stretches = heard.read("frames.parquet", corpus)
    first, again = (positions(corpus, Spectra()).at(stretches, "train", 100) for _ in range(2))
    assert len(first.labels) == 100
    assert np.array_equal(first.vectors, again.vectors)


def test_stretches_may_leave_gaps_and_know_no_other_recordings(tmp_path):
    rows = [("a.wav", 0.5, 1.0, "x"), ("a.wav", 1.5, 2.0, "y")]
    pq.write_table(
        pa.table(dict(zip(("source", "start", "end", "name"), zip(*rows, strict=True), strict=True))),
        tmp_path / "f.parquet",
    )
    stretches = heard.read("f.parquet", tmp_path)
    at = np.array([0.0, 0.5, 0.99, 1.0, 1.6, 2.0])
    assert [stretches.names[label] if label >= 0 else None for label in stretches.at("a.wav", at)] == [
        *(None, "x", "x", None, "y", None)
    ]
    assert (stretches.at("b.wav", at) == -1).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("source,start,end\na.wav,0,1\n", "no column name"),
        ("source,start,name\na.wav,0,x\n", "no column end"),
        ("source,start,end,name\na.wav,zero,1,x\n", "not all numbers"),
        ("source,start,end,name\na.wav,2,1,x\n", "'x' at 2 s of a.wav ends before it starts"),
        ("source,start,end,name\na.wav,0,2,x\na.wav,1,3,y\n", "'x' at 0 s of a.wav overlaps with the next"),
        ("source,start,end,name\na.wav,0,1,x\na.wav,1,2,\n", "row 1 of labels.csv lacks a source or a name"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(tmp_path, text, said):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        heard.read("labels.csv", tmp_path)


def test_a_file_of_other_recordings_says_what_to_look_at(corpus, tmp_path):
    (tmp_path / "labels.csv").write_text("source,start,end,name\nz.wav,0,1,x\nz.wav,1,2,y\n")
    with pytest.raises(UserError, match=r"fewer than two names in .*; its column source must have"):
        Frames(str(tmp_path / "labels.csv")).over_frames(positions(corpus, Spectra()))


def test_an_evaluation_shows_it_beside_an_untrained_encoder_and_mfccs(corpus, tmp_path):
    assert "frames" in verbs._fitting("audio", corpus)
    views = AudioViews(clip=None)
    views.use(Manifest.read(corpus).facts)
    results = compare(Spectra(), Blind(), views, corpus, {"frames": {}}, tmp_path)
    (row,) = results["probes"]
    assert row["pretrained"] > 0.95 > row["untrained"]
    assert row["raw"] > 0.9
    assert row["raw_name"] == "MFCCs of 70 ms"
    assert set(row["beside"]) == {"MFCCs of 10 ms"}
    assert re.search(r"frames accuracy \d+\.\d% on .*, \d+\.\d% MFCCs of 10 ms", results["verdict"])
