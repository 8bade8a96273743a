"""Decoders, fixed positions, the small Transformer, Lab, puzzles, and the adversary's one backward pass."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from selfray.encoders.conv import Conv
from selfray.encoders.encoder import Encoder
from selfray.encoders.vit import ViT
from selfray.parts.adversary import Critic, critic_loss, fooling_loss, frozen, gradient_penalty
from selfray.parts.decoders import ChannelWise, Decoder, VectorDecoder, denormalise
from selfray.parts.lab import class_weights, colours, grey, lab_to_rgb, rgb_to_lab, soft_classes
from selfray.parts.positions import sincos
from selfray.parts.puzzle import cut, far_permutations, standardise, tile_side
from selfray.parts.transformer import Transformer
from selfray.views.random import sample_keys


class Sequence(Encoder):
    """Stands for an encoder of sequences: only its shapes matter here."""

    kind = "series"

    def __init__(self, length, stride):
        super().__init__(2, (length,))
        self.width, self.stride = 8, stride


@pytest.mark.parametrize(
    "encoder",
    [Conv(1, (28, 28), width=8, stages=3), Conv(3, (16, 20), width=8, stages=1), Sequence(50, 8), Sequence(50, 5)],
    ids=["28 by 8", "16 x 20 by 2", "50 by 8", "50 by 5"],
)
def test_decoders_end_in_the_shape_of_the_inputs(encoder):
    positions = int(np.prod(encoder.grid))
    assert Decoder(encoder, 8, 3)(torch.rand(2, positions, 8)).shape == (2, 3, *encoder.size)
    assert VectorDecoder(encoder, 6, 2, inner=8)(torch.rand(2, 6)).shape == (2, 2, *encoder.size)
    if encoder.kind == "image":
        assert encoder(torch.rand(2, len(encoder.mean), *encoder.size)).shape[1] == positions


def test_a_coarser_decoder_stops_early():
    decoder = Decoder(Conv(1, (28, 28), width=8, stages=3), 8, 5, shrink=4)
    assert decoder(torch.rand(2, 16, 8)).shape == (2, 5, 7, 7)


def test_the_position_decides_where_a_decoder_paints():
    decoder = Decoder(Conv(1, (16, 16), width=8, stages=2), 8, 1).eval()
    features = torch.zeros(1, 16, 8)
    before = decoder(features)
    features[0, 15] = 1.0
    changed = (decoder(features) - before).abs()[0, 0] > 0
    assert changed[12:, 12:].any()
    assert not changed[:6, :6].any()


def test_channel_wise_layers_mix_positions_and_not_channels():
    layer = ChannelWise(5, 3)
    features = torch.rand(2, 5, 3)
    for channel in range(3):
        expected = features[..., channel] @ layer.weight[channel]
        torch.testing.assert_close(layer(features)[..., channel], expected)


def test_denormalise_undoes_the_encoders_normalisation():
    encoder = Conv(3, (8, 8), width=8, stages=1)
    encoder.set_statistics((0.2, 0.5, 0.7), (0.1, 0.2, 0.3))
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(denormalise(encoder, encoder.normalise(images)), images)


def test_sincos_positions_are_those_of_mae():
    from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

    down_first = build_2d_sinusoidal_position_embedding(height=3, width=5, embed_dim=16)
    torch.testing.assert_close(sincos((3, 5), 16), torch.cat([down_first[:, 8:], down_first[:, :8]], 1))
    assert sincos((7,), 6).shape == (7, 6)


def test_the_layers_of_a_transformer_start_from_weights_of_their_own():
    first, second = Transformer(32, 2).layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_hidden_tokens_are_seen_by_nobody():
    network, tokens = Transformer(32, 2).train(), torch.rand(2, 6, 32)
    hidden = torch.zeros(2, 6, dtype=torch.bool)
    hidden[:, 4:] = True
    torch.testing.assert_close(network(tokens, hidden)[:, :4], network(tokens[:, :4]))


def test_a_vit_computes_the_kept_positions_as_if_the_others_were_not_there():
    torch.manual_seed(0)
    encoder, images = ViT(3, (32, 16), shape="tiny", patch=8, layers=2).eval(), torch.rand(2, 3, 32, 16)
    keep = torch.tensor([[5, 0, 3], [1, 2, 7]])
    kept = encoder(images, keep=keep)
    assert kept.shape == (2, 4, 192)
    changed = images.clone()
    changed[0, :, 8:16] = 0.0  # patches 2 and 3 of the first sample
    changed[1, :, :8, :8] = 0.0  # patch 0 of the second, which is not kept
    again = encoder(changed, keep=keep)
    torch.testing.assert_close(again[1], kept[1])
    assert (again[0] - kept[0]).abs().max() > 1e-3
    mask = torch.ones(2, 8, dtype=torch.bool).scatter(1, keep, False)
    masked = encoder(images, mask)
    picked = torch.cat([masked[:, :1], masked[:, 1:].gather(1, keep[..., None].expand(-1, -1, 192))], 1)
    torch.testing.assert_close(picked, kept, rtol=1e-4, atol=1e-5)


def test_a_vit_of_another_size_resizes_its_positions_and_equals_transformers_at_its_own():
    torch.manual_seed(0)
    encoder = ViT(3, (32, 32), shape="tiny", patch=8, layers=1).eval()
    images = torch.rand(2, 3, 32, 32)
    theirs = encoder.network(encoder.normalise(images)).last_hidden_state
    torch.testing.assert_close(encoder(images), theirs)
    small = torch.rand(2, 3, 16, 16)
    resized = encoder.network(encoder.normalise(small), interpolate_pos_encoding=True).last_hidden_state
    torch.testing.assert_close(encoder(small), resized, rtol=1e-4, atol=1e-5)


def test_pooling_by_the_mean_leaves_the_class_token_out():
    features = torch.rand(2, 17, 192)
    mean = ViT(1, (16, 16), shape="tiny", patch=4, layers=1, pooling="mean")
    torch.testing.assert_close(mean.pool(features), features[:, 1:].mean(1))


def test_lab_is_the_standards_and_comes_back():
    pictures = torch.rand(2, 3, 5, 7, dtype=torch.double)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(pictures)), pictures, rtol=0, atol=1e-12)
    red, green, blue = rgb_to_lab(torch.eye(3)[:, :, None, None]).flatten(1)
    torch.testing.assert_close(red, torch.tensor([53.24, 80.09, 67.20]), rtol=0, atol=0.05)
    torch.testing.assert_close(green, torch.tensor([87.73, -86.18, 83.18]), rtol=0, atol=0.05)
    torch.testing.assert_close(blue, torch.tensor([32.30, 79.19, -107.86]), rtol=0, atol=0.05)
    shades = torch.rand(4, 1, 2, 2).expand(-1, 3, -1, -1)
    assert rgb_to_lab(shades)[:, 1:].abs().max() < 1e-3
    torch.testing.assert_close(grey(rgb_to_lab(shades)[:, :1]), shades[:, :1], rtol=0, atol=1e-5)


def test_colour_classes_hold_every_colour_within_half_a_cell():
    centres = torch.from_numpy(colours())
    assert len(centres) == 261
    plane = rgb_to_lab(torch.rand(1, 3, 50, 50))[0, 1:].flatten(1).T
    assert (plane[:, None] - centres).abs().amax(2).amin(1).max() <= 5 + 1.5  # between two points of the lattice
    assert (centres == 0).all(1).any()


def test_soft_classes_are_a_gaussian_over_the_nearest():
    centres = torch.from_numpy(colours())
    ab = torch.tensor([[12.0, -3.0], [53.0, 42.0]]).T.reshape(1, 2, 1, 2)
    numbers, shares = soft_classes(ab, centres, 5)
    for pixel in range(2):
        distances = ((centres - ab[0, :, 0, pixel]) ** 2).sum(1).sqrt()
        nearest = distances.argsort()[:5]
        weights = torch.exp(-(distances[nearest] ** 2) / 50)
        torch.testing.assert_close(shares[0, 0, pixel], weights / weights.sum(), rtol=1e-4, atol=1e-6)
        assert set(numbers[0, 0, pixel].tolist()) == set(nearest.tolist())


def test_class_weights_are_the_papers_and_one_on_average():
    centres = torch.from_numpy(colours())
    counts = torch.zeros(len(centres))
    torch.testing.assert_close(class_weights(counts + 7, centres, 1.0), torch.ones(len(centres)))
    counts[[3, 90]] = torch.tensor([900.0, 100.0])
    weights = class_weights(counts, centres, 0.5)
    kernel = torch.exp(-((centres[:, None] - centres[None]) ** 2).sum(2) / 50)
    prior = (kernel / kernel.sum(0)) @ (counts / 1000)
    expected = 1 / (0.5 * prior + 0.5 / len(centres))
    expected = expected / (prior * expected).sum()
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-5)
    assert weights[3] < weights[90] < weights[200]


def test_permutations_are_far_apart_and_always_the_same():
    chosen = far_permutations(5, 20)
    assert np.array_equal(chosen, far_permutations.__wrapped__(5, 20))
    assert all(sorted(row) == list(range(5)) for row in chosen.tolist())
    everything = np.array(list(permutations(range(5))))
    for count in (1, 4, 10):  # the next one is as far from its nearest as any could be
        nearest = (everything[:, None] != chosen[None, :count]).sum(2).min(1)
        assert (chosen[count] != chosen[:count]).sum(1).min() == nearest.max()
    apart = (chosen[:, None] != chosen[None]).sum(2)[np.triu_indices(20, 1)]
    assert apart.min() == 3


@pytest.mark.parametrize(("cell", "stride", "side"), [(74, 32, 64), (74, 16, 64), (9, 8, 8), (9, 2, 8), (5, 8, 4)])
def test_tiles_are_whole_positions_where_one_fits(cell, stride, side):
    assert tile_side(cell, stride) == side


def test_tiles_lie_anywhere_in_their_cells():
    images = torch.arange(27.0)[:, None] * 100 + torch.arange(27.0)  # the value tells the place
    tiles = cut(images.expand(400, 1, 27, 27), sample_keys(torch.arange(400), 0, 0), 0, 3, 7)
    assert tiles.shape == (400, 9, 1, 7, 7)
    corner = tiles[:, :, 0, 0, 0]
    rows, columns = (corner / 100).floor(), corner % 100
    for number in range(9):
        assert set((rows[:, number] - 9 * (number // 3)).tolist()) == {0.0, 1.0, 2.0}
        assert set((columns[:, number] - 9 * (number % 3)).tolist()) == {0.0, 1.0, 2.0}
    assert torch.equal(tiles[0, 4, 0] - corner[0, 4], images[:7, :7])


def test_tiles_are_standardised_one_by_one():
    tiles = standardise(torch.rand(2, 9, 3, 8, 8) * 0.5 + torch.rand(2, 9, 3, 1, 1))
    assert tiles.mean((3, 4)).abs().max() < 1e-5
    assert (tiles.std((3, 4), correction=0) - 1).abs().max() < 0.2
    assert standardise(torch.ones(1, 1, 1, 4, 4)).abs().max() == 0


def test_a_frozen_critic_passes_gradients_to_its_inputs_and_keeps_none():
    critic, inputs = Critic((8, 8), 1, 4), torch.rand(3, 1, 8, 8, requires_grad=True)
    fooling_loss(frozen(critic, inputs)).backward()
    assert inputs.grad.abs().sum() > 0
    assert all(p.grad is None for p in critic.parameters())


def test_adversarial_losses_are_the_papers():
    real, fake = torch.randn(2, 6, dtype=torch.double)
    expected = -(torch.log(real.sigmoid()) + torch.log(1 - fake.sigmoid())).mean()
    torch.testing.assert_close(critic_loss(real, fake), expected)
    torch.testing.assert_close(fooling_loss(fake), -torch.log(fake.sigmoid()).mean())
    assert torch.isfinite(critic_loss(real * 1e4, fake * 1e4))


def test_the_gradient_penalty_is_half_the_squared_norm_and_trains_the_critic():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 1, bias=False))
    penalty = gradient_penalty(linear, torch.rand(5, 3, 2, 2))
    torch.testing.assert_close(penalty, linear[1].weight.square().sum() / 2)
    penalty.backward()
    torch.testing.assert_close(linear[1].weight.grad, linear[1].weight.detach())


def test_critics_take_sequences_and_codes_too():
    assert Critic((40,), 2, 4, code=3, spectral=False)(torch.rand(5, 2, 40), torch.rand(5, 3)).shape == (5,)
