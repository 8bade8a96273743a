"""One pipeline as an Airflow DAG, a pod for each stage; needs apache-airflow-providers-cncf-kubernetes.

A task repeats the same command up to its stage. What is done is skipped, and a task that is tried again continues.
Airflow tries again whatever the exit status was; what cannot succeed fails again within seconds.
"""

from itertools import pairwise

import pendulum
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG
from kubernetes.client import models as k8s

IMAGE = "registry.example.com/selfray:0.1.0-cpu"
FILE = "/etc/selfray/pipelines/nightly.yaml"
STAGES = ("corpus", "pretrain", "evaluate", "register")


def stage(name: str) -> KubernetesPodOperator:
    """The task of one stage, in a run folder of its logical date."""
    mounts = {"storage": "/selfray", "pipelines": "/etc/selfray/pipelines", "tmp": "/tmp", "shm": "/dev/shm"}
    return KubernetesPodOperator(
        task_id=name,
        name=f"selfray-{name}",
        namespace="selfray",
        image=IMAGE,
        cmds=["selfray", "run", FILE],
        arguments=["--date", "{{ ds }}", "--until", name, "--json"],
        env_from=[
            k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource("selfray-settings")),
            k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource("selfray-credentials")),
        ],
        env_vars={"HOME": "/tmp"},
        volumes=[
            k8s.V1Volume(
                name="storage",
                persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(claim_name="selfray-storage"),
            ),
            k8s.V1Volume(name="pipelines", config_map=k8s.V1ConfigMapVolumeSource(name="selfray-pipelines")),
            k8s.V1Volume(name="tmp", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit="20Gi")),
            k8s.V1Volume(name="shm", empty_dir=k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit="2Gi")),
        ],
        volume_mounts=[k8s.V1VolumeMount(name=volume, mount_path=path) for volume, path in mounts.items()],
        container_resources=k8s.V1ResourceRequirements(
            requests={"cpu": "4", "memory": "8Gi"}, limits={"cpu": "4", "memory": "8Gi"}
        ),
        security_context=k8s.V1PodSecurityContext(
            run_as_non_root=True,
            run_as_user=10001,
            run_as_group=10001,
            fs_group=10001,
            seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
        ),
        container_security_context=k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        automount_service_account_token=False,
        termination_grace_period=150,
        retries=3,
        retry_delay=pendulum.duration(minutes=1),
        retry_exponential_backoff=2,
        skip_on_exit_code=3,  # a gate refused the candidate: nothing broke, and nothing follows
        on_finish_action="delete_succeeded_pod",
    )


with DAG(
    "selfray_nightly",
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
):
    tasks = [stage(name) for name in STAGES]
    for before, after in pairwise(tasks):
        before >> after
