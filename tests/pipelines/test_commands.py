"""The commands of scheduled pipelines as a person or a scheduler meets them."""

import json
import sys

import pytest

from selfray.cli import main

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's and its libraries' own deprecations


@pytest.fixture
def selfray(capsys, monkeypatch, tmp_path):
    """Runs a command in an empty folder and returns what it printed; `status` is what it must exit with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("selfray.tracking.FLUSH_SECONDS", 0.05)

    def run(*words: str, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["selfray", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert (ended.value.code or 0) == status, out + err
        return out if out or not status else err

    return run


@pytest.fixture
def file(tmp_path, recipe):
    """A pipeline with everything that costs little."""
    from omegaconf import OmegaConf

    more = {"evaluate": {"probes": {"knn": {}}}, "gate": {"require": ["knn > 0.1"]}, "register": {}}
    path = tmp_path / "nights.yaml"
    plain = recipe(steps=2).plain() | {"name": "nights", "schedule": {"cron": "30 2 * * *"}} | more
    OmegaConf.save(OmegaConf.create(plain), path)
    return str(path)


def test_a_month_from_a_dry_run_to_the_way_back(selfray, file, tmp_path):
    planned = json.loads(selfray("run", file, "--date", "2026-01-01", "--dry-run", "--json"))
    assert [stage["runs"] for stage in planned["stages"]] == [True] * 5
    assert not (tmp_path / "runs").exists()

    waiting = json.loads(selfray("run", file, "--backfill", "2026-01-01", "2026-01-02", "--dry-run", "--json"))
    assert waiting == [{"date": f"2026-01-0{day}", "status": "waiting"} for day in (1, 2)]
    done = json.loads(selfray("run", file, "--backfill", "2026-01-01", "2026-01-02", "--json"))
    assert [row["status"] for row in done] == ["done", "done"]
    again = json.loads(selfray("run", file, "--backfill", "2026-01-01", "2026-01-02", "--json"))
    assert [row["status"] for row in again] == ["done before", "done before"]
    status = json.loads((tmp_path / "runs/nights-2026-01-02/status.json").read_text())
    assert (status["status"], status["exit"], status["date"]) == ("done", 0, "2026-01-02")

    shown = selfray("run", file, "evaluate.max_samples=100", "--date", "2026-01-02", "--dry-run")
    assert "evaluate.max_samples: 60000 -> 100" in shown
    assert "after evaluate" in shown
    made = json.loads(selfray("run", file, "--date", "2026-01-02", "--until", "evaluate", "--json"))
    assert made["status"] == "partial"  # so that a backfill will do the rest
    assert made["stages"]["register"]["state"] == "done"

    listed = json.loads(selfray("model", "list", "--json"))
    assert [(version["uri"], version["aliases"]) for version in listed] == [
        ("models:/nights/2", ["candidate", "champion"]),
        ("models:/nights/1", []),
    ]
    assert "2026-01-02" in selfray("model", "show", "nights")
    assert "models:/nights/1 is champion again, in place of version 2" in selfray("model", "rollback", "nights")
    assert "models:/nights/2 is champion; before it was version 1" in selfray("model", "promote", "nights")
    assert "has no version '7'" in selfray("model", "promote", "nights", "7", status=2)


def test_a_refusal_has_a_status_of_its_own_and_json_says_why(selfray, file):
    said = json.loads(selfray("run", file, "gate.require=[knn > 0.99999]", "--json", status=3))
    assert (said["status"], said["exit"]) == ("refused", 3)
    assert "asked was > 0.99999" in said["reason"]
    assert said["stages"]["gate"]["state"] == "refused"
    assert said["stages"]["register"]["state"] == "waiting"


def test_a_server_that_is_away_has_a_status_of_its_own(selfray, file, monkeypatch):
    monkeypatch.setattr("selfray.tracking.CLOSE_SECONDS", 1.0)
    monkeypatch.setattr("selfray.tracking.RETRY_SECONDS", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    quick = ["gate=null", "stages.register.retries=1", "stages.register.backoff_seconds=0.01"]
    said = json.loads(selfray("run", file, *quick, "--json", status=75))
    assert "stage register gave up after 2 attempts: MLflow at http://127.0.0.1:9" in said["reason"]
    assert said["stages"]["evaluate"]["state"] == "done"  # training does not need the server


def test_a_mistake_is_said_as_json_too(selfray, file):
    said = json.loads(selfray("run", file, "corpus.path=/no/such/corpus", "--json", status=2))
    assert said["exit"] == 2
    assert "the folder does not exist" in said["reason"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "{file}", "--from", "evalute"], "did you mean 'evaluate'"),
        (["run", "{file}", "--date", "yesterday"], "is no date"),
        (["run", "{file}", "--backfill", "2026-01-01", "2026-01-02", "--out", "x"], "leave out --out"),
        (["run", "{file}", "schedule=null", "--backfill", "2026-01-01", "2026-01-02"], "has no schedule"),
        (["schedule", "emit", "{file}"], "say what to write"),
        (["schedule", "next", "{file}", "schedule.timezone=Berlin"], "no time zone 'Berlin'"),
        (["model", "show", "nothing"], "none is registered yet"),
    ],
)
def test_what_cannot_be_done_is_said(selfray, words, said, file):
    assert said in selfray(*(word.format(file=file) for word in words), status=2).replace("\n", " ")


def test_a_schedule_is_explained(selfray, file):
    assert "At 02:30 every day, UTC" in selfray("schedule", "next", file)
    found = json.loads(selfray("schedule", "next", file, "--count", "2", "--json"))
    assert len(found["next"]) == 2
    assert "nothing has run yet" in selfray("schedule", "history", file)
    selfray("schedule", "emit", file, "--systemd", "--crontab", "--cronjob", "--raycronjob", "--out", "units")
