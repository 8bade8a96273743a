"""The engine: what runs again and why, attempts, limits, and what is left for schedulers."""

import json
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from selfray.errors import Refused, Temporary, TimeUp, UserError
from selfray.recipe import parse
from selfray.settings import Attempts
from selfray.stages import engine, notes
from selfray.stages.attempts import limited, persistently
from selfray.stages.pipeline import Pipeline
from selfray.stages.run import Run
from selfray.stages.stage import Stage

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's and its libraries' own deprecations


class Tags:
    """Where the engine's tags go in place of MLflow."""

    def __init__(self):
        self.found = {}

    def tag(self, tags):
        self.found |= tags


class World:
    """Four stages whose inputs can be changed, and that note when they work."""

    def __init__(self, recipe, out):
        self.run = Run(recipe, out, Console(quiet=True), quiet=True)
        self.run.tracker = Tags()
        self.inputs = {name: {"setting": 1} for name in ("corpus", "pretrain", "evaluate", "register")}
        self.worked, self.failing = [], {}

    def stages(self):
        def stage(name):
            def work(run):
                self.worked.append(name)
                if self.failing.get(name):
                    raise self.failing[name].pop(0)
                return {"said": f"{name} {self.inputs[name]}"}

            return Stage(name, lambda run: self.inputs[name], work)

        return [stage(name) for name in self.inputs]

    def go(self, **options):
        self.worked.clear()
        engine.execute(self.stages(), self.run, **options)
        return list(self.worked)


@pytest.fixture
def world(recipe, tmp_path):
    plain = recipe().plain() | {"evaluate": {}, "register": {}}
    quick = {"retries": 2, "backoff_seconds": 0.01}
    return World(parse(plain | {"stages": {"register": quick, "pretrain": {"retries": 0}}}), tmp_path)


def test_what_is_done_is_not_done_again_and_what_changed_is_with_all_after_it(world):
    assert world.go() == ["corpus", "pretrain", "evaluate", "register"]
    assert world.go() == []
    world.inputs["evaluate"] = {"setting": 2}
    decisions = {decision.stage: decision for decision in engine.plan(world.stages(), world.run)}
    assert not decisions["pretrain"].runs
    assert decisions["evaluate"].why == "setting: 1 -> 2"
    assert decisions["register"].why == "after evaluate"
    assert world.go() == ["evaluate", "register"]
    assert world.run.tracker.found["selfray.stage.register"] == "done"


def test_a_corpus_that_is_looked_at_again_and_is_the_same_changes_nothing_after_it(world):
    world.go()
    world.inputs["corpus"] = {"files": "touched"}
    assert world.go() == ["corpus"]


def test_a_process_that_dies_between_two_stages_leaves_those_after_it_to_be_done(world):
    world.go()
    world.inputs["pretrain"] = {"setting": 2}
    world.go(last="pretrain")  # and here it dies
    assert world.go() == ["evaluate", "register"]


def test_from_and_until_choose_stages_and_refuse_to_leave_a_gap(world):
    with pytest.raises(UserError, match="stage corpus before it is not finished"):
        world.go(first="evaluate")
    assert world.go(last="pretrain") == ["corpus", "pretrain"]
    assert world.go(first="evaluate", last="evaluate") == ["evaluate"]
    assert world.go(first="evaluate") == ["evaluate", "register"]
    with pytest.raises(UserError, match=r"this pipeline has no such stage \(did you mean 'evaluate'\?\)"):
        world.go(first="evalute")
    with pytest.raises(UserError, match="comes after --until"):
        world.go(first="register", last="corpus")


def test_a_temporary_failure_is_tried_again_and_another_one_is_not(world):
    world.failing["register"] = [Temporary("away"), ConnectionError("still away")]
    assert world.go() == ["corpus", "pretrain", "evaluate", "register", "register", "register"]
    assert world.run.notes.read("register")["attempts"] == 3
    world.failing["register"] = [Temporary("away")] * 3
    with pytest.raises(Temporary, match="stage register gave up after 3 attempts: away"):
        world.go(first="register")
    assert world.run.notes.read("register")["state"] == "failed"
    world.failing["pretrain"] = [UserError("no such thing")]
    with pytest.raises(UserError, match=r"^no such thing$"):
        world.go(first="pretrain")
    assert world.worked == ["pretrain"]


def test_a_refusal_stands_until_something_changes(world):
    world.failing["evaluate"] = [Refused("too bad")]
    with pytest.raises(Refused):
        world.go()
    with pytest.raises(Refused, match="too bad"):
        world.go()
    assert world.worked == []
    world.inputs["evaluate"] = {"setting": 2}
    assert world.go() == ["evaluate", "register"]


def test_waits_between_attempts_grow(monkeypatch):
    waits = []
    monkeypatch.setattr("selfray.stages.attempts.time.sleep", waits.append)
    asked = Attempts.model_validate({"retries": 4, "backoff_seconds": 100})

    def fail():
        raise Temporary("away")

    with pytest.raises(Temporary):
        persistently(fail, asked, lambda said: None)
    assert waits == [100, 200, 400, 600]


@pytest.fixture
def own_handler():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN], ids=["terminal", "background"])
def test_a_stage_that_takes_too_long_is_interrupted_and_says_which_key_allows_more(handler, own_handler):
    signal.signal(signal.SIGINT, handler)
    begun = time.monotonic()
    said = r"stage pretrain took longer .* stages\.pretrain\.minutes"
    with pytest.raises(TimeUp, match=said), limited("pretrain", 0.005):
        time.sleep(30)
    assert time.monotonic() - begun < 10
    with limited("pretrain", 0.01):
        pass
    time.sleep(0.8)  # a limit that was kept interrupts nothing later


@pytest.mark.slow
def test_training_that_takes_too_long_saves_its_state(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("selfray.tracking.FLUSH_SECONDS", 0.05)
    plain = recipe(steps=100_000).plain()
    slow = Pipeline(parse(plain | {"stages": {"pretrain": {"minutes": 0.08}}}), tmp_path / "run", quiet=True)
    with pytest.raises(TimeUp, match="stopped after step"):
        slow.run()
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["exit"], status["stages"]["pretrain"]["state"]) == (124, "failed")
    assert list((tmp_path / "run" / "checkpoints").glob("step_*"))


def test_a_second_process_in_the_same_folder_may_succeed_later(recipe, tmp_path):
    from selfray.stages.pipeline import only_one

    (tmp_path / "run").mkdir()
    with only_one(tmp_path / "run"), pytest.raises(Temporary, match="another process is running"):
        Pipeline(recipe(), tmp_path / "run", quiet=True).run()


def test_a_note_of_another_version_or_half_a_note_counts_as_none(tmp_path):
    book = notes.Notes(tmp_path)
    (tmp_path / "stages").mkdir()
    for text in ('{"fingerprint": "abc", "said": "done"}', '{"inputs": {', "[]"):
        (tmp_path / "stages" / "pretrain.json").write_text(text)
        assert book.read("pretrain") == {}


def test_a_pipeline_that_is_done_starts_nothing_and_takes_less_than_two_seconds_beyond_imports(
    recipe, tmp_path, monkeypatch
):
    from omegaconf import OmegaConf

    monkeypatch.setattr("selfray.tracking.FLUSH_SECONDS", 0.05)
    file = tmp_path / "cached.yaml"
    plain = recipe(steps=2).plain() | {"name": "cached", "evaluate": {"probes": {"knn": {}}}, "register": {}}
    gated = plain | {"gate": {"require": ["knn > 0.1"]}}
    OmegaConf.save(OmegaConf.create(gated), file)
    Pipeline(parse(gated), tmp_path / "run", quiet=True).run()
    code = f"""
import json, sys, time
import torch, numpy, pyarrow.parquet, pydantic, omegaconf, rich.progress, typer, cronsim
import selfray.recipe, selfray.stages, selfray.evaluation.compare, selfray.objectives.simclr, selfray.encoders.conv
begun = time.process_time()
from selfray import run
made = run({str(file)!r}, out={str(tmp_path / "run")!r})
spent = time.process_time() - begun
print(json.dumps([spent, made["model"], sorted(m for m in ("ray", "mlflow", "sklearn") if m in sys.modules)]))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    spent, model, imported = json.loads(done.stdout)
    assert model == "models:/cached/1"
    assert imported == []
    assert spent < 2
