"""Spaces: what may be written, what is refused before anything starts, and what is drawn."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfray import recipe as recipes
from selfray.errors import RecipeError, UserError
from selfray.recipe import flat
from selfray.search import constraints, draw, space
from selfray.search.space import Space
from selfray.search.values import Values

FITS = re.compile(r"^# Fits (.+?)\.$", re.MULTILINE | re.DOTALL)
"""Where a shipped space says for which shipped pipelines it is."""
PAIRS = [
    (name, pipeline)
    for name, file in space.shipped().items()
    for found in FITS.findall(file.read_text(encoding="utf-8"))
    for pipeline in re.split(r",\s+(?:# )?", found)
]


def of(knobs, **settings) -> Space:
    return Space.model_validate({"knobs": knobs, **settings})


@pytest.mark.parametrize(("name", "pipeline"), PAIRS)
def test_every_shipped_space_fits_the_pipelines_that_it_names(name, pipeline):
    found, home = space.load(name), recipes.load(pipeline)
    space.check(found, home)
    drawn = draw.grid(found, home) if found.search == "grid" else draw.random_settings(found, home, 5)
    assert len(drawn) > 1
    for settings in drawn:
        space.apply(home, settings)


def test_every_shipped_space_names_its_pipelines_and_its_paper():
    assert {name for name, _ in PAIRS} == {*space.shipped()}
    for file in space.shipped().values():
        assert re.search(r"arXiv:\d{4}\.\d{5}", file.read_text(encoding="utf-8")), file


def test_a_space_whose_conditions_no_setting_of_the_pipeline_meets_is_refused(recipe):
    with pytest.raises(UserError, match="no knob of this space counts for objective 'simclr'"):
        space.check(space.load("clustering"), recipe())


@given(
    low=st.floats(1e-6, 1e3),
    width=st.floats(1e-3, 1e3),
    share=st.floats(0, 1),
    logarithmic=st.booleans(),
)
def test_ranges_stay_within_their_bounds(low, width, share, logarithmic):
    high = low + low * width
    values = Values.model_validate({"loguniform" if logarithmic else "uniform": (low, high)})
    assert low <= values.at(share) <= high
    assert all(low <= v <= high for v in values.listed())
    assert low <= values.nudged(values.at(share), np.random.default_rng(0)) <= high


def test_quantised_ranges_give_multiples_and_whole_numbers_stay_whole():
    values = Values.model_validate({"loguniform": [100, 5000], "step": 64})
    drawn = [values.sample(np.random.default_rng(seed)) for seed in range(50)]
    assert all(isinstance(v, int) and v % 64 == 0 and 128 <= v <= 4992 for v in drawn)
    assert Values.model_validate({"uniform": [0.1, 0.9], "step": 0.4}).listed() == [0.4, 0.8]


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"uniform": [1, 1]}, "1 is not less than 1"),
        ({"loguniform": [0, 1]}, "bounds above 0"),
        ({}, "exactly one of uniform"),
        ({"choice": []}, "one value or more"),
        ({"uniform": [1, 2], "step": 5}, "no multiple of 5"),
        ({"unifrom": [1, 2]}, "did you mean 'uniform'"),
    ],
)
def test_a_wrong_distribution_is_refused_in_a_sentence(written, sentence, tmp_path):
    from omegaconf import OmegaConf

    OmegaConf.save(OmegaConf.create({"knobs": {"objective.temperature": written}}), tmp_path / "mine.yaml")
    with pytest.raises(RecipeError, match=sentence):
        space.load(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("knobs", "settings", "sentence"),
    [
        ({"objective.temprature": {"choice": [1]}}, {}, "did you mean 'temperature'"),
        ({"objective.temperature": {"uniform": [-1, 1]}}, {}, "greater than 0"),
        ({"objective.width": {"uniform": [8, 9.5]}}, {}, "valid integer"),
        ({"workers": {"choice": [1, 2]}}, {}, "does not change what is learned"),
        ({"corpus.path": {"choice": ["a"]}}, {}, "does not change what is learned"),
        ({"optimizer.lr": {"uniform": [0.1, 1], "when": {"optimizer.nmae": "sgd"}}}, {}, "there is no setting"),
        ({"batch": {"choice": [16, 32]}}, {"scheduler": "pbt"}, "cannot change it within a trial"),
        ({"optimizer.weight_decay": {"uniform": [0, 1]}}, {"scheduler": "pbt"}, "part of the saved state"),
        ({"batch": {"choice": [16, 32]}}, {"constraints": ["batch > 64"]}, "none of 1000 draws meets batch > 64"),
        ({"batch": {"choice": [16, 32]}}, {"constraints": ["bach > 64"]}, "did you mean 'batch'"),
    ],
)
def test_what_does_not_fit_the_pipeline_is_refused_before_anything_starts(knobs, settings, sentence, recipe):
    with pytest.raises(UserError, match=sentence):
        space.check(of(knobs, **settings), recipe())


def test_a_circle_of_conditions_is_refused(recipe):
    knobs = {
        "batch": {"choice": [8], "when": {"warmup": 0.1}},
        "warmup": {"choice": [0.1], "when": {"batch": 8}},
    }
    with pytest.raises(UserError, match="round in a circle"):
        space.check(of(knobs), recipe())


def test_a_knob_counts_only_where_its_condition_holds(recipe):
    knobs = {
        "optimizer.lr": [
            {"uniform": [0.1, 0.2], "when": {"optimizer.name": "sgd"}},
            {"uniform": [1e-4, 1e-3], "when": {"optimizer.name": ["adamw"]}},
        ],
        "optimizer.momentum": {"choice": [0.5], "when": {"optimizer.name": "sgd"}},
        "optimizer.name": {"choice": ["sgd", "adamw"]},
    }
    asked = of(knobs)
    space.check(asked, recipe())
    base = flat(recipe().plain())
    for seed in range(30):
        drawn = draw.draw(asked, base, np.random.default_rng(seed))
        name, lr = drawn["pretrain.optimizer.name"], drawn["pretrain.optimizer.lr"]
        assert (lr >= 0.1) == (name == "sgd") == ("pretrain.optimizer.momentum" in drawn)
        made = space.apply(recipe(), drawn).pretrain.optimizer
        assert (made["name"], made["lr"]) == (name, lr)
        assert "betas" in made if name == "adamw" else "momentum" in made  # of the new one, not of the old one
    assert len(draw.grid(asked, recipe())) == 10


def test_draws_are_different_repeatable_and_meet_the_constraints(recipe):
    knobs = {"batch": {"uniform": [8, 64], "step": 8}, "accumulate": {"choice": [1, 2, 3]}}
    asked = of(knobs, constraints=["batch % accumulate == 0 and batch / accumulate >= 16"])
    drawn = draw.random_settings(asked, recipe(), 10)
    assert drawn == draw.random_settings(asked, recipe(), 10)
    assert drawn[:4] == draw.random_settings(asked, recipe(), 4)
    assert len({draw.identity(one, 0) for one in drawn}) == 10
    assert all(one["pretrain.batch"] % one["pretrain.accumulate"] == 0 for one in drawn)
    few = of({"batch": {"choice": [8, 16]}})
    assert len(draw.random_settings(few, recipe(), 10)) == 2


def test_constraints_are_read_and_never_executed():
    settings = {"pretrain.objective.queue_size": 512, "pretrain.batch": 48, "pretrain.clip": None}
    assert not constraints.holds("objective.queue_size % batch == 0", settings)
    assert constraints.holds("batch < objective.queue_size <= 1024 and not batch == 1", settings)
    assert constraints.holds("clip > 3", settings)  # it is not set
    for text in ("__import__('os').system('true')", "batch ==", "[x for x in batch]", "batch % 0 == 1"):
        with pytest.raises(UserError, match="constraint"):
            constraints.holds(text, settings)


def test_a_nudge_moves_to_a_neighbour_that_meets_the_constraints(recipe):
    knobs = {"objective.temperature": {"loguniform": [0.01, 1]}, "clip": {"choice": [0.5, 1.0, 2.0]}}
    asked = of(knobs, constraints=["objective.temperature < 0.3"])
    before = {"pretrain.objective.temperature": 0.29, "pretrain.clip": 1.0}
    for seed in range(20):
        after = draw.nudged(asked, recipe(), before, np.random.default_rng(seed))
        assert after["pretrain.objective.temperature"] < 0.3
        assert after["pretrain.clip"] in (0.5, 1.0, 2.0)


def test_asha_tries_a_grid_in_an_order_that_the_seed_draws(recipe):
    knobs = {"optimizer.lr": {"choice": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]}}
    rising = draw.grid(of(knobs, search="grid", scheduler="none"), recipe())
    one, same, other = (
        draw.grid(of(knobs, search="grid", scheduler="asha", seed=seed), recipe()) for seed in (0, 0, 1)
    )
    assert [settings["pretrain.optimizer.lr"] for settings in rising] == knobs["optimizer.lr"]["choice"]
    assert one == same != rising
    assert one != other
    assert sorted(map(str, one)) == sorted(map(str, other)) == sorted(map(str, rising))
