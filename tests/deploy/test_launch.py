"""The launcher of the CronJob against an API server of this test, which keeps what it is given."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import crds, manifests
from .tools import DEPLOY

LAUNCHER = DEPLOY / "docker" / "bin" / "launch-rayjob"
BASE = "/apis/ray.io/v1/namespaces/selfray"
TICK = "selfray-nightly-29735160"  # minutes since 1970


@dataclass
class Ended:
    """How a launcher ended."""

    returncode: int
    stdout: str
    stderr: str


Launch = Callable[..., Ended]


class Server:
    """Stores RayJobs; their status goes through the steps of a script, one at every look."""

    def __init__(self) -> None:
        template = next(document for _, document in manifests.written() if document["kind"] == "RayCronJob")
        cluster = next(document for _, document in manifests.written() if document["kind"] == "RayCluster")
        template["spec"]["jobTemplate"]["rayClusterSpec"] = cluster["spec"]
        self.template, self.jobs, self.created = template, dict[str, Any](), 0
        self.steps: list[dict[str, str] | int] = []  # a status, or the HTTP error to answer with
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(("GET", self.path))
                self.answer(*outer.get(self.path))

            def do_POST(self) -> None:
                outer.asked.append(("POST", self.path))
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(*outer.post(self.path, body))

            def answer(self, status: int, document: dict[str, Any]) -> None:
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *ignored: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.host = f"http://127.0.0.1:{self.http.server_port}"

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        if path == f"{BASE}/raycronjobs/selfray-nightly":
            return 200, self.template
        job = self.jobs.get(path.removeprefix(f"{BASE}/rayjobs/"))
        if job is None:
            return 404, {"reason": "NotFound"}
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        return (step, {}) if isinstance(step, int) else (200, job | {"status": step})

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert path.split("?")[0] == f"{BASE}/rayjobs"
        name = body["metadata"]["name"]
        if name in self.jobs:
            return 409, {"reason": "AlreadyExists"}
        self.jobs[name], self.created = body, self.created + 1
        return 201, body


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def launch(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """Runs the launcher's script in this process, with a test's API server for the cluster's."""
    from kubernetes import client, config

    loader = SourceFileLoader("launch_rayjob", str(LAUNCHER))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    launcher = module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(launcher)
    monkeypatch.setattr(launcher, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(launcher, "PATIENCE_SECONDS", 1.0)

    def load() -> None:
        configuration = client.Configuration(host=server.host)
        configuration.retries = False
        client.Configuration.set_default(configuration)

    monkeypatch.setattr(config, "load_incluster_config", load)

    def start(name: str = TICK, queue: str = "") -> Ended:
        settings = {"NAMESPACE": "selfray", "TEMPLATE": "selfray-nightly", "JOB_NAME": name, "JOB_UID": "u-1"}
        for key, value in {**settings, "QUEUE": queue}.items():
            monkeypatch.setenv(key, value)
        status = launcher.main()
        said = capsys.readouterr()
        return Ended(status, said.out, said.err)

    yield start
    client.Configuration.set_default(None)


def test_it_creates_the_job_of_the_template_waits_and_succeeds(server: Server, launch: Launch):
    running = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    server.steps = [{}, running, running, {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}]
    done = launch(queue="nights")
    assert done.returncode == 0, done.stderr
    said = [line.removeprefix(f"{TICK}: ") for line in done.stdout.splitlines()]
    assert said == ["created", "waiting", "Running RUNNING", "Complete SUCCEEDED", f"{TICK} is over"]
    job = server.jobs[TICK]
    date = datetime.fromtimestamp(29735160 * 60, UTC).date().isoformat()
    expected = server.template["spec"]["jobTemplate"]["entrypoint"].replace("{date}", date)
    assert job["spec"] == server.template["spec"]["jobTemplate"] | {"entrypoint": expected}
    assert f"--date {date}" in expected
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "nights"
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", TICK, "u-1")


def test_the_job_is_what_kuberay_accepts(server: Server, launch: Launch):
    server.steps = [{"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}]
    assert launch().returncode == 0
    assert crds.validate(server.jobs[TICK]) == []
    assert "kueue.x-k8s.io/queue-name" not in server.jobs[TICK]["metadata"]["labels"]


def test_a_failed_job_is_a_failed_launcher_that_says_why(server: Server, launch: Launch):
    retrying = {"jobDeploymentStatus": "Retrying", "jobStatus": "FAILED"}
    failed = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "message": "exit 3"}
    server.steps = [retrying, failed]
    done = launch()
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == f"{TICK}: AppFailed exit 3"
    assert "Retrying" in done.stdout


def test_a_second_launcher_waits_for_the_job_of_the_first(server: Server, launch: Launch):
    server.steps = [{"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}]
    assert launch().returncode == 0
    done = launch()
    assert done.returncode == 0
    assert f"{TICK}: exists, waiting for it" in done.stdout
    assert server.created == 1


def test_an_api_server_that_is_away_for_a_moment_is_waited_for(server: Server, launch: Launch):
    server.steps = [503, 429, {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}]
    done = launch()
    assert done.returncode == 0
    assert done.stdout.count("trying again") == 2


def test_an_api_server_that_stays_away_is_a_temporary_failure(server: Server, launch: Launch):
    server.steps = [503]
    done = launch()
    assert done.returncode == 75
    assert "stayed away" in done.stderr


def test_what_is_not_allowed_or_gone_fails_at_once(server: Server, launch: Launch):
    server.steps = [403]
    done = launch()
    assert done.returncode == 1
    assert "403" in done.stderr


def test_a_job_that_a_person_creates_is_of_today(server: Server, launch: Launch):
    server.steps = [{"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}]
    before = datetime.now(UTC).date().isoformat()
    assert launch(name="first").returncode == 0
    assert server.jobs["first"]["spec"]["entrypoint"].endswith((before, datetime.now(UTC).date().isoformat()))


def test_the_launcher_asks_for_no_more_than_its_role_allows(server: Server, launch: Launch):
    server.steps = [{"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}]
    assert launch().returncode == 0
    role = yaml.safe_load_all((Path(manifests.KUBERNETES) / "nightly" / "launcher.yaml").read_text(encoding="utf-8"))
    rules = next(document for document in role if document["kind"] == "Role")["rules"]
    verbs = {("POST", "rayjobs"): "create", ("GET", "rayjobs"): "get", ("GET", "raycronjobs"): "get"}
    for method, path in server.asked:
        resource = path.removeprefix(f"{BASE}/").split("/")[0].split("?")[0]
        assert any(resource in rule["resources"] and verbs[method, resource] in rule["verbs"] for rule in rules)
