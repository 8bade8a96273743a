"""HuBERT: its units, what is predicted of them, and the second part of a run."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from selfray.errors import UserError
from selfray.objectives.hubert import HuBERT, described
from selfray.parts.clustering import StreamingKMeans
from selfray.parts.spans import random_spans
from selfray.parts.spectrum import deltas
from selfray.views.audio import waveform
from selfray.views.random import OBJECTIVE, sample_keys, uniform

sys.path.insert(0, str(Path(__file__).parents[1]))
import sounds
from workers import together

SETTINGS = {"clusters": 6, "width": 16, "span": 3, "share": 0.1}


def made(**settings):
    torch.manual_seed(0)
    return HuBERT(sounds.encoder("wav2vec2", layers=2), **(SETTINGS | settings))


def inputs(count=4, seed=0):
    return waveform(sounds.waves(count, seed=seed)), sample_keys(torch.arange(count), seed, 0)


def test_the_loss_is_the_cross_entropy_of_cosines_at_hidden_positions():
    model, (waves, keys) = made().eval(), inputs()
    with torch.no_grad():
        loss, _ = model.loss(waves, keys)
        local, counted = model.encoder.local(waves)
        hidden = random_spans(keys, OBJECTIVE, counted, 0.1, 3)
        context = model.project(model.encoder.context(local, counted, hidden, model.token))
        codes = model._codes(waves, counted, keys)
        errors = [
            cross_entropy(cosine_similarity(context[b, p][None], model.units) / 0.1, codes[b, p])
            for b, p in hidden.nonzero().tolist()
        ]
    torch.testing.assert_close(loss, torch.stack(errors).mean(), rtol=1e-5, atol=1e-5)


def test_units_of_the_first_part_are_the_nearest_centres_of_mfccs():
    model, (waves, keys) = made(), inputs()
    _, counted = model.encoder.local(waves)
    rows = described(model.front, waves).flatten(0, 1)
    draws = uniform(keys, OBJECTIVE + 1, counted.shape[1]).flatten()
    chosen = torch.where(counted.flatten(), draws, 9.0).argsort()[:6]
    expected = torch.cdist(rows, rows[chosen]).argmin(1)
    assert torch.equal(model._codes(waves, counted, keys).flatten(), expected)


def test_centres_are_means_of_all_rows_that_were_ever_assigned_to_them():
    means = StreamingKMeans(3, 2)
    sums, counts = torch.zeros(3, 2), torch.zeros(3)
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        rows, draws = torch.randn(20, 2, generator=generator), torch.rand(20, generator=generator)
        counted = torch.arange(20) < 15
        before = means.centres.clone() if step else rows[draws[:15].argsort()[:3]]
        own = means(rows, counted, draws)
        assert torch.equal(own, torch.cdist(rows, before).argmin(1))
        for row, centre in zip(rows[:15], own[:15], strict=True):
            sums[centre] += row
            counts[centre] += 1
        known = counts > 0
        torch.testing.assert_close(means.centres[known], sums[known] / counts[known, None])


def test_differences_are_slopes_of_straight_lines():
    line = torch.arange(10.0)[None, :, None] * torch.tensor([2.0, -1.0])
    torch.testing.assert_close(deltas(line)[:, 2:-2], torch.tensor([2.0, -1.0]).expand(1, 6, 2))


def test_the_second_part_takes_units_from_a_layer_of_the_network_as_it_was():
    model, (waves, keys) = made(layer=1, second=0.5), inputs()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.after_step(0.4)
    assert int(model.part) == 1
    model.after_step(0.5)
    assert int(model.part) == 2
    kept = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    with torch.no_grad():
        model.encoder.network.feature_projection.projection.weight.zero_()
    model.after_step(0.6)
    teacher = model.teacher.state_dict()
    assert "network.encoder.layers.0.layer_norm.weight" in teacher
    assert not any(name.startswith("network.encoder.layers.1") for name in teacher)
    assert all(torch.equal(value, kept[name]) for name, value in teacher.items())
    loss, scalars = model.loss(waves, keys)
    assert torch.isfinite(loss)
    assert scalars["part"] == 2
    assert model.of_features.counts.sum() == model.encoder.local(waves)[1].sum()


def test_a_loaded_state_goes_on_in_the_second_part():
    first, second = made(second=0.5), made(second=0.5)
    second.loss(*inputs())
    first.after_step(0.5)
    second.load_state_dict(first.state_dict())
    assert second.loss(*inputs())[1]["part"] == 2


def worker(rank, world):
    model, (waves, keys) = made(), inputs()
    own = slice(rank * 4 // world, (rank + 1) * 4 // world)
    for _ in range(2):
        loss, _ = model.loss(waves[own], keys[own])
    loss.backward()
    return loss.detach(), model.of_sound.centres, model.units.grad


def test_two_workers_equal_one():
    alone, both = worker(0, 1), together(2, worker, 2)
    torch.testing.assert_close(sum(one[0] for one in both) / 2, alone[0])
    torch.testing.assert_close(sum(one[2] for one in both) / 2, alone[2])
    for one in both:
        torch.testing.assert_close(one[1], alone[1])


def test_encoders_that_cannot_are_refused():
    with pytest.raises(UserError, match="no layers to take features from"):
        HuBERT(sounds.encoder("cpc"))
    with pytest.raises(UserError, match=r"objective\.layer is 3, but the encoder has 2 layers"):
        made(layer=3)
