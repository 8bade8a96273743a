"""Pipeline files: what is accepted, what is refused, and in which words."""

import pytest

from selfray import recipe
from selfray.errors import RecipeError, UserError

GOOD = """
corpus: {path: somewhere}
pretrain:
  objective: {name: simclr}
  encoder: {name: conv}
  steps: 10
"""


def write(tmp_path, text, name="mine.yaml"):
    file = tmp_path / name
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", recipe.shipped())
def test_every_shipped_pipeline_is_valid_and_says_what_it_is(name):
    loaded = recipe.load(name)
    assert recipe.shipped()[name].read_text().startswith("# ")
    assert recipe.parse(loaded.plain()) == loaded


def test_defaults_come_from_signatures(tmp_path):
    loaded = recipe.load(write(tmp_path, GOOD))
    assert loaded.name == "mine"
    assert loaded.pretrain.objective == {
        "name": "simclr",
        "temperature": 0.1,
        "hidden": None,
        "width": 128,
        "layers": 2,
    }
    assert loaded.pretrain.optimizer["lr"] == 1e-3


def test_the_saved_recipe_loads_to_the_same_recipe(tmp_path):
    loaded = recipe.load(write(tmp_path, GOOD + "evaluate: {}\nregister: {}\n"), ["lr=1"] and ["batch=64"])
    assert recipe.load(write(tmp_path, loaded.to_yaml(), "again.yaml")) == loaded


def test_numbers_that_yaml_takes_for_text_are_numbers(tmp_path):
    loaded = recipe.load(write(tmp_path, GOOD), ["optimizer.lr=3e-4", "clip=1e0"])
    assert loaded.pretrain.optimizer == {**loaded.pretrain.optimizer, "name": "adamw", "lr": 3e-4}
    assert loaded.pretrain.clip == 1.0


def test_a_key_of_pretrain_may_leave_out_its_stage(tmp_path):
    long = recipe.load(write(tmp_path, GOOD), ["pretrain.objective.temperature=0.5", "pretrain.workers=2"])
    short = recipe.load(write(tmp_path, GOOD), ["objective.temperature=0.5", "workers=2"])
    assert long == short


def test_all_mistakes_are_reported_at_once_each_with_its_path(tmp_path):
    text = """
corpus: {path: somewhere, holdout: 2}
pretrain:
  objective: {name: simclr, temprature: 0.1, width: -3}
  encoder: {name: convv}
  optimizer: {name: adam}
  views: {flipp: 0.1}
  bacth: 12
  steps: ten
evaluate: {probes: {knnn: {}, knn: {neighbors: 3}}}
regster: {}
"""
    with pytest.raises(RecipeError) as caught:
        recipe.load(write(tmp_path, text))
    said = "\n".join(caught.value.problems)
    for expected in (
        "pretrain.objective.temprature: unknown key (did you mean 'temperature'?)",
        "pretrain.objective.width: should be greater than or equal to 1, got -3",
        "pretrain.encoder.name: no encoder 'convv' (did you mean 'conv'?)",
        "pretrain.optimizer.name: no optimizer 'adam' (did you mean 'adamw'?)",
        "pretrain.views.flipp: unknown key (did you mean 'flip'?)",
        "pretrain.bacth: unknown key (did you mean 'batch'?)",
        "pretrain.steps: should be a valid integer",
        "corpus.holdout: should be less than or equal to 1, got 2",
        "evaluate.probes.knnn.name: no probe 'knnn' (did you mean 'knn'?)",
        "evaluate.probes.knn.neighbors: unknown key (did you mean 'neighbours'?)",
        "regster: unknown key (did you mean 'register'?)",
    ):
        assert expected in said, said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "corpus: {path: a, fetch: b}\npretrain: {objective: {name: simclr}, encoder: {name: conv}, steps: 1}",
            "exactly one",
        ),
        ("corpus: {path: a}\npretrain: {objective: {name: simclr}, encoder: {name: conv}}", "either epochs or steps"),
        (
            "corpus: {path: a}\npretrain: {objective: {temperature: 1}, encoder: {name: conv}, steps: 1}",
            "objective.name: is required",
        ),
        ("corpus: {path: a}", "pretrain: is required"),
        ("- a\n- b", "not a mapping"),
        ("corpus: {path: [", "cannot be read"),
        ("corpus: {path: '${oc.env:NO_SUCH_VARIABLE_HERE}'}", "NO_SUCH_VARIABLE_HERE"),
        ("corpus: !!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_what_is_impossible_is_refused_in_a_sentence(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        recipe.load(write(tmp_path, text))


def test_an_unknown_pipeline_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'image/simclr'"):
        recipe.load("image/simcrl")


def test_differences_leave_out_what_does_no_harm(tmp_path):
    file = write(tmp_path, GOOD)
    old = recipe.load(file)
    assert recipe.differences(old, recipe.load(file, ["workers=4", "log_every=3", "checkpoint.keep=9"])) == []
    assert recipe.differences(old, recipe.load(file, ["batch=128"])) == ["pretrain.batch: 256 -> 128"]
