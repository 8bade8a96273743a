"""The checker of KubeRay's manifests finds what is wrong and nothing else."""

import json
from typing import Any

import pytest

from . import crds

CONTAINER = {"name": "ray", "image": "example/selfray:1", "resources": {"limits": {"cpu": 1, "memory": "2Gi"}}}
JOB: dict[str, Any] = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"name": "nightly"},
    "spec": {
        "entrypoint": "selfray run nightly",
        "shutdownAfterJobFinishes": True,
        "backoffLimit": 1,
        "rayClusterSpec": {
            "rayVersion": "2.60.0",
            "headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [CONTAINER]}}},
            "workerGroupSpecs": [
                {
                    "groupName": "workers",
                    "minReplicas": 1,
                    "maxReplicas": 4,
                    "template": {"spec": {"containers": [CONTAINER]}},
                }
            ],
        },
    },
}


def copy(job: dict[str, Any]) -> dict[str, Any]:
    """A copy whose parts are not shared."""
    return json.loads(json.dumps(job))


def test_a_good_job_has_no_mistakes():
    assert crds.validate(JOB) == []


@pytest.mark.parametrize(
    ("path", "key", "value", "said"),
    [
        (("spec",), "shutdownAfterJobFinish", True, "shutdownAfterJobFinish"),
        (("spec",), "backoffLimit", "1", "'1' is not of type 'integer'"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0), "minReplica", 1, "minReplica"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0), "volumeMount", [], "volume"),
        (("spec", "rayClusterSpec"), "authOptions", {"mode": "tokens"}, "tokens"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0), "name", None, "None is not"),
        ((), "kind", "RayJobs", "none of"),
    ],
)
def test_an_injected_mistake_is_found_and_named(path, key, value, said):
    job = copy(JOB)
    place: Any = job
    for step in path:
        place = place[step]
    place[key] = value
    (mistake,) = crds.validate(job)
    assert said in mistake


def test_quantities_may_be_numbers_or_text_but_not_lists():
    job = copy(JOB)
    limits = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    limits["cpu"] = "500m"
    assert crds.validate(job) == []
    limits["cpu"] = [1]
    assert len(crds.validate(job)) == 1


def test_without_definitions_the_test_is_skipped_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFRAY_KUBERAY_CRDS", str(tmp_path))
    crds.schemas.cache_clear()
    with pytest.raises(pytest.skip.Exception, match="SELFRAY_KUBERAY_CRDS"):
        crds.validate(JOB)


def test_keys_of_a_resource_that_read_like_keywords_stay(monkeypatch):
    schema = {"type": "object", "properties": {"default": {"type": "string"}, "nullable": {"type": "boolean"}}}
    assert set(crds.closed(schema)["properties"]) == {"default", "nullable"}
