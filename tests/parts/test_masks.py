"""Masks: what is hidden, how often, and that the same keys hide the same."""

import pytest
import torch

from selfray.parts.masks import chosen, most_in_a_box, random_boxes, random_order, split
from selfray.parts.patches import patchify, unpatchify
from selfray.views.random import normal, sample_keys, uniform


def keys(count, seed=0, epoch=0):
    return sample_keys(torch.arange(count), seed, epoch)


@pytest.mark.parametrize(("positions", "ratio", "kept"), [(196, 0.75, 49), (49, 0.75, 12), (2, 0.9, 1), (10, 0.01, 9)])
def test_a_ratio_hides_the_rest_of_the_floor_of_what_stays(positions, ratio, kept):
    keep, hidden = split(random_order(keys(5), 0, positions), ratio)
    assert keep.shape == (5, kept)
    assert torch.equal(torch.cat([keep, hidden], 1).sort(1).values, torch.arange(positions).expand(5, -1))


def test_every_position_is_hidden_equally_often_and_independently_of_its_neighbour():
    _, hidden = split(random_order(keys(20_000), 0, 16), 0.75)
    mask = torch.zeros(20_000, 16).scatter(1, hidden, 1.0)
    assert (mask.mean(0) - 0.75).abs().max() < 0.015  # five deviations
    together = (mask[:, 3] * mask[:, 4]).mean()
    assert together == pytest.approx(12 / 16 * 11 / 15, abs=0.02)


def test_the_same_keys_hide_the_same_and_others_do_not():
    order = random_order(keys(8), 0, 64)
    assert torch.equal(order, random_order(keys(8), 0, 64))
    assert torch.equal(order[3:5], random_order(keys(8)[3:5], 0, 64))  # in any batch
    for other in (random_order(keys(8, epoch=1), 0, 64), random_order(keys(8, seed=1), 0, 64)):
        assert not (order == other).all(1).any()


@pytest.mark.parametrize("grid", [(14, 14), (8, 20), (50,)])
def test_boxes_have_the_share_the_aspect_and_every_place_of_the_definition(grid):
    share, ratio = (0.15, 0.2), (0.75, 1.5)
    mask = random_boxes(keys(3000), 7, 2, grid, share, ratio)
    H, W = (1, *grid)[-2:]
    assert mask.shape == (3000, 2, H, W)
    heights, widths = mask.any(3).sum(2), mask.any(2).sum(2)
    assert torch.equal(mask.sum((2, 3)), heights * widths)  # solid boxes
    area = (heights * widths).float() / (H * W)
    assert area.mean() == pytest.approx(0.175, abs=0.01)
    assert share[0] - 0.05 < area.min()
    assert area.max() < share[1] + 0.05
    assert mask.sum((2, 3)).max() <= most_in_a_box(grid, share[1], ratio)
    edges = mask.flatten(0, 1).any(0)
    assert edges.all()  # the last row and column too
    if len(grid) == 2:
        aspect = (heights.float() / widths).log()
        assert aspect.mean() == pytest.approx(torch.tensor([0.75, 1.5]).log().mean().item(), abs=0.06)
        assert torch.corrcoef(torch.stack([area.flatten(), aspect.flatten()]))[0, 1].abs() < 0.1


def test_places_of_a_box_are_even():
    mask = random_boxes(keys(20_000), 1, 1, (1, 5), (0.4, 0.4), (0.5, 0.5))[:, 0, 0]
    starts = mask.float().argmax(1).bincount(minlength=4) / 20_000
    assert (starts[:4] - 0.25).abs().max() < 0.02


def test_chosen_positions_are_those_of_the_mask_filled_up_to_a_fixed_number():
    mask = torch.tensor([[False, True, False, True], [False, False, False, True], [True, True, True, True]])
    numbers, real = chosen(mask, 3)
    assert real.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert numbers[0, :2].tolist() == [1, 3]
    assert numbers[1, 0] == 3
    dropped = {
        tuple(sorted(chosen(mask[2:], 3, random_order(keys(1, seed=s), 0, 4))[0][0].tolist())) for s in range(60)
    }
    assert len(dropped) == 4


@pytest.mark.parametrize(("shape", "patch"), [((2, 3, 8, 12), 4), ((2, 5, 12), 3)])
def test_patches_come_back_as_they_were_and_are_row_major_with_channels_last(shape, patch):
    inputs = torch.rand(shape)
    rows = patchify(inputs, patch)
    grid = tuple(side // patch for side in shape[2:])
    torch.testing.assert_close(unpatchify(rows, grid, patch), inputs)
    corner = (slice(0, patch),) * (len(shape) - 3)
    second = inputs[(slice(None), slice(None), *corner, slice(patch, 2 * patch))]
    assert torch.equal(rows[:, 1], second.movedim(1, -1).flatten(1))


def test_normal_numbers_are_normal_and_repeat():
    from scipy.stats import kstest

    draws = normal(keys(200), 3, 500)
    assert torch.equal(draws, normal(keys(200), 3, 500))
    assert torch.isfinite(draws).all()
    assert kstest(draws.flatten().numpy(), "norm").pvalue > 1e-3
    assert torch.equal(draws > 0, uniform(keys(200), 3, 500) >= 0.5)
