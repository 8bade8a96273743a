"""Samples and views as a person takes them in."""

import io
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from selfray import objectives
from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest
from selfray.corpus.read import read_rows
from selfray.evaluation import shown, sounds, words
from selfray.views.random import sample_keys
from selfray.views.text import TextViews

from . import texts


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """A corpus of program text."""
    folder = tmp_path_factory.mktemp("words")
    for name in ("heapq", "bisect", "queue"):
        text = (Path(sysconfig.get_path("stdlib")) / f"{name}.py").read_text(encoding="utf-8")
        (folder / "raw").mkdir(exist_ok=True)
        (folder / "raw" / f"{name}.txt").write_text(text, encoding="utf-8")
    prepare(folder / "raw", folder / "corpus", vocabulary=800, length=32, ray=False, max_bad_rate=0.5)
    return folder / "corpus"


def test_a_sound_is_the_same_after_mp3_but_for_its_loss():
    time = np.arange(12_000) / 16_000
    wave = (12_000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    (file,) = sounds.split(sounds.encoded(wave[None], 16_000))
    heard, rate = soundfile.read(io.BytesIO(file))
    spectrum = np.abs(np.fft.rfft(heard[:12_000]))
    assert rate == 16_000
    assert abs(np.fft.rfftfreq(12_000, 1 / rate)[spectrum.argmax()] - 440) < 2


def test_padding_is_not_heard_and_odd_rates_are_resampled():
    wave = np.full(11_000, sounds.PAD, np.int16)
    wave[:5_500] = 1000
    (file,) = sounds.split(sounds.encoded(wave[None], 11_000))
    heard, rate = soundfile.read(io.BytesIO(file))
    assert rate == 11_025
    assert 0.4 < len(heard) / rate < 0.7


def test_no_sounds_are_no_files():
    assert sounds.split(sounds.encoded(np.zeros((0, 8), np.int16), 8000)) == []


def test_rows_of_tokens_say_what_the_files_said_and_show_their_masks(modules):
    manifest, tokens = Manifest.read(modules), read_rows(modules, "train", np.arange(4))["data"]
    said = words.texts(tokens, manifest, modules)
    source = " ".join(" ".join(file.read_text().split()) for file in sorted(modules.with_name("raw").glob("*.txt")))
    assert all(part.strip() in source for text in said for part in text.split("[SEP]"))
    hidden = tokens.astype(np.int64)
    hidden[:, 3] = manifest.facts["mask"]
    assert all("[MASK]" in text for text in words.texts(hidden, manifest, modules))


def test_views_of_text_are_those_that_are_rows_of_tokens(modules):
    manifest = Manifest.read(modules)
    rows = torch.tensor(read_rows(modules, "train", np.arange(4))["data"])
    views = TextViews()
    views.use(manifest.facts)
    made = views.make("masked", rows, sample_keys(torch.arange(4), 0, 0))
    assert sorted(shown.views(made, manifest, modules)) == ["target.text", "tokens.text"]


def test_mlm_fills_the_masks_and_leaves_the_rest():
    facts = texts.FACTS
    objective = objectives.find("mlm")(texts.encoder("bert")).eval()
    views = TextViews(mask_ratio=0.4)
    views.use(facts)
    seen = views.make("masked", texts.rows(6), sample_keys(torch.arange(6), 0, 0))
    filled = objective.pictures(seen)["filled"]
    chosen = torch.zeros_like(filled, dtype=torch.bool).scatter(1, seen["places"], seen["real"])
    assert chosen.any()
    assert torch.equal(filled[~chosen], seen["tokens"][~chosen])


def test_next_token_continues_a_prompt_and_says_the_same_twice():
    objective = objectives.find("next_token")(texts.encoder("gpt", length=32)).eval()
    rows = texts.rows(3, length=32).long()
    first, second = (objective.pictures({"tokens": rows})["continued"] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first[:, :16], rows[:, :16])
    assert (first[:, 16:] != texts.FACTS["pad"]).all()


def test_audio_objectives_let_hear_what_they_make():
    from .sounds import encoder, waves

    heard = waves(4)
    for name, parts in (("denoising", {"noisy", "denoised"}), ("separation", {"mixture", "source 1", "source 2"})):
        objective = objectives.find(name)(encoder("melconv")).eval()
        made = objective.pictures({"images": heard, "keys": torch.arange(4)})
        assert set(made) == parts
        assert all(wave.shape == heard.shape for wave in made.values())
