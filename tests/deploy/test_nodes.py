"""A pipeline on several Ray nodes that ask for a token; one of them ends as a pod does, by the script of the image."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.faults.invariants import violations
from tests.faults.runs import EVERY, STEPS, Run, recipe

from .tools import DEPLOY, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
NOTICE_SECONDS = 30  # more than the interval at which Ray Train looks for nodes that come and go


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The address of a cluster, `spare`, which names a node that can be missed, and `remove`, which ends one."""
    environment = {**os.environ, **TOKEN, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.deploy.nodes"]
    with (
        (tmp_path / "cluster.log").open("wb") as log,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as serving,
    ):
        assert serving.stdin is not None
        assert serving.stdout is not None
        line = serving.stdout.readline()
        while line and not line.startswith("{"):
            line = serving.stdout.readline()

        def tell(text: str) -> None:
            print(text, file=serving.stdin, flush=True)

        def spare() -> str:
            tell("spare")
            return serving.stdout.readline().strip()  # type: ignore[union-attr]

        yield {**json.loads(line), "remove": tell, "spare": spare}
        serving.stdin.close()
        serving.wait(60)


@pytest.mark.skipif(not shutil.which("bash"), reason="the script is one of bash")
def test_a_pipeline_on_two_nodes_survives_the_announced_end_of_one(
    cluster: dict[str, Any], digits: Path, tmp_path: Path
):
    slow = {"name": "tests.faults.slow", "pause": 0.4}
    settings = {"min_workers": 1, "cpus_per_worker": 1.6, "objective": slow}
    file = recipe(tmp_path, digits, 2, **settings)
    content = yaml.safe_load(file.read_text(encoding="utf-8")) | {"evaluate": {"probes": {"knn": {}}}, "register": {}}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    run = Run(file, tmp_path / "runs" / "nodes", {**TOKEN, "RAY_ADDRESS": cluster["address"]})
    try:
        run.start()
        run.until_step(EVERY + 3)
        node = cluster["spare"]()
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        script, begun = DEPLOY / "docker" / "bin" / "drain-node", time.monotonic()
        drained = subprocess.run(
            [script, str(NOTICE_SECONDS), "--address", cluster["address"], "--node-id", node],
            env={**os.environ, **TOKEN, "PATH": programs},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert drained.returncode == 0, drained.stderr
        assert time.monotonic() - begun >= NOTICE_SECONDS, drained.stdout + drained.stderr  # other nodes' raylets live
        cluster["remove"](node)
        assert run.wait() == 0, run.log()[-3000:]
    finally:
        run.end()
    assert violations(run, digits) == []
    worlds = [record.world for record in run.records()]
    assert (worlds[0], worlds[-1]) == (2, 1)
    assert max(record.step for record in run.records()) == STEPS - 1
    assert (run.out / "encoder" / "encoder.safetensors").is_file()
    summary = json.loads((run.out / "summary.json").read_text())
    assert summary["status"] == "FINISHED"


def test_a_stranger_without_the_token_is_refused(cluster: dict[str, Any]):
    code = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print(ray.nodes())"
    for token, status in (("f" * 64, False), (TOKEN["RAY_AUTH_TOKEN"], True)):
        environment = {**os.environ, **TOKEN, "RAY_AUTH_TOKEN": token, "RAY_gcs_server_request_timeout_seconds": "5"}
        done = subprocess.run(
            [sys.executable, "-c", code, cluster["address"]], env=environment, capture_output=True, timeout=180
        )
        assert (done.returncode == 0) is status, done.stderr[-2000:]
