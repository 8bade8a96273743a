"""I-JEPA: its blocks, its target, and where gradients go."""

import copy

import pytest
import torch
from torch.nn.functional import layer_norm

from selfray.encoders.conv import Conv
from selfray.encoders.vit import ViT
from selfray.errors import UserError
from selfray.objectives.ijepa import IJEPA, block_distance
from selfray.views.random import sample_keys


def made(size=32, **settings):
    torch.manual_seed(0)
    encoder = ViT(1, (size, size), shape="tiny", patch=4, layers=1, positions="sincos", pooling="mean")
    return IJEPA(encoder, **{"width": 64, "layers": 1, **settings})


def keys(count):
    return sample_keys(torch.arange(count), 0, 0)


def sets(numbers, real):
    return [set(n[r].tolist()) for n, r in zip(numbers, real, strict=True)]


def test_the_context_shares_no_position_with_a_target_and_blocks_have_the_papers_sizes():
    model = made(size=56)  # a grid of 14 x 14, as 224 pixels in patches of 16
    keep, kept, wanted, real = model.blocks(keys(400))
    sizes = real.sum(2).float() / 196
    assert sizes.mean().item() == pytest.approx(0.175, abs=0.005)
    assert sizes.min() > 0.12
    assert sizes.max() < 0.22
    for i, context in enumerate(sets(keep, kept)):
        for target in sets(wanted[i], real[i]):
            assert not context & target
    share = kept.sum(1).float() / 196
    assert 0.3 < share.mean() < 0.5
    assert (share < 0.6).float().mean() > 0.9  # the limit cuts few contexts
    assert torch.equal(kept.sum(1), torch.tensor([len(s) for s in sets(keep, kept)]))


def test_blocks_repeat_for_the_same_keys():
    model = made()
    for one, other in zip(model.blocks(keys(6)), model.blocks(keys(9)), strict=True):
        assert torch.equal(one, other[:6])


@pytest.mark.parametrize("distance", ["smooth_l1", "l2"])
def test_the_distance_is_the_mean_over_real_positions_of_blocks(distance):
    predicted, goal = torch.randn(2, 3, 2, 4, 5, dtype=torch.double) * 2
    real = torch.rand(3, 2, 4) < 0.6
    real[..., 0] = True
    total = 0.0
    for b in range(3):
        for m in range(2):
            block = []
            for p in range(4):
                if real[b, m, p]:
                    gap = (predicted[b, m, p] - goal[b, m, p]).abs()
                    bent = torch.where(gap < 1, gap**2 / 2, gap - 0.5)
                    block.append((bent if distance == "smooth_l1" else gap**2).mean())
            total += sum(block) / len(block) / 6
    torch.testing.assert_close(block_distance(predicted, goal, real, distance), total)


def test_the_loss_equals_one_block_of_one_sample_after_the_other():
    """Without any padding: what attention must not see changes nothing."""
    model = made().eval()
    images, ids = torch.rand(3, 1, 32, 32), keys(3)
    keep, kept, wanted, real = model.blocks(ids)
    total = 0.0
    with torch.no_grad():
        for i in range(3):
            target = layer_norm(model.target_encoder(images[i : i + 1])[0, 1:], (192,))
            context = keep[i][kept[i]]
            seen = model.enter(model.encoder(images[i : i + 1], keep=context[None])[:, 1:]) + model.positions[context]
            for m in range(4):
                places = wanted[i, m][real[i, m]]
                asked = (model.mask_token + model.positions[places])[None]
                answer = model.leave(model.predictor(torch.cat([seen, asked], 1))[0, -len(places) :])
                gap = (answer - target[places]).abs()
                total += torch.where(gap < 1, gap**2 / 2, gap - 0.5).mean() / 12
        torch.testing.assert_close(model.loss(images, ids)[0], total, rtol=1e-4, atol=1e-5)


def test_gradients_reach_encoder_and_predictor_and_never_the_slow_copy():
    model = made()
    model.loss(torch.rand(4, 1, 32, 32), keys(4))[0].backward()
    assert all(p.grad is None for p in model.target_encoder.parameters())
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert model.mask_token.grad.abs().sum() > 0


def test_the_slow_copy_follows_with_a_momentum_that_ends_where_it_should():
    model = made(momentum=0.9, momentum_end=1.0)
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(1.0)
    before = copy.deepcopy(model.target_encoder.copy.network.layernorm.bias)
    model.after_step(0.5)
    moved = model.target_encoder.copy.network.layernorm.bias
    torch.testing.assert_close(moved - before, torch.full_like(before, 0.05), rtol=1e-3, atol=1e-6)
    stays = copy.deepcopy(moved)
    model.after_step(1.0)
    assert torch.equal(model.target_encoder.copy.network.layernorm.bias, stays)


def test_a_context_that_targets_cover_entirely_is_survived():
    model = made(size=8)  # a grid of 2 x 2
    loss, _ = model.loss(torch.rand(30, 1, 8, 8), keys(30))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_encoders_that_need_all_positions_are_refused():
    with pytest.raises(UserError, match="'ijepa' shows the encoder some of its positions only"):
        IJEPA(Conv(1, (8, 8), width=8, stages=1))


def test_pictures_light_the_context_and_a_target():
    shown = made().pictures({"images": torch.ones(3, 1, 32, 32), "keys": keys(3)})
    assert list(shown) == ["context", "first target"]
    assert not ((shown["context"] > 0.9) & (shown["first target"] > 0.9)).any()
