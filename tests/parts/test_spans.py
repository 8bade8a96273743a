"""Hidden spans, negatives and codes against their definitions and transformers."""

import torch
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from selfray.parts.quantizer import ProductQuantizer, RandomQuantizer, perplexity
from selfray.parts.spans import random_others, random_spans
from selfray.views.random import sample_keys

KEYS = sample_keys(torch.arange(2000), 0, 0)


def test_spans_hide_what_the_definition_hides():
    counted = torch.ones(2000, 100, dtype=torch.bool)
    ours = random_spans(KEYS, 0, counted, 0.065, 10)
    theirs = [_compute_mask_indices((10, 100), 0.65, 10, min_masks=1).mean() for _ in range(200)]  # rounded each call
    assert abs(ours.float().mean() - sum(theirs) / 200) < 0.01
    assert torch.equal(ours, random_spans(KEYS, 0, counted, 0.065, 10))
    begins = ours & ~torch.nn.functional.pad(ours, (1, 0))[:, :-1]
    for row, start in begins.nonzero()[:200].tolist():
        assert ours[row, start : start + 10].all()
        assert start <= 90


def test_spans_stay_within_each_samples_length_and_there_is_one_at_least():
    own = torch.arange(2000) % 60 + 1
    counted = torch.arange(60) < own[:, None]
    hidden = random_spans(KEYS, 0, counted, 0.01, 10)
    assert not (hidden & ~counted).any()
    assert (hidden.sum(1) >= torch.minimum(own, torch.tensor(10))).all()


def test_negatives_are_other_hidden_positions_of_the_same_sample_evenly():
    hidden = torch.zeros(2000, 8, dtype=torch.bool)
    hidden[:, [1, 2, 5, 7]] = True
    others = random_others(KEYS, 0, hidden, 6)
    for place, rest in {1: {2, 5, 7}, 2: {1, 5, 7}, 7: {1, 2, 5}}.items():
        found, count = others[:, place].unique(return_counts=True)
        assert set(found.tolist()) == rest
        assert (count / 12_000 - 1 / 3).abs().max() < 0.02
    alone = random_others(KEYS[:1], 0, torch.tensor([[False, True, False]]), 4)
    assert (alone[0, 1] == 1).all()


def test_the_gumbel_noise_is_finite_for_the_smallest_and_the_largest_number_that_is_drawn():
    """One of 16 million draws is either, and a step of wav2vec 2.0 has more than a million draws."""
    quantizer = ProductQuantizer(4, 6, 2, 3)
    for draw in (0.0, 1 - 2.0**-24):
        draws = torch.full((2, 5, 6), 0.5)
        draws[0, 0, 1] = draw
        found = quantizer(torch.randn(2, 5, 4), torch.tensor(2.0), draws)
        found.values.sum().backward()
        assert found.values.isfinite().all()
        assert all(one.grad.isfinite().all() for one in quantizer.parameters())


def test_gumbel_codes_follow_the_probabilities_and_values_are_the_codes_vectors():
    torch.manual_seed(0)
    quantizer = ProductQuantizer(4, 6, 2, 3)
    features = torch.randn(1, 1, 4).expand(4000, 1, 4)
    found = quantizer(features, torch.tensor(2.0), torch.rand(4000, 1, 6))
    for group in range(2):
        share = found.codes[:, 0, group].bincount(minlength=3) / 4000
        torch.testing.assert_close(share, found.probabilities[0, 0, group].detach(), atol=0.03, rtol=0)
    expected = torch.cat([quantizer.vectors[g, found.codes[7, 0, g]] for g in range(2)])
    torch.testing.assert_close(found.values[7, 0], expected)
    found.values.sum().backward()
    assert quantizer.choose.weight.grad.abs().sum() > 0


def test_perplexity_goes_from_the_number_of_groups_to_that_of_codes():
    counted = torch.tensor([[True, True, False]])
    one = torch.zeros(1, 3, 2, 4)
    one[..., 0] = 1
    torch.testing.assert_close(perplexity(one, counted), torch.tensor(2.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        perplexity(torch.full((1, 3, 2, 4), 0.25), counted), torch.tensor(8.0), atol=1e-4, rtol=0
    )


def test_random_codes_are_the_nearest_vectors_and_have_no_parameters():
    torch.manual_seed(0)
    quantizer = RandomQuantizer(5, 3, 50)
    values = torch.randn(40, 5)
    assert not list(quantizer.parameters())
    projected = torch.nn.functional.normalize(values @ quantizer.projection, dim=1)
    assert torch.equal(quantizer(values), torch.cdist(projected, quantizer.vectors).argmin(1))
    assert quantizer(values).unique().numel() > 15
