"""Conditions of a gate: what can be said, what is refused, and what comes of them."""

import pytest

from selfray import gate
from selfray.errors import RecipeError
from selfray.recipe import parse

RESULTS = {
    "probes": [{"probe": "knn", "pretrained": 0.9, "untrained": 0.5, "raw": 0.8}],
    "scores": [{"score": "rankme", "pretrained": 12.0, "untrained": 3.0}],
}


@pytest.mark.parametrize(
    ("text", "champion", "met"),
    [
        ("knn >= 0.9", None, True),
        ("knn > 0.9", None, False),
        ("knn<=9e-1", None, True),
        ("knn >= champion - 0.005", {"knn": 0.904}, True),
        ("knn >= champion - 0.005", {"knn": 0.906}, False),
        ("knn > champion", None, True),  # there is none yet
        ("knn > raw + 0.05", None, True),
        ("knn > raw + 0.15", None, False),
        ("score/rankme > untrained + 5", None, True),
        ("score/rankme > untrained + 9", None, False),
        ("knn >= champion", {"linear": 0.1}, False),  # nothing to compare with
        ("linear >= 0.1", None, False),  # not measured
    ],
)
def test_a_condition_compares_what_was_measured(text, champion, met):
    (finding,) = gate.judge([text], RESULTS, champion)
    assert finding.met is met
    assert finding.said


def test_what_is_not_a_number_meets_no_condition():
    odd = {"probes": [], "scores": [{"score": "rankme", "pretrained": float("nan"), "untrained": 1.0}]}
    assert not any(f.met for f in gate.judge(["score/rankme > 0", "score/rankme <= 9"], odd, None))


def test_a_finding_says_both_numbers():
    (finding,) = gate.judge(["knn >= champion + 0.1"], RESULTS, {"knn": 0.85})
    assert finding.said == "knn is 0.9, asked was >= 0.95 (champion 0.85)"


@pytest.mark.parametrize(
    "text",
    ["knn", "knn == 1", "0.9 < knn", "knn >= 0.9 and linear > 1", "knn >= champion * 2", "__import__('os') > 1", ""],
)
def test_anything_but_one_comparison_is_refused(text):
    with pytest.raises(ValueError, match="is no condition"):
        gate.parse(text)


def recipe(require, **more):
    return {
        "name": "gated",
        "corpus": {"path": "somewhere"},
        "pretrain": {"objective": {"name": "simclr"}, "encoder": {"name": "conv"}, "steps": 1},
        "evaluate": {"probes": {"knn": {}}},
        "gate": {"require": require},
        **more,
    }


@pytest.mark.parametrize(
    ("require", "said"),
    [
        (["kn >= 0.9"], "no metric 'kn' (did you mean 'knn'?)"),
        (["linear >= 0.9"], "no metric 'linear'"),
        (["knn >= champoin"], "did you mean 'champion'?"),
        (["score/rankme > raw"], "raw samples have no score/rankme"),
        ([], "at least 1 item"),
    ],
)
def test_a_condition_that_cannot_be_judged_is_found_before_anything_runs(require, said):
    with pytest.raises(RecipeError) as refused:
        parse(recipe(require))
    assert said in str(refused.value)


def test_a_gate_without_an_evaluation_is_refused():
    with pytest.raises(RecipeError, match="a gate needs something to judge"):
        parse(recipe(["knn > 0"], evaluate=None))
