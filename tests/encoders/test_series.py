"""Encoders of series: padding and missing values never leak; parts equal plain ones where nothing is missing."""

import pytest
import torch
from torch import nn

from selfray import encoders
from selfray.encoders.dilated import convolved
from selfray.errors import UserError
from selfray.parts.ragged import MaskedBatchNorm, backwards

NAMES = [name for name in encoders.names() if encoders.find(name).kind == "series"]
NAN = float("nan")


def made(name, channels=2, steps=24, **settings):
    torch.manual_seed(0)
    return encoders.find(name)(channels, (steps,), **settings)


@pytest.fixture
def series():
    rows = torch.randn(5, 24, 2, generator=torch.Generator().manual_seed(1)).cumsum(1)
    rows[1, 15:] = NAN
    rows[2, 4:9] = NAN
    rows[3, 6:10, 0] = NAN
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_features_have_the_stated_width_and_stride(name, series):
    encoder = made(name).eval()
    assert encoder(series).shape == (5, *encoder.grid, encoder.width)
    assert encoder.embed(series).shape == (5, encoder.width)
    assert torch.isfinite(encoder(series)).all()


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", NAMES)
def test_a_series_does_not_know_how_far_it_was_padded(name, training, series):
    settings = {} if name == "recurrent" else {"dropout": 0.0}
    encoder = made(name, steps=32, **settings).train(training)
    longer = torch.cat([series, torch.full((5, 8, 2), NAN)], dim=1)
    torch.testing.assert_close(encoder.embed(longer), encoder.embed(series), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_other_series_of_the_batch_do_not_change_a_series(name, series):
    encoder = made(name).eval()
    torch.testing.assert_close(encoder.embed(series[1:2]), encoder.embed(series)[1:2])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_hidden_by_a_mask_cannot_be_seen(name, series):
    encoder = made(name).eval()
    mask = torch.zeros(5, *encoder.grid, dtype=torch.bool)
    mask[:, 1] = True
    changed = series.clone()
    changed[:, encoder.stride : 2 * encoder.stride] += 7
    expected = encoder(series, mask)
    torch.testing.assert_close(encoder(changed, mask)[~mask], expected[~mask])
    assert not torch.allclose(encoder(changed)[~mask], encoder(series)[~mask])


@pytest.mark.parametrize("name", NAMES)
def test_padding_gives_zeros_and_gets_no_gradient_from_the_loss(name, series):
    encoder = made(name).eval()
    features = encoder(series)
    behind = -(-15 // encoder.stride)
    assert (features[1, behind:] == 0).all()
    assert (features[1, :behind] != 0).any(1).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_series_normalised_by_itself_has_no_scale(name, series):
    encoder = made(name, instance=True).eval()
    torch.testing.assert_close(encoder.embed(series * 50 + 3), encoder.embed(series), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_gets_a_gradient(name, series):
    encoder = made(name)
    encoder.embed(series).square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None] == []


def test_a_dilation_beyond_the_length_is_one_tap():
    for causal in (False, True):
        convolution = nn.Conv1d(3, 4, 3, dilation=8)
        inputs = torch.randn(2, 3, 8)
        wide = torch.cat([inputs, torch.zeros(2, 3, 1)], dim=2)  # nine steps: no shortcut
        torch.testing.assert_close(
            convolved(convolution, inputs, causal), convolved(convolution, wide, causal)[:, :, :8]
        )


def test_causal_features_do_not_see_the_future(series):
    encoder = made("dilated", padding="causal").eval()
    changed = series.clone()
    changed[:, 12:] = 5.0
    torch.testing.assert_close(encoder(changed)[0, :12], encoder(series)[0, :12])


def test_cpc1d_sees_itself_and_what_was_before_it(series):
    encoder = made("cpc1d").eval()
    changed = series.clone()
    changed[:, 12:] = 5.0
    torch.testing.assert_close(encoder(changed)[0, :3], encoder(series)[0, :3])
    assert not torch.allclose(encoder(changed)[0, 3], encoder(series)[0, 3])
    (changed_local, _), (local, _) = encoder.local(changed), encoder.local(series)
    assert torch.equal(changed_local[0, :3], local[0, :3])
    with pytest.raises(UserError, match=r"encoder\.step 4 is more than encoder\.kernel 3"):
        made("cpc1d", kernel=3, step=4)


def test_masked_batch_normalisation_is_torchs_where_nothing_is_masked_and_of_what_counts_elsewhere():
    own, peer = MaskedBatchNorm(4), nn.BatchNorm1d(4)
    rows, counted = torch.randn(6, 5, 4), torch.rand(6, 5) < 0.6
    torch.testing.assert_close(own(rows, torch.ones(6, 5, dtype=torch.bool)), peer(rows.flatten(0, 1)).view(6, 5, 4))
    torch.testing.assert_close(own(rows, counted)[counted], peer(rows[counted]))
    torch.testing.assert_close(own.running_mean, peer.running_mean)
    torch.testing.assert_close(own.running_var, peer.running_var)


def test_a_series_is_turned_round_within_its_own_length():
    rows = torch.arange(6.0).view(1, 6, 1).repeat(2, 1, 1)
    turned = backwards(rows, torch.tensor([6, 4]))[:, :, 0]
    assert turned[0].tolist() == [5, 4, 3, 2, 1, 0]
    assert turned[1, :4].tolist() == [3, 2, 1, 0]


def test_tst_refuses_longer_series_than_it_has_positions_for(series):
    with pytest.raises(UserError, match="up to 16 steps, not 24"):
        made("tst", steps=16)(series)
