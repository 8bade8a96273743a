"""Health warnings against real collapses: methods without the piece that prevents it, on real digits."""

import pytest
from torch import nn

from selfray.objectives import byol, simsiam
from selfray.parts.losses import unit
from selfray.train import rules

SETTINGS = {
    "simsiam": {"name": "simsiam", "width": 64, "bottleneck": 16},
    "byol": {"name": "byol", "hidden": 64, "width": 32, "momentum": 0.9},
    "vicreg": {"name": "vicreg", "hidden": 64, "width": 64},
}
WIDTH = 32


def warned(recipe, fit, objective):
    """What the rules say of the later two of three looks in 150 steps; at the first, healthy runs may still warn."""
    rows = fit(
        recipe(
            objective=objective,
            encoder={"name": "conv", "width": WIDTH, "stages": 2},
            optimizer={"name": "adamw", "lr": 5e-3},
            batch=128,
            steps=150,
            log_every=50,
            health_every=50,
        )
    )
    return [sentence for row in rows[1:] for sentence in rules.warnings(row, WIDTH)]


@pytest.mark.parametrize("name", SETTINGS)
def test_methods_as_in_their_papers_give_no_warning(name, recipe, fit):
    assert warned(recipe, fit, SETTINGS[name]) == []


def test_simsiam_without_its_stopped_gradient_is_warned_of(recipe, fit, monkeypatch):
    monkeypatch.setattr(simsiam, "negative_cosine", lambda one, other: -(unit(one) * unit(other)).sum(1).mean())
    assert any("what the loss compares" in sentence for sentence in warned(recipe, fit, SETTINGS["simsiam"]))


def test_byol_without_its_predictor_is_warned_of(recipe, fit, monkeypatch):
    monkeypatch.setattr(byol.BYOL, "__setattr__", _no_predictor)
    assert any("what the loss compares" in sentence for sentence in warned(recipe, fit, SETTINGS["byol"]))


def _no_predictor(self, name, value):
    nn.Module.__setattr__(self, name, nn.Identity() if name == "predictor" else value)


def test_vicreg_without_variance_is_warned_of(recipe, fit):
    sentences = warned(recipe, fit, SETTINGS["vicreg"] | {"variance": 0.0})
    assert any("what the loss compares" in sentence for sentence in sentences)
