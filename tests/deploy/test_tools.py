"""Deployment files, read by the programs that will read them."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from . import crds, manifests
from .tools import DEPLOY, ROOT, ask

COMPOSE = DEPLOY / "compose"


@pytest.mark.parametrize("name", manifests.RENDERED)
def test_kubernetes_core_resources_are_right(name: str, tmp_path: Path):
    core = [document for document in manifests.rendered(name) if not document["apiVersion"].startswith(crds.GROUP)]
    assert len(core) >= 6
    file = tmp_path / "core.yaml"
    file.write_text(yaml.safe_dump_all(core), encoding="utf-8")
    done = ask("kubernetes-validate", "--strict", file)
    assert done.returncode == 0, done.stdout + done.stderr
    core[-1]["spec"]["podSelectors"] = core[-1]["spec"].pop("podSelector")
    file.write_text(yaml.safe_dump_all(core), encoding="utf-8")
    assert ask("kubernetes-validate", "--strict", file).returncode != 0


@pytest.mark.parametrize("name", manifests.RENDERED)
def test_resources_of_kuberay_are_right(name: str):
    found = [document for document in manifests.rendered(name) if document["apiVersion"].startswith(crds.GROUP)]
    assert [document["kind"] for document in found] == ["RayCluster" if name == "base" else "RayCronJob"]
    for document in found:
        assert crds.validate(document) == []


def test_jobs_get_the_cluster_that_the_base_describes():
    cluster, template = manifests.one("base", "RayCluster"), manifests.one("nightly", "RayCronJob")
    assert template["spec"]["jobTemplate"]["rayClusterSpec"] == cluster["spec"]


@pytest.mark.parametrize("name", ["overlays/cpu", "overlays/gpu", "overlays/kueue", "overlays/raycronjob"])
def test_an_overlay_sets_the_image_of_every_container(name: str):
    images = {
        container["image"]
        for document in manifests.rendered(name)
        for _, spec in manifests.pods(document)
        for container in spec["containers"]
    }
    variant = "cuda" if name in ("overlays/gpu", "overlays/kueue") else "cpu"
    assert images == {f"registry.example.com/selfray:0.1.0-{variant}"}


def test_by_default_a_cronjob_starts_the_jobs_and_kuberay_starts_none():
    cron, template = manifests.one("overlays/cpu", "CronJob")["spec"], manifests.one("overlays/cpu", "RayCronJob")
    assert template["spec"]["suspend"] is True
    assert cron["schedule"] == template["spec"]["schedule"]
    assert cron["timeZone"] == template["spec"]["timeZone"]
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["startingDeadlineSeconds"] > 0
    job = template["spec"]["jobTemplate"]
    assert job["shutdownAfterJobFinishes"] is True
    assert job["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert job["activeDeadlineSeconds"] < cron["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 86400
    environment = cron["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "TEMPLATE", "value": template["metadata"]["name"]} in environment
    assert {"name": "QUEUE", "value": ""} in environment


def test_the_gpu_overlay_asks_for_a_gpu_for_every_worker():
    job = manifests.one("overlays/gpu", "RayCronJob")["spec"]["jobTemplate"]
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert f"workers={group['replicas']} gpu=true" in job["entrypoint"]


def test_the_kueue_overlay_names_the_queue_to_the_launcher():
    (spec,) = [spec for _, spec in manifests.pods(manifests.one("overlays/kueue", "CronJob"))]
    environment = {entry["name"]: entry.get("value") for entry in spec["containers"][0]["env"]}
    assert environment.keys() == {"NAMESPACE", "JOB_NAME", "JOB_UID", "TEMPLATE", "QUEUE"}
    assert environment["QUEUE"] == "selfray"


def test_the_raycronjob_overlay_needs_no_launcher_and_limits_its_own_history():
    kinds = {document["kind"] for document in manifests.rendered("overlays/raycronjob")}
    assert not kinds & {"CronJob", "Role", "RoleBinding", "ServiceAccount"}
    spec = manifests.one("overlays/raycronjob", "RayCronJob")["spec"]
    assert spec["suspend"] is False
    job = spec["jobTemplate"]
    assert "{date}" not in job["entrypoint"]
    # KubeRay's rules in CEL, which JSON Schema does not carry: conditions name one status, and rules exclude a TTL
    rules = job["deletionStrategy"]["deletionRules"]
    assert all(len(rule["condition"].keys() - {"ttlSeconds"}) == 1 for rule in rules)
    assert {(rule["policy"], rule["condition"]["jobStatus"]) for rule in rules} == {
        (policy, status) for policy in ("DeleteCluster", "DeleteSelf") for status in ("SUCCEEDED", "FAILED")
    }
    assert job["shutdownAfterJobFinishes"] is False
    assert "ttlSecondsAfterFinished" not in job


def test_a_misspelt_key_in_a_kustomization_is_refused(tmp_path: Path):
    copied = tmp_path / "kubernetes"
    shutil.copytree(manifests.KUBERNETES, copied)
    file = copied / "overlays" / "cpu" / "kustomization.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("resources:", "resource:"), encoding="utf-8")
    assert ask("kubectl", "kustomize", copied / "overlays" / "cpu").returncode != 0


def filled(folder: Path) -> Path:
    """An .env with a value for everything that is asked for."""
    text = (COMPOSE / ".env.example").read_text(encoding="utf-8")
    file = folder / ".env"
    file.write_text("".join(f"{line}x\n" if line.endswith("=") else f"{line}\n" for line in text.splitlines()))
    return file


@pytest.mark.parametrize("files", [("compose.yaml",), ("compose.yaml", "gpu.yaml")])
def test_compose_accepts_its_files(files: tuple[str, ...], tmp_path: Path):
    options = [part for file in files for part in ("--file", COMPOSE / file)]
    done = ask("docker-compose", "--env-file", filled(tmp_path), *options, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    services = json.loads(done.stdout)["services"]
    assert services.keys() == {"postgres", "s3", "mlflow", "ray-head", "ray-worker"}
    assert {port["host_ip"] for service in services.values() for port in service.get("ports", [])} == {"127.0.0.1"}
    variant = "cuda" if "gpu.yaml" in files else "cpu"
    assert services["ray-worker"]["image"].endswith(f"-{variant}")
    contexts = {service["build"]["context"] for service in services.values() if "build" in service}
    assert contexts == {str(ROOT)}


def test_compose_does_not_start_without_passwords():
    done = ask("docker-compose", "--env-file", COMPOSE / ".env.example", "--file", COMPOSE / "compose.yaml", "config")
    assert done.returncode != 0
    assert "required variable POSTGRES_PASSWORD is missing" in done.stderr


def test_compose_refuses_a_misspelt_key(tmp_path: Path):
    text = (COMPOSE / "compose.yaml").read_text(encoding="utf-8").replace("stop_grace_period", "stop_grace_time", 1)
    (tmp_path / "compose.yaml").write_text(text, encoding="utf-8")
    done = ask("docker-compose", "--env-file", filled(tmp_path), "--file", tmp_path / "compose.yaml", "config", "-q")
    assert done.returncode != 0
    assert "stop_grace_time" in done.stderr


def test_the_dockerfile_has_no_findings(tmp_path: Path):
    done = ask("hadolint", DEPLOY / "docker" / "Dockerfile")
    assert done.returncode == 0, done.stdout
    poor = tmp_path / "Dockerfile"
    poor.write_text("FROM debian:latest\nRUN apt-get install -y curl\nUSER root\n")
    assert ask("hadolint", poor).returncode != 0
