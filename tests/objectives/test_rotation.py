"""Rotation against its paper."""

import math

import pytest
import torch

from selfray.encoders.conv import Conv
from selfray.errors import UserError
from selfray.objectives.rotation import Rotation, turned
from selfray.views.random import sample_keys

KEYS = sample_keys(torch.arange(5), 0, 0)


def test_all_four_turns_of_every_picture_come_one_after_the_other():
    images = torch.rand(5, 3, 6, 6)
    copies = turned(images)
    for turns in range(4):
        for i in range(5):
            expected = images[i]
            for _ in range(turns):  # a quarter turn counterclockwise: columns become rows, in reverse
                expected = expected.transpose(1, 2).flip(1)
            assert torch.equal(copies[5 * turns + i], expected)


def test_the_loss_is_the_papers_mean_over_pictures_and_turns():
    torch.manual_seed(0)
    model, images = Rotation(Conv(1, (8, 8), width=8, stages=1)).eval(), torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        total = 0.0
        for image in images:
            for turns in range(4):
                logits = model.head(model.encoder.embed(torch.rot90(image, turns, (1, 2))[None]))[0]
                total -= torch.log_softmax(logits, 0)[turns] / 4
        torch.testing.assert_close(model.loss(images, KEYS)[0], total / 5, rtol=1e-5, atol=0)


def test_chance_costs_ln_4():
    model = Rotation(Conv(1, (8, 8), width=8, stages=1))
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    assert model.loss(torch.rand(5, 1, 8, 8), KEYS)[0].item() == pytest.approx(math.log(4))


def test_views_that_are_not_square_are_refused():
    with pytest.raises(UserError, match=r"square views, not 8 x 12; set views\.size"):
        Rotation(Conv(1, (8, 12), width=8, stages=1))
