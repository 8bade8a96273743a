"""The jigsaw: its tiles, its permutations, and its loss."""

import pytest
import torch

from selfray.encoders.conv import Conv
from selfray.encoders.vit import ViT
from selfray.errors import UserError
from selfray.objectives.jigsaw import Jigsaw
from selfray.parts.puzzle import cut, standardise
from selfray.views.random import OBJECTIVE, sample_keys


def made(encoder=None, **settings):
    torch.manual_seed(0)
    encoder = encoder or Conv(1, (27, 27), width=8, stages=1)
    return Jigsaw(encoder, **{"permutations": 20, "tile_width": 8, "hidden": 16, **settings})


def keys(count):
    return sample_keys(torch.arange(count), 0, 0)


def test_tiles_come_in_the_order_that_the_label_names():
    model, images = made(), torch.rand(40, 1, 27, 27)
    tiles, label = model.puzzle(images, keys(40))
    straight = standardise(cut(images, keys(40), OBJECTIVE, 3, model.tile))
    for i in range(40):
        for place, number in enumerate(model.orders[label[i]].tolist()):
            assert torch.equal(tiles[i, place], straight[i, number])


def test_labels_are_even_and_repeat():
    model, images = made(), torch.rand(4000, 1, 27, 27)
    _, label = model.puzzle(images, keys(4000))
    counts = label.bincount(minlength=20)
    assert len(counts) == 20
    assert (counts - 200).abs().max() < 70  # five deviations
    assert torch.equal(label[:10], model.puzzle(images[:10], keys(10))[1])


def test_the_loss_is_cross_entropy_of_nine_siamese_tiles():
    model, images = made().eval(), torch.rand(6, 1, 27, 27)
    model.encoder.set_statistics((0.3,), (0.2,))
    with torch.no_grad():
        tiles, label = model.puzzle(images, keys(6))
        total = 0.0
        for i in range(6):
            features = [model.encoder.layers(tile[None]).mean((2, 3)) for tile in tiles[i]]
            joined = torch.cat([model.tile_head(f).relu() for f in features], 1)
            total -= torch.log_softmax(model.head(joined)[0], 0)[label[i]] / 6
        torch.testing.assert_close(model.loss(images, keys(6))[0], total, rtol=1e-5, atol=1e-6)


def test_transformers_read_tiles_too():
    model = made(ViT(1, (24, 24), shape="tiny", patch=4, layers=1))
    assert model.tile == 8
    assert torch.isfinite(model.loss(torch.rand(4, 1, 24, 24), keys(4))[0])


def test_views_too_small_for_tiles_are_refused():
    with pytest.raises(UserError, match="views of 12 pixels or more"):
        made(Conv(1, (8, 8), width=8, stages=1))


def test_the_picture_is_the_puzzle():
    shown = made().pictures({"images": torch.rand(2, 1, 27, 27), "keys": keys(2)})
    assert shown["puzzle"].shape == (2, 1, 24, 24)
