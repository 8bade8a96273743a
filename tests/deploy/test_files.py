"""Deployment files that need no further program: cluster launcher, examples for orchestrators, scripts of the image."""

import ast
import copy
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from .tools import DEPLOY

LAUNCHER = sorted((DEPLOY / "launcher").glob("*.yaml"))
ORCHESTRATORS = sorted(file for file in (DEPLOY / "orchestrators").iterdir() if file.is_file())
STAGES = ("corpus", "pretrain", "evaluate", "register")


@pytest.mark.parametrize("file", LAUNCHER, ids=lambda file: file.stem)
def test_ray_accepts_the_files_of_its_cluster_launcher(file: Path):
    written = yaml.safe_load(file.read_text(encoding="utf-8"))
    config = prepare_config(copy.deepcopy(written))
    validate_config(config)
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert not any("dashboard-host" in command for command in starts)  # on loopback, by default
    assert "/home/selfray/.ray/auth_token" in written["file_mounts"]


@pytest.mark.parametrize("file", LAUNCHER, ids=lambda file: file.stem)
def test_ray_refuses_a_misspelt_key(file: Path):
    written = yaml.safe_load(file.read_text(encoding="utf-8"))
    written["dockers"] = written.pop("docker")
    with pytest.raises(jsonschema.ValidationError, match="dockers"):
        validate_config(prepare_config(written))


def commands(file: Path) -> list[str]:
    """All texts in a file that could be parts of a command."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        return [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    parts: list[str] = []

    def walk(thing: object) -> None:
        if isinstance(thing, dict):
            [walk(value) for value in thing.values()]
        elif isinstance(thing, list):
            [walk(value) for value in thing]
        else:
            parts.append(str(thing))

    walk(yaml.safe_load(text))
    return parts


@pytest.mark.parametrize("file", ORCHESTRATORS, ids=lambda file: file.name)
def test_an_orchestrator_calls_every_stage_with_options_that_exist(file: Path):
    import typer.main

    from selfray.cli import app

    root = typer.main.get_command(app)
    known = {name for parameter in root.commands["run"].params for name in parameter.opts}  # type: ignore[attr-defined]
    parts = commands(file)
    options = {part for part in parts if isinstance(part, str) and part.startswith("--")}
    assert options >= {"--until", "--json"}
    assert options <= known
    assert {"selfray", "run"} <= set(parts)
    assert set(STAGES) <= set(parts)


@pytest.mark.parametrize("name", ["mlflow-server", "bin/drain-node", "bin/stop-driver", "bin/launch-rayjob"])
def test_scripts_can_be_executed_and_read(name: str):
    file = DEPLOY / "docker" / name
    assert file.stat().st_mode & 0o111
    interpreter = file.read_text(encoding="utf-8").split("\n", 1)[0]
    if "python" in interpreter:
        ast.parse(file.read_text(encoding="utf-8"))
    else:
        shell = interpreter.removeprefix("#!")
        subprocess.run([shell, "-n", file], check=True)


def test_the_server_names_what_it_was_not_told():
    done = subprocess.run(
        ["sh", DEPLOY / "docker" / "mlflow-server"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "MLFLOW_BACKEND_STORE_URI" in done.stderr
    assert "names the database" in done.stderr


def test_a_head_without_a_run_stops_at_once_and_one_with_a_run_waits_for_it(tmp_path: Path):
    script = DEPLOY / "docker" / "bin" / "stop-driver"
    # pgrep and pkill look at all processes of the machine, so they are told of this test's only
    fake = tmp_path / "selfray"
    fake.write_text("#!/bin/sh\ntrap 'sleep 1; echo saved; exit 130' TERM\necho ready\nwhile :; do sleep 0.1; done\n")
    fake.chmod(0o755)
    with subprocess.Popen([fake, "run", "x.yaml"], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        for tool in ("pgrep", "pkill"):
            path = tmp_path / tool
            alive = f"kill -0 {driver.pid} 2>/dev/null && grep -vq zombie /proc/{driver.pid}/status"
            path.write_text(
                f"#!/bin/sh\n{alive} || exit 1\n" + (f"kill -TERM {driver.pid}\n" if tool == "pkill" else "")
            )
            path.chmod(0o755)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        stopping = subprocess.Popen([script, "30"], env=environment)
        assert driver.wait(20) == 130
        assert driver.stdout.read() == "saved\n"
        assert stopping.wait(20) == 0
        assert subprocess.run([script, "30"], env=environment, timeout=5, check=False).returncode == 0
