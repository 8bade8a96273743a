"""Forecasts, gaps and alarms on sines and random walks whose answers are known, and formulas against plain loops."""

import json
import math

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.linear_model import Ridge

from selfray import gate
from selfray.corpus.ingest import prepare
from selfray.corpus.manifest import Manifest
from selfray.encoders.dilated import Dilated
from selfray.encoders.encoder import Encoder
from selfray.encoders.tst import TST
from selfray.errors import UserError
from selfray.evaluation import alarms, regression
from selfray.evaluation.compare import compare
from selfray.evaluation.steps import Steps, Windows, carried, ends, interpolated
from selfray.probes.anomaly import Anomaly
from selfray.probes.forecasting import Forecasting
from selfray.probes.imputation import Imputation, gaps
from selfray.report.sections import learned
from selfray.summary import table
from selfray.views import find as views_of

PERIOD = 16


def windows(make, count=60, steps=64):
    train, test = (make(np.random.default_rng(seed), count, steps).astype(np.float32) for seed in (0, 1))
    return Windows(train, test, np.zeros(train.shape[2], np.float32), np.ones(train.shape[2], np.float32))


def sines(random, count, steps):
    phase = random.uniform(0, 2 * np.pi, size=(count, 1))
    return np.sin(2 * np.pi * np.arange(steps) / PERIOD + phase)[:, :, None]


def walks(random, count, steps):
    return random.normal(size=(count, steps, 1)).cumsum(1)


def noise(random, count, steps):
    return random.normal(size=(count, steps, 2))


class Told(Encoder):
    """A position's features: its own values, those before it, and the sum over the whole input; 0 where missing."""

    kind = "series"

    def __init__(self, channels, size):
        super().__init__(channels, size)
        self.width, self.stride = 3 * channels, 1

    def forward(self, inputs, mask=None):
        values = inputs.nan_to_num()
        before = torch.nn.functional.pad(values, (0, 0, 1, 0))[:, :-1]
        own = values if mask is None else torch.where(mask[:, :, None], before, values)
        return torch.cat([own, before, own.sum(1, keepdim=True).expand_as(own)], dim=2)


def told(data):
    return Steps(Told(data.train.shape[2], data.train.shape[1:2]), data)


def named(scores):
    return {score.part: score for score in scores}


def test_a_sine_is_forecast_from_its_past_and_by_its_period_but_not_by_its_last_value():
    data = windows(sines)
    found = Forecasting(horizons=(1, 8), period=PERIOD, pasts=600).over_time(data, None)
    assert [score.metric for score in found] == ["MSE at 1 step", "MSE at 8 steps", "MAE at 1 step", "MAE at 8 steps"]
    assert [score.part for score in found] == ["", "mse8", "mae1", "mae8"]
    for score in found:
        assert not score.higher_is_better
        assert score.interval[0] <= score.value <= score.interval[1]
        assert score.value < 1e-2
        assert score.beside["last period"] < 1e-5
    eight = named(found)["mse8"].beside["last value"]
    expected = np.mean([1 - math.cos(2 * np.pi * step / PERIOD) for step in range(1, 9)])
    assert eight == pytest.approx(expected, rel=0.1)
    two_values = named(Forecasting(horizons=(1, 8)).over_time(data, told(data)))
    assert two_values[""].value < 1e-2  # a sine's next value is a line through two


def test_a_random_walk_is_forecast_by_its_last_value_alone():
    data = windows(walks, count=400)
    found = Forecasting(horizons=(1, 4), context=20, pasts=1000).over_time(data, None)
    for score, steps in zip(found[:2], (1, 4), strict=True):
        expected = np.mean(np.arange(1, steps + 1))  # the variance of a sum of so many steps
        assert score.beside["last value"] == pytest.approx(expected, rel=0.15)
        assert score.value == pytest.approx(expected, rel=0.15)


def test_a_forecast_sees_no_value_behind_the_end_of_its_past():
    data = windows(noise)
    (score, *_) = Forecasting(horizons=(1,), pasts=600).over_time(data, told(data))
    assert score.value == pytest.approx(1, rel=0.15)  # the sum over the whole window would tell the next value
    later = Windows(data.train, data.test.copy(), data.mean, data.std)
    probe = Forecasting(horizons=(4,), pasts=300)
    pasts = probe._pasts(data.test, "test")
    later.test[0, pasts.end[pasts.window == 0].max() :] += 100
    encoder = Dilated(2, (64,), width=8, hidden=8, depth=3)  # looks both ways
    seen = [probe._features(part.test, pasts, Steps(encoder, data)) for part in (data, later)]
    assert np.array_equal(*seen)


def test_features_of_a_past_that_ends_in_a_gap_are_those_of_its_last_value():
    data = windows(noise, count=3)
    gapped = data.test.copy()
    gapped[1, 30:] = np.nan
    for encoder in (Dilated(2, (64,), width=8, hidden=8, depth=3), TST(2, (64,), width=8, heads=2, patch=4)):
        steps = Steps(encoder, data)
        assert np.allclose(steps.last(gapped)[1], steps.last(data.test[1:2, :30])[0], atol=1e-5)


def test_changes_are_forecast_where_the_level_is_gone():
    data = windows(walks, count=200)
    level_free = Dilated(1, (64,), width=8, hidden=8, depth=3, instance=True)
    steps = Steps(level_free, data)
    values, changes = (
        Forecasting(horizons=(1,), change=change, pasts=600).over_time(data, steps)[0].value for change in (0, 1)
    )
    assert changes == pytest.approx(1, rel=0.15)
    assert values > 3 * changes


def test_missing_values_are_no_targets():
    data = windows(walks)
    data.test[:, 20:40:2] = np.nan
    score, *_ = Forecasting(horizons=(4,)).over_time(data, None)
    assert np.isfinite(score.value)
    data.test[:, 16:] = np.nan
    with pytest.raises(UserError, match="no window of the test split has as many known ones"):
        Forecasting(horizons=(4,)).over_time(data, None)


def test_windows_that_are_too_short_are_refused_in_a_sentence():
    data = windows(walks, steps=12)
    with pytest.raises(UserError, match="forecasting needs windows of 32 steps for a past of 16 and a horizon of 16"):
        Forecasting().over_time(data, None)
    with pytest.raises(UserError, match=r"forecasting\.period 24 is longer than forecasting\.past 8"):
        Forecasting(past=8, horizons=(1,), period=24).over_time(data, None)
    with pytest.raises(UserError, match="anomaly needs test windows of 32 steps, and the longest has 12"):
        Anomaly().over_time(data, None)
    patches = Steps(TST(1, (12,), width=8, heads=2, patch=4), data)
    for probe in (Anomaly(), Imputation()):
        with pytest.raises(UserError, match="needs features of every time step, but a position of this encoder covers"):
            probe.over_time(data, patches)


@pytest.mark.parametrize("outputs", [1, 2])
def test_ridge_takes_the_strength_that_is_best_on_every_fifth_window(outputs):
    random = np.random.default_rng(0)
    known, unseen = random.normal(size=(200, 30)), random.normal(size=(40, 30))
    values = known @ random.normal(size=(30, outputs)) * 0.1 + random.normal(size=(200, outputs))
    window = np.repeat(np.arange(50), 4)
    mean, deviation = known.mean(0), known.std(0)
    known_s, unseen_s = (known - mean) / deviation, (unseen - mean) / deviation
    held = np.array([w % 5 == 4 for w in window])
    errors = {}
    for strength in regression.STRENGTHS:
        fitted = Ridge(alpha=strength).fit(known_s[~held], values[~held])
        missed = fitted.predict(known_s[held]).reshape(-1, outputs) - values[held]
        errors[strength] = math.sqrt((missed**2).mean()) + np.abs(missed).mean()
    best = min(errors, key=errors.get)
    expected = Ridge(alpha=best).fit(known_s, values).predict(unseen_s).reshape(-1, outputs)
    assert np.allclose(regression.predictions(known, values, window, unseen), expected)


def test_errors_are_means_over_known_values():
    predicted, values = np.zeros((4, 2), np.float32), np.array([[1, 2], [np.nan, 3], [1, 1], [0, np.nan]], np.float32)
    (squared, _), (absolute, _) = regression.errors(predicted, values, np.array([0, 0, 2, 3]), 5)
    assert squared == pytest.approx((1 + 4 + 9 + 1 + 1 + 0) / 6)
    assert absolute == pytest.approx((1 + 2 + 3 + 1 + 1 + 0) / 6)


def test_what_is_missing_is_carried_on_or_lies_on_a_line():
    gap = np.array([np.nan, 1, np.nan, np.nan, 4, np.nan], np.float32)[None, :, None]
    assert carried(gap).ravel().tolist() == [0, 1, 1, 1, 4, 4]
    assert interpolated(gap).ravel().tolist() == [1, 1, 2, 3, 4, 4]
    assert ends(gap).tolist() == [5]
    assert ends(np.full((1, 3, 1), np.nan)).tolist() == [0]


def test_gaps_have_their_share_and_their_length_and_leave_both_ends():
    hidden = gaps(np.full(400, 190), 200, share=0.25, run=4, seed=0)
    assert hidden[:, 1:189].mean() == pytest.approx(0.25, rel=0.05)
    assert not hidden[:, 0].any()
    assert not hidden[:, 189:].any()
    begins = (hidden[:, 1:] & ~hidden[:, :-1]).sum()
    assert hidden.sum() / begins == pytest.approx(4, rel=0.06)


def test_hidden_values_of_a_line_are_found_and_those_of_noise_are_not():
    def lines(random, count, steps):
        return (random.normal(size=(count, 1)) * np.linspace(-1, 1, steps))[:, :, None]

    squared, absolute = Imputation().over_time(windows(lines), None)
    assert squared.value < 1e-2
    assert squared.beside["interpolation"] < 1e-9
    assert squared.beside["channel mean"] == pytest.approx(1 / 3, rel=0.3)
    assert (absolute.part, absolute.higher_is_better) == ("mae", False)
    data = windows(noise)
    for steps in (None, told(data)):  # were hidden values shown to the encoder, its error would be 0
        assert Imputation().over_time(data, steps)[0].value == pytest.approx(1, rel=0.15)


def test_windows_without_anything_to_hide_are_refused():
    with pytest.raises(UserError, match="imputation finds no known value to hide"):
        Imputation().over_time(windows(noise, steps=2), None)


def test_adjusted_scores_and_alarms_are_those_of_a_loop():
    random = np.random.default_rng(0)
    score, smooth, delay = random.exponential(size=(3, 60)), 5, 3
    found = alarms.adjusted(score, smooth)
    above = alarms.threshold(found, 1.0)
    marked = alarms.alarms(found, above, delay)
    values = [v for row in found for v in row if not math.isnan(v)]
    mean = sum(values) / len(values)
    assert above == pytest.approx(mean + math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)))
    for row in range(3):
        last = -math.inf
        for step in range(60):
            if step < smooth:
                assert math.isnan(found[row, step])
                assert not marked[row, step]
                continue
            usual = sum(score[row, step - smooth : step]) / smooth
            assert found[row, step] == pytest.approx((score[row, step] - usual) / usual)
            expected = found[row, step] > above and step - last > delay
            assert marked[row, step] == expected
            last = step if expected else last
    assert marked.any()


def test_an_anomaly_is_found_as_a_whole_or_not_at_all():
    truth = np.zeros((3, 20), bool)
    truth[:, 5:12] = True
    alarm = np.zeros((3, 20), bool)
    alarm[0, 8] = alarm[0, 15] = True  # just in time, and a false one
    alarm[1, 9] = True  # a step too late
    counts = alarms.counts(alarms.credited(alarm, truth, delay=3), truth)
    assert counts.tolist() == [[7, 1, 0], [0, 0, 7], [0, 0, 7]]
    sums = counts.sum(0)[None]
    assert alarms.f1(sums)[0] == pytest.approx(2 * 7 / (2 * 7 + 1 + 14))
    assert (alarms.precision(sums)[0], alarms.recall(sums)[0]) == pytest.approx((7 / 8, 7 / 21))
    assert alarms.f1(np.zeros((1, 3)))[0] == 0


def test_a_jump_in_a_sine_is_found_by_its_change_and_by_features_that_say_the_same():
    data = windows(sines)
    probe = Anomaly(size=4.0)
    raw = named(probe.over_time(data, None))
    assert list(raw) == ["", "precision", "recall"]
    assert raw[""].value > 0.9
    changed, truth = probe.planted(data.test)
    assert (np.abs(changed - data.test)[truth] > 3.9).all()
    assert np.array_equal(changed[~truth], data.test[~truth])
    assert truth.sum(1).tolist() == [5] * 60
    encoder = named(probe.over_time(data, told(data)))
    # two of its three features differ by the change of value
    assert encoder[""].value == pytest.approx(raw[""].value, abs=0.02)
    assert named(Anomaly(size=0.01).over_time(data, None))[""].value < 0.1


def test_alarms_need_training_windows_that_vary():
    data = windows(sines)
    with pytest.raises(UserError, match="anomaly needs training windows that vary"):
        Anomaly().over_time(Windows(np.zeros_like(data.train), data.test, data.mean, data.std), None)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Results of every probe on noisy sines of two speeds, cut from longer series, and where they are."""
    raw, folder = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("evaluated")
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    values = np.stack([np.sin(np.arange(128) / (3 + 3 * label) + random.uniform(0, 6)) for label in labels])
    np.savez(raw / "sines.npz", X=values + 0.1 * random.normal(size=values.shape), y=labels)
    prepare(raw / "sines.npz", folder / "corpus", length=64, name="sines", holdout=0.3, ray=False)
    torch.manual_seed(0)
    encoder = Dilated(1, (64,), width=16, hidden=8, depth=3)
    manifest = Manifest.read(folder / "corpus")
    encoder.set_statistics(manifest.mean, manifest.std)
    asked = {
        "clustering": {},
        "knn": {},
        "ridge": {},
        "retrieval": {},
        "forecasting": {"horizons": [1, 4], "pasts": 300},
    }
    asked |= {"imputation": {}, "anomaly": {"windows": 8, "context": 16}}
    views = views_of("series")()
    return compare(encoder, encoder, views, folder / "corpus", asked, folder / "out"), folder / "out"


def test_every_kind_of_probe_ends_in_the_same_rows(compared):
    results, out = compared
    names = [row["probe"] for row in results["probes"]]
    assert names == [
        *("knn", "ridge", "clustering", "clustering/ari", "retrieval", "retrieval/recall1", "retrieval/recall5"),
        *("retrieval/recall10", "forecasting", "forecasting/mse4", "forecasting/mae1", "forecasting/mae4"),
        *("imputation", "imputation/mae", "anomaly", "anomaly/precision", "anomaly/recall"),
    ]
    for row in results["probes"]:
        assert row["pretrained"] == row["untrained"]
        assert row["interval"][0] <= row["pretrained"] <= row["interval"][1]
        assert math.isfinite(row["raw"])
    assert json.loads((out / "results.json").read_text(), parse_constant=pytest.fail)["probes"]
    by_name = {row["probe"]: row for row in results["probes"]}
    assert set(by_name["forecasting"]["beside"]) == {"last value"}
    assert by_name["ridge"]["beside"] == {"MiniRocket": 1}
    assert "beside" not in by_name["knn"]
    assert by_name["forecasting"]["raw_name"] == "ridge on the last values"
    assert not results["unfit"]
    assert "No probe shows a gain" in results["verdict"]


def test_the_table_and_the_report_show_errors_as_errors(compared):
    results, _ = compared
    console = Console(width=200)
    with console.capture() as printed:
        console.print(table(results["probes"]))
    text = printed.get()
    assert "MSE at 1 step ↓" in text
    assert "lower is better" in text
    assert "MiniRocket 100.0%" in text
    assert "last value" in text
    assert "%" not in "".join(line for line in text.splitlines() if "forecasting" in line)

    class Finished:
        pass

    run = Finished()
    run.results = json.loads(json.dumps(results))
    shown = {probe["name"]: probe for probe in learned.content(run)["probes"]}
    assert shown["forecasting"]["metric"] == "MSE at 1 step (lower is better)"
    assert shown["forecasting"]["beside"].startswith("last value ")
    assert shown["knn"]["beside"] == ""


def test_a_gate_judges_every_number_of_a_probe(compared):
    results, _ = compared
    asked = ["clustering/ari > -1", "forecasting < 0.5", "forecasting/mae4 <= untrained", "anomaly/recall > 2"]
    assert gate.problems(asked, ["clustering", "forecasting", "anomaly"], []) == []
    assert len(gate.problems(["clusterin/ari > 0"], ["clustering"], [])) == 1
    assert [finding.met for finding in gate.judge(asked, results, None)] == [True, True, True, False]


def test_a_probe_that_does_not_apply_says_so_and_costs_the_others_nothing(digits, recipe, tmp_path):
    from selfray.train import build

    settings, manifest = recipe().pretrain, Manifest.read(digits)
    encoder = build.objective(settings, manifest, 0).encoder
    results = compare(encoder, encoder, build.views(settings), digits, {"anomaly": {}, "knn": {}}, tmp_path)
    assert [row["probe"] for row in results["probes"]] == ["knn"]
    sentence = "anomaly asks for values at time steps, which image corpora do not have; leave it out"
    assert results["unfit"] == [sentence]
    assert results["verdict"].endswith(f"{sentence}.")
