"""The command line as a person meets it."""

import json
import signal
import subprocess
import sys

import pytest

from selfray.cli import main

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's and its libraries' own deprecations


@pytest.fixture
def selfray(capsys, monkeypatch, tmp_path):
    """Runs a command in an empty folder and returns what it printed; `status` is what it must exit with."""

    def run(*words: str, status: int = 0) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["selfray", *words])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert (ended.value.code or 0) == status, out + err
        return (err if status else out).replace("\n", " ") if status else out

    return run


def test_a_mistake_ends_a_real_process_with_status_2_and_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "selfray", "run", "nowhere.yaml"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: no pipeline file nowhere.yaml")
    assert "Traceback" not in done.stderr


@pytest.fixture
def pipeline(tmp_path, digits):
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"""
# mine
corpus: {{path: {digits}}}
pretrain:
  objective: {{name: simclr, width: 16, temperature: 0.2}}
  encoder: {{name: conv, width: 16, stages: 1}}
  batch: 32
  steps: 6
  workers: 0
  log_every: 2
evaluate: {{}}
"""
    )
    return file


def test_list_names_everything_that_ships(selfray):
    listed = json.loads(selfray("list", "--json"))
    assert {"simclr", "moco"} <= set(listed["objectives"])
    assert {"conv", "resnet", "vit"} <= set(listed["encoders"])
    assert {"knn", "linear"} <= set(listed["probes"])
    assert {"quickstart", "image/simclr", "image/moco"} <= set(listed["pipelines"])
    assert {"mnist-5k", "fashion-mnist"} <= set(listed["corpora"])


@pytest.mark.parametrize("name", ["simclr", "moco", "conv", "resnet", "knn", "adamw", "views", "pretrain"])
def test_show_explains_every_setting(selfray, name):
    shown = selfray("show", name)
    assert "default" in shown
    assert len(shown.splitlines()) > 4


def test_new_copies_a_pipeline_that_checks(selfray, tmp_path, digits):
    selfray("new", "other", "--from", "quickstart")
    assert "name: other" in (tmp_path / "other.yaml").read_text()
    selfray("check", "other.yaml", "corpus.fetch=null", f"corpus.path={digits}")
    assert "exists already" in selfray("new", "other", status=2)


def test_check_starts_nothing_and_says_what_a_run_needs(selfray, pipeline, tmp_path):
    found = json.loads(selfray("check", str(pipeline), "--json"))
    assert found["steps"] == 6
    assert found["parameters"]["encoder"] > 1000
    assert found["memory_bytes_per_worker"] > found["activation_bytes"] > 32 * 16 * 16
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.yaml"]


def test_run_evaluates_reports_and_does_nothing_twice(selfray, pipeline, digits, tmp_path):
    first = selfray("run", str(pipeline))
    for expected in ("pretrain", "knn", "linear", "report", "encoder", "mlflow ui"):
        assert expected in first
    run = tmp_path / "runs" / "mine"
    for file in ("recipe.yaml", "metrics.jsonl", "report.html", "summary.json", "encoder/encoder.json", "mlflow.json"):
        assert (run / file).is_file(), file
    asked = ("probes.knn.neighbours=1", "probes.linear.iterations=9", "evaluate.label_shares=[0.1,1]")
    found = selfray("evaluate", "runs/mine/encoder", str(digits), *asked)
    assert "knn with 10 % of the labels" in found
    assert "svm" not in found
    alone = json.loads((tmp_path / "evaluation" / "results.json").read_text(encoding="utf-8"))
    assert {row["probe"]: row for row in alone["probes"]}["knn"]["settings"]["neighbours"] == 1
    again = selfray("run", str(pipeline))
    assert again.count("done before") == 2
    refused = selfray("run", str(pipeline), "batch=64", status=2)
    assert "pretrain.batch: 32 -> 64" in refused
    assert "--fresh" in refused
    longer = json.loads(selfray("run", str(pipeline), "steps=4", "--fresh", "--json"))
    assert longer["probes"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "nowhere.yaml"], "no pipeline file nowhere.yaml"),
        (["run", "{pipeline}", "temprature=1"], "unknown key"),
        (["run", "{pipeline}", "objective.temprature=1"], "did you mean 'temperature'?"),
        (["run", "{pipeline}", "corpus.path=/no/such/corpus"], "the folder does not exist"),
        (["run", "{pipeline}", "gpu=true"], "no CUDA device"),
        (["run", "{pipeline}", "steps"], "not of the form key=value"),
        (["check", "{pipeline}", "batch=4096"], "only"),
        (["corpus", "prepare", "{empty}", "{empty}-out"], "empty"),
        (["corpus", "prepare", "/no/such/folder", "{empty}-out"], "/no/such/folder"),
        (["corpus", "inspect", "{empty}"], "not a prepared corpus"),
        (["corpus", "fetch", "mnist"], "mnist-5k"),
        (["evaluate", "{empty}", "{empty}"], "encoder"),
        (["evaluate", "{empty}", "{empty}", "probes.linea.iterations=1"], "did you mean 'linear'?"),
        (["evaluate", "{empty}", "{empty}", "probes.knn.neighbours=0", "labels=-1"], "the evaluation has 2 problems"),
        (["evaluate", "{empty}", "{empty}", "corpus=mnist-5k"], "the corpus is an argument of its own here"),
        (["embed", "{empty}", "{empty}", "{empty}-out"], "not a prepared corpus"),
        (["show", "simclrr"], "did you mean 'simclr'?"),
        (["list", "objectivs"], "did you mean 'objectives'?"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence_with_status_2(selfray, words, said, pipeline, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    filled = [w.format(pipeline=pipeline, empty=empty) for w in words]
    assert said in selfray(*filled, status=2)


def test_ctrl_c_saves_says_where_and_the_same_command_goes_on(pipeline, tmp_path):
    command = [sys.executable, "-m", "selfray", "run", str(pipeline), "steps=3000", "log_every=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("  step "):
            process.send_signal(signal.SIGINT)
            break
    said += process.stdout.readlines()
    process.stdout.close()
    assert process.wait() == 130, said
    assert "stopped after step" in said[-1]
    assert "run the same command to resume" in said[-1]
    (checkpoint,) = (tmp_path / "runs/mine/checkpoints").glob("step_*")
    step = int(checkpoint.name.removeprefix("step_"))
    assert 0 < step < 3000
    assert json.loads((tmp_path / "runs/mine/summary.json").read_text())["status"] == "KILLED"
    again = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    for line in again.stdout:
        if "continuing from step" in line:
            assert f"{step:,}" in line
            break
    else:
        raise AssertionError("the second run did not continue")
    again.kill()
    again.stdout.close()
    again.wait()
