"""The autoencoder: its error, its noise, and what goes through its bottleneck."""

import pytest
import torch

from selfray.encoders.conv import Conv
from selfray.encoders.vit import ViT
from selfray.objectives.autoencoder import Autoencoder
from selfray.parts.rebuild import damaged, squared_error
from selfray.views.random import sample_keys

KEYS = sample_keys(torch.arange(6), 0, 0)


def made(**settings):
    torch.manual_seed(0)
    encoder = Conv(1, (12, 12), width=8, stages=1)
    encoder.set_statistics((0.3,), (0.2,))
    return Autoencoder(encoder, width=16, **settings)


def test_the_loss_is_the_squared_error_in_units_of_the_corpus_variance():
    model, images = made().eval(), torch.rand(6, 1, 12, 12)
    with torch.no_grad():
        rebuilt = model.decoder(model.encoder.embed(images))
        expected = sum((r - (x - 0.3) / 0.2).square().mean() for r, x in zip(rebuilt, images, strict=True)) / 6
        torch.testing.assert_close(model.loss(images, KEYS)[0], expected, rtol=1e-5, atol=0)


def test_noise_blots_out_its_share_of_the_positions_in_all_channels_and_repeats():
    keys = sample_keys(torch.arange(50), 0, 0)
    images = torch.rand(50, 3, 20, 20) + 1
    seen = damaged(images, keys, 0.3)
    gone = seen == 0
    assert gone.float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(gone.any(1), gone.all(1))
    assert torch.equal(seen[~gone], images[~gone])
    assert torch.equal(seen, damaged(images, keys, 0.3))


def test_the_target_is_the_clean_input_and_the_encoder_sees_the_damaged_one():
    model, images = made(noise=0.5).eval(), torch.rand(6, 1, 12, 12)
    target = (images - 0.3) / 0.2
    with torch.no_grad():
        rebuilt = model.decoder(model.encoder.embed(0.3 + 0.2 * damaged(target, KEYS, 0.5)))
        torch.testing.assert_close(model.loss(images, KEYS)[0], squared_error(rebuilt, target), rtol=1e-5, atol=0)


@pytest.mark.parametrize("settings", [{"code": "positions"}, {"latent": 3}, {"code": "positions", "latent": 2}])
def test_every_kind_of_code_learns_its_batch(settings):
    model, images = made(**settings), torch.rand(6, 1, 12, 12)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss, _ = model.loss(images, KEYS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_class_token_is_no_position_of_the_picture():
    model = Autoencoder(ViT(1, (12, 12), shape="tiny", patch=4, layers=1), code="positions")
    assert torch.isfinite(model.loss(torch.rand(6, 1, 12, 12), KEYS)[0])


def test_pictures_are_images():
    shown = made(noise=0.2).eval().pictures({"images": torch.rand(6, 1, 12, 12), "keys": KEYS})
    assert sorted(shown) == ["damaged", "reconstructed"]
    assert all(p.shape == (6, 1, 12, 12) and p.min() >= 0 and p.max() <= 1 for p in shown.values())
