"""Views of series: what each does, to whom, and that padding and gaps stay what they are."""

import pytest
import torch

from selfray.errors import UserError
from selfray.parts import warps
from selfray.parts.ragged import lengths
from selfray.views.random import sample_keys
from selfray.views.series import SeriesViews

NOTHING = {"crop": (1.0, 1.0), "time_warp": 0.0, "magnitude_warp": 0.0, "scale": 0.0, "jitter": 0.0}
KEYS = sample_keys(torch.arange(6), 0, 0)


@pytest.fixture
def series():
    """Six series of two channels and 30 steps; one is shorter, one has a gap in one channel."""
    rows = torch.stack([torch.arange(30.0) + 100 * i for i in range(6)])[:, :, None] * torch.tensor([1.0, -1.0])
    rows[1, 20:] = torch.nan
    rows[2, 5:8, 0] = torch.nan
    return rows


def first(series, keys=KEYS, **settings):
    return SeriesViews(**(NOTHING | settings)).make("pair", series, keys)["first"]


def same(one, other, **tolerance):
    torch.testing.assert_close(one, other, equal_nan=True, **tolerance)


def test_with_everything_off_a_view_is_the_series(series):
    same(first(series), series)


def test_a_crop_is_a_run_of_the_series_moved_to_the_front(series):
    seen = first(series, crop=(0.3, 0.6))
    for row, own, length in zip(seen, lengths(seen), lengths(series), strict=True):
        assert 0.3 * length - 1 <= own <= 0.6 * length + 1
        steps = row[:own, 1]
        same(steps, steps[0] - torch.arange(own))
    assert len({float(row[0, 1]) % 100 for row in seen}) > 1


def test_a_stretched_crop_has_the_length_of_its_series(series):
    assert lengths(first(series, crop=(0.3, 0.6), resize=True)).tolist() == lengths(series).tolist()


def test_a_time_warp_keeps_order_and_ends(series):
    seen = first(series, time_warp=0.5)
    same(seen[0, [0, 29]], series[0, [0, 29]])
    assert (seen[0, 1:, 0] > seen[0, :-1, 0]).all()
    assert (seen[0] - series[0]).abs().max() > 0.5
    assert lengths(seen).tolist() == lengths(series).tolist()


def test_a_permutation_moves_whole_pieces_and_all_channels_alike(series):
    seen = first(series, segments=4)
    for row, before, own in zip(seen, series, lengths(series), strict=True):
        same(row[:own, 1].sort().values, before[:own, 1].sort().values)
        assert ((row[1:own, 1] - row[: own - 1, 1]) != -1).sum() <= 3
    same(seen[0, :, 0], -seen[0, :, 1])
    assert (seen[0] != series[0]).any()


def test_each_step_or_each_channel_gets_its_own_factor(series):
    steps = first(series[:, :, :1].expand(-1, -1, 2), scale=1.1, scale_mean=2.0, scale_each="step")
    same(steps[0, :, 0], steps[0, :, 1])
    channels = first(series + 1, scale=1.1)[0] / (series[0] + 1)
    same(channels[2:], channels[2:3].expand(28, -1), rtol=1e-4, atol=1e-4)
    many = torch.ones(400, 50, 1)
    factors = first(many, keys=sample_keys(torch.arange(400), 0, 0), scale=1.1, scale_mean=2.0, scale_each="step")
    assert factors.mean().item() == pytest.approx(2.0, abs=0.03)
    assert factors.std().item() == pytest.approx(1.1, abs=0.03)


def test_noise_is_in_deviations_of_the_channel():
    rows = torch.randn(200, 60, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 100.0])
    noise = first(rows, keys=sample_keys(torch.arange(200), 0, 0), jitter=0.5) - rows
    assert noise.std((0, 1)).tolist() == pytest.approx([0.5, 50.0], rel=0.05)


def test_a_frequency_that_is_taken_out_is_gone_and_the_mean_stays():
    time = torch.arange(32) / 32 * 2 * torch.pi
    rows = (3 + torch.sin(2 * time) + torch.sin(5 * time))[None, :, None]
    gone = torch.zeros(1, 32, dtype=torch.bool)
    gone[0, 4] = True  # the fifth frequency
    same(warps.without_frequencies(rows, gone), (3 + torch.sin(2 * time))[None, :, None], atol=1e-5, rtol=0)


def test_gaps_stay_gaps_and_padding_stays_padding(series):
    seen = first(series, magnitude_warp=0.2, scale=0.2, jitter=0.1, frequencies=0.2)
    assert torch.equal(seen.isnan(), series.isnan())
    more = first(series, missing=0.3).isnan()[0].all(1).float().mean()
    assert 0.05 < more < 0.6


def test_the_same_keys_give_the_same_view_in_any_batch_and_each_sample_has_its_own(series):
    settings = {"crop": (0.5, 1.0), "time_warp": 0.2, "jitter": 0.1, "segments": 3, "frequencies": 0.1}
    whole = first(series, **settings)
    same(first(series[2:4], keys=KEYS[2:4], **settings), whole[2:4])
    equal = first(series[:1].expand(6, -1, -1), **settings)
    assert len({tuple(row.flatten().nan_to_num(-1).tolist()) for row in equal}) == 6


def test_the_second_view_has_its_own_settings(series):
    views = SeriesViews(**NOTHING, second={"jitter": 0.5})
    pair = views.make("pair", series, KEYS)
    same(pair["first"], series)
    assert (pair["second"] - series).nan_to_num().abs().max() > 0.1


def test_local_crops_are_short(series):
    local = SeriesViews(**NOTHING, local_crops=3, local_crop=(0.1, 0.3)).make("multi_crop", series, KEYS)["local"]
    assert local.shape == (3, *series.shape)
    assert lengths(local.flatten(0, 1)).max() <= 9


def test_a_wrong_setting_is_named():
    with pytest.raises(UserError, match="did you mean 'jitter'"):
        SeriesViews(second={"jiter": 0.1})
    with pytest.raises(UserError, match="crop should have the smaller number first"):
        SeriesViews(crop=(0.9, 0.1))
