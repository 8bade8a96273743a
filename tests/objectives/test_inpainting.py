"""The context encoder: its regions, its border, and its loss."""

import pytest
import torch

from selfray.encoders.conv import Conv
from selfray.objectives.inpainting import Inpainting, region_error, shrunk
from selfray.views.random import sample_keys


def made(**settings):
    torch.manual_seed(0)
    encoder = Conv(1, (16, 16), width=8, stages=1)
    encoder.set_statistics((0.3,), (0.2,))
    return Inpainting(encoder, critic_width=4, **settings)


def keys(count):
    return sample_keys(torch.arange(count), 0, 0)


def test_the_error_is_the_mean_over_each_samples_region_by_weight():
    prediction, target = torch.randn(2, 3, 2, 4, 4, dtype=torch.double)
    weights = torch.rand(3, 1, 4, 4, dtype=torch.double).round() * 3
    total = 0.0
    for p, t, w in zip(prediction, target, weights, strict=True):
        total += ((p - t) ** 2 * w).sum() / (2 * w.sum())
    torch.testing.assert_close(region_error(prediction, target, weights), total / 3)


def test_a_centred_region_has_its_share_and_its_rim_counts_ten_times():
    model, images = made(region="centre", share=0.25, border=2), torch.rand(2, 1, 16, 16)
    missing, hole, filled = model._filled(images, keys(2))
    assert missing.sum((1, 2, 3)).tolist() == [64, 64]
    assert hole.sum((1, 2, 3)).tolist() == [16, 16]  # 4 x 4 of 8 x 8
    assert missing[0, 0, 4:12, 4:12].all()
    expected = region_error(filled, model.encoder.normalise(images), hole + 10 * (missing - hole))
    torch.testing.assert_close(model.eval().train().loss(images, keys(2))[0], expected, rtol=1e-3, atol=1e-4)


def test_the_pictures_own_border_is_no_rim():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :5, :5] = 1
    inner = torch.zeros(1, 1, 8, 8)
    inner[..., :3, :3] = 1
    assert torch.equal(shrunk(mask, 2), inner)
    assert torch.equal(shrunk(mask, 0), mask)


def test_blocks_lie_everywhere_share_the_area_and_repeat():
    model, images = made(share=0.25, blocks=4), torch.zeros(3000, 1, 16, 16)
    missing = model._missing(images, keys(3000))
    assert torch.equal(missing, model._missing(images, keys(3000)))
    shares = missing.mean((1, 2, 3))
    assert shares.max() <= 0.30  # rounding to whole pixels
    assert 0.18 < shares.mean() < 0.25  # they may overlap
    assert (missing.mean(0) > 0.01).all()


def test_the_encoder_sees_nothing_of_the_region():
    model, images = made(region="centre").eval(), torch.rand(2, 1, 16, 16)
    changed = images.clone()
    changed[:, :, 4:12, 4:12] = 0.9
    with torch.no_grad():
        assert torch.equal(model._filled(images, keys(2))[2], model._filled(changed, keys(2))[2])


def test_the_adversary_and_the_others_get_gradients_of_their_own_losses():
    model, images = made(adversarial=0.5), torch.rand(4, 1, 16, 16)
    loss, logged = model.loss(images, keys(4))
    torch.testing.assert_close(loss, 0.5 * logged["rebuilding"] + 0.5 * logged["fooling"] + logged["critic"])
    loss.backward()
    both = [p.grad.clone() for p in model.critic.parameters()]
    alone = made(adversarial=1.0)  # no share of the region's error, the same critic's loss
    alone.loss(images, keys(4))[0].backward()
    for one, other in zip(both, alone.critic.parameters(), strict=True):
        torch.testing.assert_close(one, other.grad, rtol=1e-4, atol=1e-6)
    assert any(p.grad.abs().sum() > 0 for p in alone.decoder.parameters())


def test_without_the_adversary_there_is_no_critic():
    assert made().critic is None


def test_pictures_change_nothing_but_the_region():
    model, images = made(region="centre").eval(), torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        shown = model.pictures({"images": images, "keys": keys(2)})
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:12, 4:12] = True
    assert torch.equal(shown["inpainted"][..., ~inside], images[..., ~inside])
    assert shown["seen"][..., inside].flatten().tolist() == pytest.approx([0.3] * 128)
