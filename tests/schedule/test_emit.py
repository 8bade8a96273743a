"""What production uses: systemd's own programs, KubeRay's definitions and crontab's rules judge it."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from selfray.errors import UserError
from selfray.schedule import emit, kubernetes
from selfray.schedule.scheduler import Job

from ..deploy.crds import validate

PIPELINE = """
name: nightly
corpus: {{path: /data/corpus}}
pretrain: {{objective: {{name: simclr}}, encoder: {{name: conv}}, steps: 10}}
stages: {{pretrain: {{minutes: 300}}}}
schedule: {{cron: "{cron}", timezone: {zone}, missed: {missed}}}
"""
EXPRESSIONS = [
    *("30 2 * * *", "0 */6 * * *", "15 4 1,15 * *", "0 2 * * 1-5", "0 2 1 * SUN", "0 2 */2 * MON", "0 3 * JUL *"),
]


@pytest.fixture
def job(tmp_path):
    def make(cron="30 2 * * *", zone="Europe/Berlin", missed="latest"):
        file = tmp_path / "nightly.yaml"
        file.write_text(PIPELINE.format(cron=cron, zone=zone, missed=missed))
        return Job(file)

    return make


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_systemd_is_due_when_cron_is(job, expression):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    mine, start, count = job(expression, "UTC"), datetime(2026, 1, 1, tzinfo=UTC), 12
    found = set()
    options = [f"--iterations={count}", "--base-time=2025-12-31 23:59:59 UTC"]
    for calendar in emit.calendars(mine):
        answer = subprocess.run(
            ["systemd-analyze", "calendar", f"{calendar} UTC", *options],
            check=True,
            capture_output=True,
            text=True,
            env={"TZ": "UTC", "LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        )
        for line in answer.stdout.splitlines():
            words = line.split()
            if "Next" in words or "Iter." in words:
                found.add(datetime.fromisoformat(" ".join(words[-3:-1])).replace(tzinfo=UTC))
    expected = mine.cron.next(count, start - timedelta(seconds=1))
    assert sorted(found)[: len(expected)] == expected


def test_a_unit_and_its_timer_are_what_systemd_accepts(job, tmp_path):
    files = emit.systemd(job())
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    timer, service = files["selfray-nightly.timer"], files["selfray-nightly.service"]
    assert "OnCalendar=*-*-* 02:30:00 Europe/Berlin" in timer
    assert "Persistent=true" in timer
    assert "Persistent=false" in emit.systemd(job(missed="skip"))["selfray-nightly.timer"]
    assert "schedule run" in service
    assert "--once" in service
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    units = [str(tmp_path / name) for name in files]
    checked = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert "selfray" not in checked.stderr, checked.stderr
    assert checked.returncode == 0


def test_an_expression_that_only_cronsim_understands_is_refused(job):
    for expression in ("0 2 L * *", "0 2 * * MON#2"):
        with pytest.raises(UserError, match="L, LW or #"):
            emit.systemd(job(expression))
        with pytest.raises(UserError, match="L, LW or #"):
            kubernetes.cronjob(job(expression), kubernetes.Place())


def test_a_crontab_line_has_the_expression_the_lock_and_no_bare_percent_sign(job):
    (text,) = emit.crontab(job()).values()
    line = text.splitlines()[-1]
    assert line.startswith("30 2 * * * ")
    assert "flock --nonblock" in line
    assert "%" not in line.replace(r"\%", "")
    assert "CRON_TZ=Europe/Berlin" in text


def documents(text):
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


@pytest.mark.parametrize(
    "place", [kubernetes.Place(), kubernetes.Place(workers=4, gpus=1, queue="team", namespace="ml")]
)
def test_a_cronjob_forbids_overlap_and_makes_rayjobs_that_kuberay_accepts(job, place):
    mine = job()
    found = documents(kubernetes.cronjob(mine, place))
    spec = found["CronJob"]["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("30 2 * * *", "Europe/Berlin")
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] == 3600
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (7, 7)
    template = found["RayCronJob"]
    assert template["spec"]["suspend"]  # the launcher alone makes jobs of it
    rayjob = template["spec"]["jobTemplate"]
    assert rayjob["shutdownAfterJobFinishes"]
    assert rayjob["activeDeadlineSeconds"] == 300 * 60
    assert rayjob["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert "--date {date}" in rayjob["entrypoint"]
    (launcher,) = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value") for one in launcher["env"]}
    assert environment["QUEUE"] == place.queue
    assert environment["TEMPLATE"] == template["metadata"]["name"]
    assert found["ConfigMap"]["data"]["nightly.yaml"] == mine.file.read_text()
    assert validate(template) == []
    job_of_a_night = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "one"}, "spec": rayjob}
    assert validate(job_of_a_night) == []


def test_a_raycronjob_says_what_it_lacks(job):
    text = kubernetes.raycronjob(job(), kubernetes.Place())
    assert "alpha" in text
    assert "no concurrency policy" in text
    (document,) = documents(text).values()
    assert not document["spec"]["suspend"]
    assert "{date}" not in document["spec"]["jobTemplate"]["entrypoint"]  # nobody would fill it in
    assert validate(document) == []
    with pytest.raises(UserError, match="cannot label its jobs"):
        kubernetes.raycronjob(job(), kubernetes.Place(queue="team"))


def test_pods_get_no_token_no_root_and_a_limit(job):
    found = documents(kubernetes.cronjob(job(), kubernetes.Place(gpus=1)))
    cluster = found["RayCronJob"]["spec"]["jobTemplate"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"]["template"]["spec"], *(g["template"]["spec"] for g in cluster["workerGroupSpecs"])]
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert container["resources"]["limits"]["memory"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert "nvidia.com/gpu" not in pods[0]["containers"][0]["resources"]["limits"]
    assert pods[1]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_more_than_one_run_a_day_is_not_named_by_a_date(job):
    with pytest.raises(UserError, match="more than once a day"):
        kubernetes.cronjob(job("0 */6 * * *"), kubernetes.Place())
