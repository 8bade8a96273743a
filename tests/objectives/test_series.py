"""Masked reconstruction, T-Loss, TS-TCC, TNC and forecasting against their papers, written out."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy, log_softmax

from selfray.encoders.conv1d import Conv1d
from selfray.encoders.dilated import Dilated
from selfray.encoders.tst import TST
from selfray.errors import UserError
from selfray.objectives.forecasting import Forecasting, last_values
from selfray.objectives.masked import Masked
from selfray.objectives.tnc import TNC, distant, neighbourhood_loss
from selfray.objectives.triplet import Triplet, any_part, other_rows, parts, triplet_terms
from selfray.objectives.ts_tcc import TSTCC, future, future_contrast
from selfray.parts.runs import geometric_runs
from selfray.parts.stationarity import dickey_fuller, is_stationary
from selfray.views.random import sample_keys

KEYS = sample_keys(torch.arange(4000), 0, 0)
NAN = float("nan")


def small(**settings):
    torch.manual_seed(0)
    return Dilated(2, (20,), width=8, hidden=4, depth=3, dropout=0.0, **settings)


def test_masked_runs_are_geometric_with_the_papers_share_and_length():
    mask = geometric_runs(KEYS, 0, 100, 1, ratio=0.15, mean_run=3.0)[:, :, 0]
    assert mask.float().mean().item() == pytest.approx(0.15, abs=0.005)
    assert mask[:, 0].float().mean().item() == pytest.approx(0.15, abs=0.02)
    starts = mask[:, 1:] & ~mask[:, :-1]
    whole = mask[:, 1:-1] & ~mask[:, :-2]  # of runs that begin and may end within
    follow = (mask[:, 2:] & mask[:, 1:-1]).sum() / mask[:, 1:-1].sum()
    assert follow.item() == pytest.approx(1 - 1 / 3, abs=0.01)
    assert starts.sum() / (~mask[:, :-1]).sum() == pytest.approx(0.15 / 0.85 / 3, abs=0.005)
    assert whole.any()


def test_columns_are_masked_by_themselves():
    mask = geometric_runs(KEYS[:500], 0, 40, 2, ratio=0.5, mean_run=3.0)
    agree = (mask[:, :, 0] == mask[:, :, 1]).float().mean()
    assert agree.item() == pytest.approx(0.5, abs=0.05)


def test_masked_error_is_that_of_hidden_and_known_values():
    model = Masked(small(), ratio=0.3, run=2.0).eval()
    series = torch.randn(6, 20, 2)
    series[1, 12:], series[2, 3:6, 0] = NAN, NAN
    loss, scalars = model.loss(series, KEYS[:6])
    with torch.no_grad():
        rows, hidden, predicted = model._predicted(series, KEYS[:6])
    errors = [
        float((predicted[i, t, c] - rows[i, t, c]) ** 2)
        for i in range(6)
        for t in range(20)
        for c in range(2)
        if hidden[i, t, c] and not math.isnan(series[i, t, c])
    ]
    assert loss.item() == pytest.approx(sum(errors) / len(errors), rel=1e-5)
    assert scalars["hidden"].item() == pytest.approx(len(errors) / 240)


def test_a_hidden_value_cannot_be_seen_and_runs_must_fit_the_share():
    model = Masked(TST(2, (20,), width=16, heads=2, patch=2), ratio=0.3, run=2.0, each="step").eval()
    series = torch.randn(6, 20, 2)
    _, hidden, predicted = model._predicted(series, KEYS[:6])
    _, _, again = model._predicted(torch.where(hidden, series + 3, series), KEYS[:6])
    torch.testing.assert_close(predicted, again)
    assert predicted.shape == series.shape
    with pytest.raises(UserError, match=r"set it to 5\.00 or more"):
        Masked(small(), ratio=0.8, run=3.0)


def test_triplet_is_equation_1_with_the_mean_over_negatives():
    reference, positive, negatives = torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 5, 4)
    near, far = triplet_terms(reference, positive, negatives)
    expected_near = -sum(math.log(1 / (1 + math.exp(-float(r @ p)))) for r, p in zip(reference, positive, strict=True))
    expected_far = -sum(
        math.log(1 / (1 + math.exp(float(r @ n)))) for r, row in zip(reference, negatives, strict=True) for n in row
    )
    assert near.item() == pytest.approx(expected_near / 3, rel=1e-4)
    assert far.item() == pytest.approx(expected_far / 15, rel=1e-4)


def test_a_positive_lies_in_its_reference_and_all_in_the_series():
    length = torch.tensor([1, 2, 9, 50]).repeat(1000)
    (start, reference), (within, positive) = parts(length, torch.rand(4000, 4))
    assert ((start >= 0) & (start + reference <= length) & (positive >= 1)).all()
    assert ((within >= start) & (within + positive <= start + reference)).all()
    begin, own = any_part(length, torch.rand(4000, 2))
    assert ((begin >= 0) & (own >= 1) & (begin + own <= length)).all()
    assert positive[3::4].float().mean().item() == pytest.approx(25.5, abs=1.5)  # uniform in 1 to 50


def test_negatives_are_never_parts_of_the_series_itself():
    others = other_rows(torch.rand(8, 200), before=8, total=24)
    assert set(others[3].tolist()) == set(range(24)) - {11}
    assert other_rows(torch.rand(1, 3), 0, 1).tolist() == [[0, 0, 0]]
    loss, _ = Triplet(small()).loss(torch.randn(6, 20, 2), KEYS[:6])
    assert torch.isfinite(loss)


def test_future_contrast_picks_the_own_past_among_all():
    predicted, futures = torch.randn(2, 4, 3, 5)
    there = torch.ones(4, 3, dtype=torch.bool)
    expected = 0.0
    for k in range(3):
        scores = log_softmax(futures[:, k] @ predicted[:, k].T, dim=1)
        expected -= scores.diag().sum() / 12
    torch.testing.assert_close(future_contrast(predicted, futures, there), expected)
    there[1, 1:] = False
    assert torch.isfinite(future_contrast(predicted, futures, there))


def test_the_context_ends_where_the_future_begins():
    features = torch.arange(10.0).view(1, 10, 1)
    following, there = future(features, torch.tensor([5]), torch.tensor([8]), 4)
    assert following[0, :, 0].tolist() == [6, 7, 8, 9]
    assert there.tolist() == [[True, True, False, False]]
    torch.manual_seed(0)
    model = TSTCC(Conv1d(2, (64,), width=8, dropout=0.0), ahead=3, width=16, layers=1).eval()
    one, now = torch.randn(2, 8, 8), torch.tensor([3, 3])
    other = one.clone()
    other[:, 4:] = 0.5
    torch.testing.assert_close(model._context(one, now), model._context(other, now))
    before = model._now(torch.tensor([8, 8])).clone()
    draws = set()
    for _ in range(30):
        model.after_step(0.5)
        draws.add(int(model._now(torch.tensor([8, 8]))[0]))
    assert draws <= set(range(5))
    assert len(draws) > 2
    assert 0 <= int(before[0]) < 5


def test_the_neighbourhood_loss_is_equation_2():
    near, far, w = torch.randn(3, 4), torch.randn(3, 4), 0.05
    ones = torch.ones(3, 4)
    expected = binary_cross_entropy(near.sigmoid(), ones) / 2
    expected += w * binary_cross_entropy(far.sigmoid(), ones) / 2
    expected += (1 - w) * binary_cross_entropy(far.sigmoid(), 0 * ones) / 2
    torch.testing.assert_close(neighbourhood_loss(near, far, w), expected)


def test_distant_windows_are_distant_on_the_longer_side():
    start, last = torch.tensor([50, 10, 90, 2]), torch.tensor([100, 100, 100, 4])
    drawn = distant(start, last, torch.tensor([20.0] * 4), torch.rand(4, 300))
    assert drawn[0].min() >= 70
    assert drawn[1].min() >= 30
    assert drawn[2].max() <= 70
    assert set(drawn[3].tolist()) == {4}  # no room: the end of the longer side
    loss, scalars = TNC(small()).loss(torch.randn(6, 20, 2), KEYS[:6])
    assert torch.isfinite(loss)
    assert 1 <= scalars["reach"] <= 3


def test_the_statistic_is_that_of_least_squares():
    generator = np.random.default_rng(0)
    series = generator.normal(size=60).cumsum()
    change = np.diff(series)
    design = np.stack([np.ones(58), series[1:-1], change[:-1]], axis=1)
    slopes, residuals, *_ = np.linalg.lstsq(design, change[1:], rcond=None)
    error = np.sqrt(residuals[0] / 55 * np.linalg.inv(design.T @ design)[1, 1])
    statistic, count = dickey_fuller(torch.tensor(series)[None, :, None])
    assert statistic.item() == pytest.approx(slopes[1] / error, rel=1e-8)
    assert count.item() == 58


def test_noise_is_stationary_a_walk_and_a_constant_are_not():
    noise = torch.randn(200, 100, 1, generator=torch.Generator().manual_seed(0))
    assert is_stationary(noise).float().mean() > 0.99
    assert is_stationary(noise.cumsum(1)).float().mean() < 0.05
    assert not is_stationary(torch.ones(1, 100, 1)).any()
    assert not is_stationary(torch.full((1, 100, 1), NAN)).any()


def test_a_forecast_is_measured_from_the_last_known_value_on_known_steps():
    series = torch.arange(20.0)[None, :, None].repeat(4, 1, 2)
    series[1, 15:] = NAN
    encoder = small()
    model = Forecasting(encoder, horizon=3, past=4).eval()
    _, scalars = model.loss(series, KEYS[:4])
    assert scalars["error_of_the_last_value"].item() == pytest.approx((1 + 4 + 9) / 3)
    rows = torch.tensor([[[1.0, NAN], [2.0, 5.0], [NAN, NAN]]])
    assert last_values(rows).tolist() == [[[2.0, 5.0]]]
    with pytest.raises(UserError, match="need series of 30 steps"):
        Forecasting(encoder, horizon=26, past=4)
