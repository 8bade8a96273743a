"""Two workers with halves of a batch of sounds equal one worker with the whole batch, in loss and gradient."""

import sys
from pathlib import Path

import pytest
import torch

from selfray import objectives
from selfray.encoders.inputs import audio
from selfray.views.random import sample_keys

sys.path.insert(0, str(Path(__file__).parents[1]))
import sounds
from workers import together

SMALL = {"codes": 6, "code_width": 8, "width": 16, "negatives": 5, "span": 4}
CASES = {
    "cpc-all": ("cpc", "cpc", {"ahead": 3, "negatives": 20}),
    "cpc-other": ("cpc", "cpc", {"ahead": 3, "negatives": 20, "source": "other"}),
    "wav2vec2": ("wav2vec2", "wav2vec2", SMALL),
    "best_rq": ("best_rq", "meltransformer", {"codes": 16, "span": 3}),
    "denoising": ("denoising", "cpc", {"hidden": 16}),
}


def worked(rank, world):
    """Of each case the loss of this worker and its gradients."""
    found = {}
    waves, keys = audio(sounds.waves(4), ()), sample_keys(torch.arange(4), 0, 0)
    mine = slice(rank * 4 // world, (rank + 1) * 4 // world)
    for case, (name, encoder, settings) in CASES.items():
        torch.manual_seed(0)
        objective = objectives.find(name)(sounds.encoder(encoder), **settings).double()
        loss, _ = objective.loss(waves[mine].double(), keys[mine])
        loss.backward()
        gradients = [p.grad.flatten() for p in objective.parameters() if p.grad is not None]
        found[case] = (loss.detach(), torch.cat(gradients))
    return found


@pytest.fixture(scope="module")
def halves():
    return together(2, worked, 2)


@pytest.fixture(scope="module")
def whole():
    return worked(0, 1)


@pytest.mark.parametrize("case", CASES)
def test_two_workers_equal_one(case, halves, whole):
    loss, gradient = whole[case]
    torch.testing.assert_close(sum(half[case][0] for half in halves) / 2, loss, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(sum(half[case][1] for half in halves) / 2, gradient, rtol=1e-4, atol=1e-7)
