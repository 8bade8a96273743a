"""Objectives on sound against their papers and transformers."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import pad

from selfray.encoders.inputs import audio
from selfray.errors import UserError
from selfray.objectives.best_rq import BestRQ
from selfray.objectives.cpc import CPC, info_nce_ahead
from selfray.objectives.denoising import Denoising
from selfray.objectives.masked import Masked
from selfray.objectives.separation import mixture_parts, separated
from selfray.objectives.simclr import SimCLR
from selfray.objectives.wav2vec2 import Wav2Vec2
from selfray.parts.losses import classified
from selfray.parts.spans import random_others, random_spans
from selfray.parts.spectrum import levelled
from selfray.train import rules
from selfray.views.random import sample_keys

sys.path.insert(0, str(Path(__file__).parents[1]))
import sounds


def keys(count, seed=0):
    return sample_keys(torch.arange(count), seed, 0)


def inputs(count, **options):
    return audio(sounds.waves(count, **options), ())


def peer(objective):
    """transformers' model with the objective's weights."""
    from transformers import Wav2Vec2ForPreTraining

    config = objective.encoder.network.config
    config.mask_time_prob, config.proj_codevector_dim, config.codevector_dim = 0.05, 16, 8
    config.num_codevectors_per_group, config.num_codevector_groups, config.feat_quantizer_dropout = 6, 2, 0.0
    config.apply_spec_augment = True
    other = Wav2Vec2ForPreTraining(config)
    other.wav2vec2.load_state_dict(objective.encoder.network.state_dict(), strict=False)
    quantizer = objective.quantizer
    with torch.no_grad():
        other.wav2vec2.masked_spec_embed.copy_(objective.token)
        other.quantizer.codevectors.copy_(quantizer.vectors.flatten(0, 1)[None])
        other.quantizer.weight_proj.load_state_dict(quantizer.choose.state_dict())
        other.project_hid.load_state_dict(objective.project_context.state_dict())
        other.project_q.load_state_dict(objective.project_codes.state_dict())
    return other


def test_wav2vec2_equals_transformers_on_the_same_masks_negatives_and_noise():
    torch.manual_seed(0)
    encoder = sounds.encoder("wav2vec2", layers=2)
    settings = {"codes": 6, "code_width": 8, "width": 16, "negatives": 5, "span": 4, "feature_gradient": 1.0}
    objective = Wav2Vec2(encoder, share=0.1, **settings)
    waves = inputs(3, ragged=False)
    local, counted = encoder.local(waves)
    positions = local.shape[1]
    hidden = random_spans(keys(3), 0, counted, 0.1, 4)
    others = random_others(keys(3), 1, hidden, 5)
    torch.manual_seed(1)
    noise = torch.empty(3 * positions * 2, 6).exponential_()
    loss, scalars = objective.compared(local, counted, hidden, others, (-noise).exp().view(3, positions, 12))

    other = peer(objective).train()
    padded = pad(levelled(waves, torch.full((3,), sounds.LENGTH)), (40, 40))
    torch.manual_seed(1)
    index = others + positions * torch.arange(3)[:, None, None]
    theirs = other(padded, mask_time_indices=hidden, sampled_negative_indices=index)
    count = hidden.sum()
    torch.testing.assert_close(loss, theirs.loss / count, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scalars["contrastive"], theirs.contrastive_loss / count, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scalars["diversity"], theirs.diversity_loss / count, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scalars["code_perplexity"], theirs.codevector_perplexity.detach(), rtol=1e-5, atol=1e-5)

    loss.backward()
    (theirs.loss / count).backward()
    for mine, its in [
        (objective.project_context, other.project_hid),
        (objective.project_codes, other.project_q),
        (encoder.network.feature_projection.projection, other.wav2vec2.feature_projection.projection),
    ]:
        torch.testing.assert_close(mine.weight.grad, its.weight.grad, rtol=1e-3, atol=1e-5)


def test_the_gumbel_temperature_falls_to_its_end_and_is_in_the_state():
    objective = Wav2Vec2(sounds.encoder("wav2vec2"), gumbel=2.0, gumbel_end=0.5, gumbel_decay=0.5)
    found = []
    for step in range(4):
        objective.after_step(step / 4)
        found.append(float(objective.state_dict()["gumbel"]))
    assert found == [1.0, 0.5, 0.5, 0.5]


def naive_cpc(predicted, local, counted, negatives, places):
    losses = []
    for b in range(len(local)):
        for t in range(local.shape[1]):
            for k in range(predicted.shape[2]):
                target = t + k + 1
                if target >= local.shape[1] or not counted[b, target]:
                    continue
                scores = [(predicted[b, t, k] * local[b, target]).mean()]
                scores += [
                    (predicted[b, t, k] * negatives[b, n]).mean()
                    for n in range(negatives.shape[1])
                    if places[b, n] != target
                ]
                losses.append(-torch.log_softmax(torch.stack(scores), 0)[0])
    return torch.stack(losses).mean()


def test_cpc_is_the_papers_triple_loop():
    torch.manual_seed(0)
    predicted, local = torch.randn(2, 6, 3, 4).double() * 3, torch.randn(2, 6, 4).double()
    counted = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    negatives, places = torch.randn(2, 5, 4).double(), torch.tensor([[1, 2, -1, 4, 5], [-1, 2, 3, 0, 3]])
    loss, _ = info_nce_ahead(predicted, local, counted, negatives, places)
    expected = naive_cpc(predicted, local, counted, negatives, places)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("source", ["same", "other", "all"])
def test_negatives_come_from_where_they_should(source):
    objective = CPC(sounds.encoder("cpc"), negatives=2000, source=source)
    counts = torch.tensor([30, 10, 20, 25])
    rows, places = objective._drawn(keys(4), counts, 30)
    mine = torch.arange(4)[:, None]
    assert (places < counts[rows]).all()
    if source == "same":
        assert (rows == mine).all()
    elif source == "other":
        assert (rows != mine).all()
        assert all(row.unique().numel() == 3 for row in rows)
    else:
        assert all(row.unique().numel() == 4 for row in rows)


@pytest.mark.parametrize("source", ["same", "other", "all"])
def test_cpc_with_any_negatives_is_finite_on_sounds_of_unequal_length(source):
    torch.manual_seed(0)
    objective = CPC(sounds.encoder("cpc"), ahead=3, source=source)
    loss, scalars = objective.loss(inputs(4), keys(4))
    loss.backward()
    assert torch.isfinite(loss)
    assert 0 <= scalars["accuracy"] <= 1


def test_best_rq_counts_hidden_positions_only():
    logits, codes = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    hidden = torch.tensor([[True, False, True, False, False], [False, True, False, False, False]])
    expected = torch.nn.functional.cross_entropy(logits[hidden], codes[hidden])
    torch.testing.assert_close(classified(logits, codes, hidden)[0], expected)


def test_best_rq_does_not_show_the_encoder_what_is_hidden():
    torch.manual_seed(0)
    encoder = sounds.encoder("meltransformer")
    seen = []
    encoder.encode = lambda rows, mask=None: seen.append(rows) or rows.new_zeros(2, 15, 32)
    objective = BestRQ(encoder, share=0.1, span=3, noise=0.0, codes=16)
    waves = inputs(2, ragged=False)
    objective.loss(waves, keys(2))
    hidden = random_spans(keys(2), 1 << 20, torch.ones(2, 15, dtype=torch.bool), 0.1, 3)
    assert (seen[0].unflatten(1, (15, 2))[hidden] == 0).all()
    rows = encoder.rows(waves).unflatten(1, (15, 2))
    assert torch.equal(seen[0].unflatten(1, (15, 2))[~hidden], rows[~hidden])


def test_masked_reconstruction_works_on_mel_frames_and_leaves_padding_out():
    torch.manual_seed(0)
    objective = Masked(sounds.encoder("meltransformer"), ratio=0.3, run=7.0, each="step", distance="absolute")
    optimizer = torch.optim.AdamW(objective.parameters(), 3e-3)
    waves, losses = inputs(4), []
    for _ in range(30):
        loss, _ = objective.loss(waves, keys(4))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.85 * losses[0]
    longer = pad(waves, (0, 1600))
    objective.eval()
    assert torch.isfinite(objective.loss(longer, keys(4))[0])


@pytest.mark.parametrize("name", ["melconv", "cpc", "wav2vec2", "meltransformer"])
def test_contrastive_objectives_run_on_every_encoder_of_sound(name):
    torch.manual_seed(0)
    objective = SimCLR(sounds.encoder(name), width=8)
    loss, _ = objective.loss(inputs(4), inputs(4, seed=1))
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CPC(sounds.encoder("wav2vec2")), "predicts the future, which encoder 'wav2vec2' sees"),
        (lambda: CPC(sounds.encoder("melconv")), "encoder 'melconv' does not tell; use encoder.name=wav2vec2"),
        (lambda: CPC(sounds.encoder("cpc"), ahead=40), "needs views of more than 40 positions, these have 30"),
        (lambda: Wav2Vec2(sounds.encoder("cpc")), "fills gaps from both sides"),
        (lambda: Wav2Vec2(sounds.encoder("wav2vec2"), groups=3), "groups 3 does not divide objective.code_width 256"),
        (lambda: BestRQ(sounds.encoder("cpc")), "objective 'best_rq' works on rows"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(make, sentence):
    with pytest.raises(UserError, match=sentence):
        make()


def test_denoising_learns_to_take_noise_out_of_sounds_it_has_not_seen():
    torch.manual_seed(0)
    objective = Denoising(sounds.encoder("melconv"), lowest=0.0, highest=10.0, hidden=64)
    optimizer = torch.optim.AdamW(objective.parameters(), 3e-3)
    for step in range(40):
        loss, _ = objective.loss(inputs(8, seed=step), keys(8, step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        assert objective.eval().loss(inputs(8, seed=999), keys(8, 999))[1]["si_sdr_improvement"] > 1


def test_a_mixture_has_different_samples_at_the_asked_levels():
    waves = inputs(5, ragged=False)
    parts = mixture_parts(waves, keys(5), 3, 0.0)
    assert parts.shape == (5, 3, sounds.LENGTH)
    power = parts.square().mean(2)
    torch.testing.assert_close(power, power[:, :1].expand(-1, 3), rtol=1e-3, atol=0)
    units = torch.nn.functional.normalize(parts, dim=2)
    closeness = units @ units.mT - torch.eye(3)
    assert closeness.abs().max() < 0.99


def test_separation_does_not_depend_on_the_order_of_the_sources():
    torch.manual_seed(0)
    found, parts = torch.randn(2, 3, 2, 400)
    every = torch.ones(3, 400, dtype=torch.bool)
    loss, _ = separated(found, parts, parts.sum(1), every)
    other, _ = separated(found.flip(1), parts, parts.sum(1), every)
    torch.testing.assert_close(loss, other)


def test_codes_that_collapse_are_noticed():
    assert not rules.warnings({"train/code_perplexity": 30.0}, 8)
    (sentence,) = rules.warnings({"train/code_perplexity": 2.1}, 8)
    assert "code_perplexity is 2.1: nearly all positions have the same codes" in sentence
