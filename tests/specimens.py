"""Small encoders and samples of every data type, so that a test can walk over all objectives."""

import sys
from functools import partial
from pathlib import Path

import torch

from selfray import objectives
from selfray import views as view_families
from selfray.corpus.kinds.text import Text
from selfray.encoders.conv import Conv
from selfray.encoders.dilated import Dilated
from selfray.encoders.vit import ViT
from selfray.errors import UserError
from selfray.signature import model
from selfray.train.build import asks_for_ids
from selfray.views.random import sample_keys

sys.path.insert(0, str(Path(__file__).parent))
import sounds
import texts

ENCODERS = [
    *(partial(Conv, channels, (16, 16), width=16, stages=1) for channels in (1, 3)),
    *(partial(ViT, channels, (16, 16), shape="tiny", patch=4, layers=1) for channels in (1, 3)),
    partial(texts.encoder, "bert"),
    partial(texts.encoder, "gpt"),
    partial(sounds.encoder, "cpc"),
    partial(sounds.encoder, "wav2vec2"),
    partial(sounds.encoder, "meltransformer"),
    partial(Dilated, 2, (24,), width=16, hidden=8, depth=3, dropout=0.0),
]
"""Of every data type; an objective is tried on the first that it accepts."""


def images(encoder, seed):
    """Smooth pictures as a corpus stores them, and their ids."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(16, len(encoder.mean), 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, 16, mode="bilinear")
    return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1), torch.arange(16)


def rows_of_text(encoder, seed):
    """Tokens, each row of another document."""
    return texts.rows(16, encoder.facts, encoder.size[0], seed), torch.arange(16) * Text.pieces


def series(encoder, seed):
    """Random walks of two channels; one is shorter and one has a gap."""
    rows = torch.randn(16, 24, 2, generator=torch.Generator().manual_seed(seed)).cumsum(1) / 5
    rows[1, 18:], rows[2, 4:7, 0] = torch.nan, torch.nan
    return rows, torch.arange(16)


def recordings(encoder, seed):
    """Chirps, each of its own length."""
    return sounds.waves(4, seed=seed), torch.arange(4)


SAMPLES = {"image": images, "text": rows_of_text, "series": series, "audio": recordings}
VIEWS = {"image": {"blur": 0.0, "local_crops": 2}, "audio": {"clip": None}}


def small(name):
    """Settings that cut a paper's sizes down to what a test can afford: every default above 64."""
    fields = model(objectives.find(name)).model_fields.items()
    return {key: 64 for key, field in fields if type(field.default) is int and field.default > 64}


def made(name, **settings):
    """The objective on the first of these encoders that it accepts: some need colours, some positions to leave out."""
    refusals = []
    for encoder in ENCODERS:
        torch.manual_seed(0)
        try:
            return objectives.find(name)(encoder(), **(small(name) | settings))
        except UserError as refusal:
            refusals.append(str(refusal))
    raise AssertionError(f"{name} refuses every encoder: {refusals}")


def views_of(objective, seed=0):
    encoder = objective.encoder
    samples, ids = SAMPLES[encoder.kind](encoder, seed)
    views = view_families.find(encoder.kind)(**VIEWS.get(encoder.kind, {}))
    views.use(encoder.facts)
    made = views.make(objective.views, samples, sample_keys(ids, seed, 0))
    return made | ({"ids": ids} if asks_for_ids(objective) else {})
