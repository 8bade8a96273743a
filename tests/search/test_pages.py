"""The pages of sweeps claim no more than their numbers do."""

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import selection
import sweep_pages
import sweep_runs


def concluded(scores: dict[str, list[float]]) -> str:
    top, differences = sweep_runs.below_best(scores)
    return sweep_pages.conclusion("temperature", scores, top, differences)


def test_an_optimum_is_interior_where_both_ends_are_worse_than_the_seeds_explain():
    said = concluded({"0.02": [0.70, 0.71, 0.69], "0.1": [0.80, 0.81, 0.79], "1.0": [0.60, 0.61, 0.59]})
    assert "best temperature is 0.1, with 80.0 ± 0.6 % over 3 seeds" in said
    assert "low end, 0.02, is 10.0 ± 0.8 points worse" in said
    assert "the optimum lies within" in said


def test_no_optimum_is_claimed_where_the_best_is_an_end():
    said = concluded({"0.02": [0.90, 0.91, 0.89], "0.1": [0.80, 0.81, 0.79], "1.0": [0.60, 0.61, 0.59]})
    assert "no interior optimum" in said
    assert "lies within" not in said


def test_no_optimum_is_claimed_where_an_end_is_within_the_noise():
    said = concluded({"0.02": [0.78, 0.82, 0.80], "0.1": [0.79, 0.83, 0.81], "1.0": [0.60, 0.61, 0.59]})
    assert "low end, 0.02, is 1.0 ± 1.4 points lower, which is within the noise" in said
    assert "Not to be told apart from the best by these seeds: 0.02." in said
    assert "do not show an interior optimum" in said


def test_one_seed_shows_nothing():
    said = concluded({"0.02": [0.5], "0.1": [0.9], "1.0": [0.5]})
    assert "nothing follows" in said
    assert "worse" not in said


def test_noise_is_pooled_over_settings_that_have_several_seeds():
    noise, freedom = sweep_runs.seed_noise({"a": [0.1, 0.3], "b": [0.5, 0.5, 0.5], "c": [0.9]})
    assert noise == pytest.approx(math.sqrt((0.02 + 0.0) / 3))
    assert freedom == 3


def of(scores: list[float], probe: list[float], seeds: int = 1) -> list[selection.Run]:
    return [
        selection.Run(str(i // seeds), {"linear": p}, {"rankme": s, "uniformity": -s})
        for i, (s, p) in enumerate(zip(scores, probe, strict=True))
    ]


def test_a_score_that_is_better_low_is_turned_round():
    found = selection.ranks(of([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6, 7, 9, 8]))["linear"]
    assert found["rankme"].rho == found["uniformity"].rho > 0.9
    assert found["rankme"].low > 0


def test_seeds_of_one_setting_count_as_one_in_the_interval():
    scores = [float(setting) for setting in range(5) for _ in range(4)]
    probe = [mean + seed / 100 for mean in (0.1, 0.3, 0.2, 0.5, 0.4) for seed in range(4)]
    alone = selection.ranked(of(scores, probe), "linear", "rankme")
    together = selection.ranked(of(scores, probe, seeds=4), "linear", "rankme")
    assert alone.rho == together.rho
    assert together.low < alone.low


def test_too_few_runs_are_not_ranked():
    assert selection.ranks(of([1, 2, 3], [1, 2, 3])) == {}
    assert selection.ranks(of([1, 1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 1, 2, 2, 2, 2], seeds=4)) == {}  # two settings


def ranked(rankme: float, uniformity: float) -> dict[str, dict[str, selection.Rank]]:
    made = {"rankme": rankme, "uniformity": uniformity}
    return {"linear": {name: selection.Rank(rho, rho - 0.2, rho + 0.2) for name, rho in made.items()}}


def test_a_default_is_supported_only_by_sweeps_that_it_orders():
    offered = ["rankme", "uniformity"]
    assert "no evidence" in selection.verdict({"across methods": ranked(0.9, 0.1)}, "rankme", offered)
    assert "These runs support" in selection.verdict({"sweep: a": ranked(0.9, 0.1)}, "rankme", offered)
    wrong = selection.verdict({"sweep: a": ranked(0.9, 0.1), "sweep: b": ranked(-0.5, 0.1)}, "rankme", offered)
    assert "do not support" in wrong
    behind = selection.verdict({"sweep: a": ranked(0.5, 0.9)}, "rankme", offered)
    assert "do not support the default. `uniformity` has the highest mean, 0.90" in behind
