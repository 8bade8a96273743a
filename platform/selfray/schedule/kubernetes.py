"""A pipeline on Kubernetes: a CronJob whose pod creates a RayJob and waits for it, or a RayCronJob of KubeRay.

The files are complete, and small enough to read; `deploy/kubernetes` is the larger setup, with storage, network policy
and overlays, from which pod settings should be taken over.
"""

from dataclasses import dataclass
from typing import Any

import yaml

from ..errors import UserError
from .scheduler import Job

PART = {"app.kubernetes.io/part-of": "selfray"}
QUEUE = "kueue.x-k8s.io/queue-name"
USER = 10001  # of the image in deploy/docker
TODAY = "$(date -u +%F)"
CAVEATS = """\
# RayCronJob is an alpha feature of KubeRay 1.7: unless the operator runs with the feature gate RayCronJob, it does
# nothing, and says nothing. It has no concurrency policy: a run that takes longer than the interval overlaps with the
# next. A job that is started again after midnight, UTC, works on the next date. After an outage it starts one job for
# each time that was missed. It cannot label its jobs for a Kueue queue.
# `--cronjob` has none of these limits.
"""


class _Plain(yaml.SafeDumper):
    """Repeats what occurs twice, for people, instead of referring to it."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


@dataclass(frozen=True)
class Place:
    """Where and with what the pods run."""

    image: str = "selfray:0.1.0-cpu"
    namespace: str = "selfray"
    workers: int = 1  # pods with Ray workers
    cpus: int = 4
    memory: str = "8Gi"
    gpus: int = 0  # of each worker
    queue: str = ""  # of Kueue
    claim: str = "selfray"  # a volume claim that all pods mount, with runs and corpora


def cronjob(job: Job, place: Place) -> str:
    """YAML of the CronJob, its RayJob and what the launcher may do."""
    name = _name(job)
    template = _rayjob(job, place, "{date}")  # filled in by the launcher
    pod = {
        "serviceAccountName": f"{name}-launcher",
        "restartPolicy": "Never",
        "securityContext": _pod_security(),
        "containers": [
            {
                "name": "launcher",
                "image": place.image,
                "command": ["launch-rayjob"],
                "env": [
                    _from_field("NAMESPACE", "metadata.namespace"),
                    _from_field("JOB_NAME", "metadata.labels['batch.kubernetes.io/job-name']"),
                    _from_field("JOB_UID", "metadata.labels['batch.kubernetes.io/controller-uid']"),
                    {"name": "TEMPLATE", "value": name},
                    {"name": "QUEUE", "value": place.queue},
                ],
                "resources": {
                    "requests": {"cpu": "50m", "memory": "128Mi"},
                    "limits": {"cpu": "500m", "memory": "256Mi"},
                },
                "securityContext": _security(),
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}}],
    }
    late = round(60 * job.schedule.late_minutes) if job.schedule.missed != "all" else None
    spec: dict[str, Any] = {
        **_when(job),
        "concurrencyPolicy": "Forbid",
        **({"startingDeadlineSeconds": late} if late else {}),
        "successfulJobsHistoryLimit": 7,
        "failedJobsHistoryLimit": 7,
        "jobTemplate": {
            "metadata": {"labels": PART},
            "spec": {
                "backoffLimit": 4,
                "podFailurePolicy": {
                    "rules": [
                        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                        {
                            "action": "FailJob",
                            "onExitCodes": {"containerName": "launcher", "operator": "In", "values": [1]},
                        },
                    ]
                },
                "template": {"metadata": {"labels": PART}, "spec": pod},
            },
        },
    }
    documents = [
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": _metadata(job, place), "spec": spec},
        _raycronjob(job, place, template, suspend=True),
        *_rights(job, place),
    ]
    head = "# The RayCronJob is suspended: the launcher of the CronJob makes RayJobs from its template, and waits.\n"
    return head + yaml.dump_all(documents, Dumper=_Plain, sort_keys=False)


def raycronjob(job: Job, place: Place) -> str:
    """YAML of a RayCronJob, with what to know about it."""
    if place.queue:
        raise UserError("a RayCronJob cannot label its jobs for a Kueue queue; use --cronjob")
    document = _raycronjob(job, place, _rayjob(job, place, TODAY), suspend=False)
    return CAVEATS + yaml.dump(document, Dumper=_Plain, sort_keys=False)


def _raycronjob(job: Job, place: Place, template: dict[str, Any], suspend: bool) -> dict[str, Any]:
    spec = {**_when(job), "suspend": suspend, "jobTemplate": template}
    return {"apiVersion": "ray.io/v1", "kind": "RayCronJob", "metadata": _metadata(job, place), "spec": spec}


def _rayjob(job: Job, place: Place, date: str) -> dict[str, Any]:
    """The specification of a RayJob that brings its own cluster and removes it."""
    from importlib.metadata import version

    file = f"/etc/selfray/pipelines/{job.file.name}"
    limit = sum(attempts.minutes or 0 for attempts in job.recipe.stages.values())
    workers = {
        "groupName": "workers",
        "replicas": place.workers,
        "minReplicas": place.workers,
        "maxReplicas": place.workers,
        "rayStartParams": {},
        "template": _ray_pod(job, place, "ray-worker", place.gpus),
    }
    cluster: dict[str, Any] = {
        "rayVersion": version("ray"),
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0"},
            "template": _ray_pod(job, place, "ray-head", 0),
        },
        "workerGroupSpecs": [workers] if place.workers else [],
    }
    return {
        "entrypoint": f"selfray run {file} --date {date}",
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 60,
        "backoffLimit": 1,
        "activeDeadlineSeconds": round(60 * limit) if limit else 72000,
        "submissionMode": "K8sJobMode",
        "rayClusterSpec": cluster,
    }


def _ray_pod(job: Job, place: Place, container: str, gpus: int) -> dict[str, Any]:
    amount = {"cpu": str(place.cpus), "memory": place.memory} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    mounts = [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "data", "mountPath": "/selfray"},
        {"name": "pipelines", "mountPath": "/etc/selfray/pipelines", "readOnly": True},
    ]
    return {
        "metadata": {"labels": PART},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 180,  # for a step and a checkpoint
            "securityContext": {**_pod_security(), "fsGroup": USER},
            "containers": [
                {
                    "name": container,
                    "image": place.image,
                    "env": [
                        {"name": "SELFRAY_RUNS", "value": "/selfray/runs"},
                        {"name": "SELFRAY_CORPORA", "value": "/selfray/corpora"},
                    ],
                    "envFrom": [{"secretRef": {"name": f"{_name(job)}-environment", "optional": True}}],
                    "resources": {"requests": dict(amount), "limits": dict(amount)},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": mounts,
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "data", "persistentVolumeClaim": {"claimName": place.claim}},
                {"name": "pipelines", "configMap": {"name": f"{_name(job)}-pipeline"}},
            ],
        },
    }


def _rights(job: Job, place: Place) -> list[dict[str, Any]]:
    """The launcher may read the one template, create RayJobs, and look at them."""
    name = f"{_name(job)}-launcher"
    metadata = {"name": name, "namespace": place.namespace, "labels": PART}
    rules = [
        {"apiGroups": ["ray.io"], "resources": ["raycronjobs"], "resourceNames": [_name(job)], "verbs": ["get"]},
        {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create", "get"]},
    ]
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": place.namespace}],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**metadata, "name": f"{_name(job)}-pipeline"},
            "data": {job.file.name: job.file.read_text(encoding="utf-8")},
        },
    ]


def _when(job: Job) -> dict[str, Any]:
    if not job.cron.daily:
        raise UserError("schedule.cron is due more than once a day, but on Kubernetes a run is named by its date only")
    if not _plain(job.schedule.cron):
        raise UserError("schedule.cron uses L, LW or #, which Kubernetes does not understand")
    return {
        "schedule": job.schedule.cron,
        "timeZone": "Etc/UTC" if job.schedule.timezone == "UTC" else job.schedule.timezone,
    }


def _plain(expression: str) -> bool:
    """Whether an expression has no L, LW or # in it; JUL is a month."""
    rest = expression.upper().replace("JUL", "")
    return not any(letter in rest for letter in "L#")


def _metadata(job: Job, place: Place) -> dict[str, Any]:
    return {"name": _name(job), "namespace": place.namespace, "labels": PART}


def _name(job: Job) -> str:
    """A name that Kubernetes accepts."""
    return f"selfray-{job.recipe.name}".lower().replace("_", "-").replace(".", "-")[:41].rstrip("-")


def _from_field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _pod_security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
