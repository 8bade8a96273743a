"""The registry: promotion, the way back, and a server that is away; with a real store."""

import json

import pytest
from mlflow import MlflowClient

from selfray import registry as registries
from selfray.corpus.manifest import Manifest
from selfray.errors import Temporary, UserError
from selfray.registry import Registry, register
from selfray.summary import export_encoder
from selfray.tracking import Tracker
from selfray.train.loop import Job, train

pytestmark = pytest.mark.filterwarnings("default")  # MLflow and what it imports deprecate things of their own


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with a model of three versions; they hold nothing, for promotion does not look at what they hold."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    client.create_registered_model("digits")
    for _ in range(3):
        client.create_model_version("digits", folder.as_uri())
    return uri


@pytest.fixture
def registry(store):
    made = Registry(store)
    for alias in made.client.get_registered_model("digits").aliases:
        made.client.delete_registered_model_alias("digits", alias)
    for version in ("1", "2", "3"):
        for tag in made.client.get_model_version("digits", version).tags:
            made.client.delete_model_version_tag("digits", version, tag)
    return made


def test_promotion_moves_the_alias_and_remembers_who_had_it(registry):
    assert registry.by_alias("digits", "champion") is None
    assert registry.promote("digits", "1").tags["selfray.former"] == ""
    second = registry.promote("digits", "2")
    assert second.aliases == ("champion",)
    assert second.tags["selfray.former"] == "1"
    assert registry.version("digits", "1").aliases == ()
    assert registry.promote("digits", "champion").tags["selfray.former"] == "1"  # promoting it again forgets nothing


def test_rollback_goes_back_one_champion_at_a_time(registry):
    with pytest.raises(UserError, match="has no champion; promote a version"):
        registry.rollback("digits")
    for version in ("1", "3", "2"):
        registry.promote("digits", version)
    assert [one.version for one in registry.rollback("digits")] == ["3", "2"]
    assert registry.version("digits", "2").tags["selfray.rolled_back"]
    assert [one.version for one in registry.rollback("digits")] == ["1", "3"]
    with pytest.raises(UserError, match="version 1 of 'digits' is the first champion"):
        registry.rollback("digits")


def test_what_is_not_there_is_said_with_what_is(registry):
    registry.promote("digits", "1")
    with pytest.raises(UserError, match=r"no model 'digit' in .*did you mean 'digits'"):
        registry.versions("digit")
    with pytest.raises(UserError, match=r"has no version '9'; it has 3, 2, 1 \(champion\)"):
        registry.version("digits", "9")
    with pytest.raises(UserError, match="has no version"):
        registry.promote("digits", "candidate")


def test_a_registration_that_broke_off_is_gone_on_with_and_not_repeated(digits, recipe, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("selfray.tracking.FLUSH_SECONDS", 0.05)
    run, settings = tmp_path / "run", recipe(steps=2)
    train(Job(settings, str(digits), str(run)), lambda row: None)
    export_encoder(run, settings, Manifest.read(digits), 2, None)
    tracker = Tracker(run, "experiment", {}, Manifest.read(digits), str(digits))
    tracker.wait_started()
    answered = MlflowClient.set_registered_model_alias

    def away(*_, **__):
        raise ConnectionError("the server is away")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", away)
    with pytest.raises(Temporary, match="cannot be reached"):
        register(run, run / "encoder", "digits", "candidate", None)
    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", answered)
    assert register(run, run / "encoder", "digits", "candidate", None, {"selfray.parent": "x"}) == "models:/digits/1"
    found = Registry(tracker.uri)
    (version,) = found.versions("digits")
    assert version.aliases == ("candidate",)
    assert version.tags["selfray.parent"] == "x"
    assert version.tags[registries.WEIGHTS] == json.loads((run / "encoder/encoder.json").read_text())["weights_sha256"]
    copy = found.fetch("models:/digits@candidate", tmp_path / "copy")
    assert (copy / "encoder.safetensors").read_bytes() == (run / "encoder" / "encoder.safetensors").read_bytes()
    tracker.finish("FINISHED", {}, [])


def test_a_server_that_is_away_is_a_temporary_failure(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Temporary, match=r"MLflow at http://127\.0\.0\.1:9 cannot be reached"):
        Registry("http://127.0.0.1:9").models()
