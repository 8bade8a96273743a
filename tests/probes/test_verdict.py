"""The sentence of an evaluation claims what intervals show, and no more."""

import pytest

from selfray.evaluation.verdict import verdict


def row(probe, pretrained, untrained, raw):
    values = {"pretrained": pretrained, "untrained": untrained, "raw": raw}
    spread = {f"{who}_interval": [value - 0.02, value + 0.02] for who, value in values.items()}
    return values | spread | {"probe": probe, "metric": "accuracy", "higher_is_better": True, "raw_name": "raw pixels"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("knn", 0.9, 0.5, 0.8)], "Pretraining taught the encoder something on every probe"),
        ([row("knn", 0.9, 0.5, 0.8), row("linear", 0.9, 0.89, 0.8)], "Pretraining helps on knn but not on every probe"),
        (
            [row("knn", 0.8, 0.5, 0.9)],
            "The encoder learned something by knn, but no probe shows it beyond every simple",
        ),
        ([row("knn", 0.9, 0.87, 0.5)], "No probe shows a gain from pretraining beyond chance"),
        ([row("knn", 0.4, 0.5, 0.5)], "No probe shows a gain from pretraining beyond chance"),
    ],
)
def test_better_than_which_baseline_is_said(rows, said):
    assert verdict(rows, labelled=True, unfit=[]).startswith(said)


def test_an_answer_that_needs_no_network_counts_as_a_baseline():
    beside = row("knn", 0.9, 0.5, 0.5) | {"beside": {"last value": 0.95}}
    assert verdict([beside], labelled=True, unfit=[]).startswith("The encoder learned something by knn, but no probe")
