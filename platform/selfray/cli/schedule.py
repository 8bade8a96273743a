"""Pipelines that run by themselves."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..errors import UserError
from .app import schedules
from .options import Json, Overrides, Pipeline


@schedules.command("run")
def run_(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Pipeline files with a schedule.")],
    once: Annotated[bool, typer.Option("--once", help="Deal with what is due now, and end.")] = False,
) -> None:
    """Wait for what is due and run it, one pipeline at a time; Ctrl-C saves and ends."""
    from ..schedule.scheduler import Job, Scheduler

    scheduler = Scheduler([Job(file) for file in files], Console())
    if not once:
        scheduler.loop()
        return
    scheduler.begin(late=True)  # what calls this has just become due
    rows = [row for job in scheduler.jobs for row in scheduler.once(job)]
    if not rows:
        Console().print("nothing is due", highlight=False)
    raise typer.Exit(next((row["exit"] for row in rows if row.get("exit")), 0))


@schedules.command("next")
def next_(
    file: Pipeline,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 5,
    as_json: Json = False,
) -> None:
    """What the schedule of a pipeline means, and when it is due next."""
    from ..schedule.scheduler import Job

    job = Job(file, overrides or [])
    moments = [
        {"date": job.cron.label(moment), "at": moment.isoformat(timespec="minutes")} for moment in job.cron.next(count)
    ]
    if as_json:
        print(json.dumps({"means": job.cron.explained, "timezone": job.cron.timezone, "next": moments}, indent=1))
        return
    console = Console()
    console.print(f"{job.cron.explained}, {job.cron.timezone}", highlight=False)
    for moment in moments:
        console.print(f"  {moment['at']}  logical date {moment['date']}", highlight=False)


@schedules.command("history")
def history_(
    file: Pipeline,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    as_json: Json = False,
) -> None:
    """What the scheduler of this machine did with a pipeline."""
    from ..recipe import load
    from ..schedule.history import History

    rows = [row for row in History(load(file, overrides or []).name).rows() if row["status"] != "scheduled"][-count:]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    console = Console()
    for row in rows:
        said = f"{row['date']}  {row['status']:<12} {row.get('run', '')}  {row.get('reason', '')}".rstrip()
        console.print(said, highlight=False, soft_wrap=True)
    if not rows:
        console.print("nothing has run yet", highlight=False)


@schedules.command("emit")
def emit_(
    file: Pipeline,
    overrides: Overrides = None,
    systemd: Annotated[bool, typer.Option("--systemd", help="A unit and its timer.")] = False,
    crontab: Annotated[bool, typer.Option("--crontab", help="A line for crontab -e.")] = False,
    cronjob: Annotated[bool, typer.Option("--cronjob", help="A Kubernetes CronJob that creates RayJobs.")] = False,
    raycronjob: Annotated[bool, typer.Option("--raycronjob", help="KubeRay's RayCronJob; read its caveats.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; printed if left out.")] = None,
    image: Annotated[str | None, typer.Option(help="The image of all pods.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Of Kubernetes.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Pods with Ray workers.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs of each.")] = None,
    queue: Annotated[str | None, typer.Option(help="Queue of Kueue to submit to.")] = None,
) -> None:
    """Write what production should use in place of `selfray schedule run`."""
    from ..schedule import emit, kubernetes
    from ..schedule.scheduler import Job

    job = Job(file, overrides or [])
    given: dict[str, Any] = {"image": image, "namespace": namespace, "workers": workers, "gpus": gpus, "queue": queue}
    place = kubernetes.Place(**{key: value for key, value in given.items() if value is not None})
    files: dict[str, str] = {}
    if systemd:
        files |= emit.systemd(job)
    if crontab:
        files |= emit.crontab(job)
    if cronjob:
        files[f"{job.recipe.name}-cronjob.yaml"] = kubernetes.cronjob(job, place)
    if raycronjob:
        files[f"{job.recipe.name}-raycronjob.yaml"] = kubernetes.raycronjob(job, place)
    if not files:
        raise UserError("say what to write: --systemd, --crontab, --cronjob or --raycronjob")
    for name, text in files.items():
        if out is None:
            print(f"# {name}\n{text}")
            continue
        out.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text, encoding="utf-8")
        Console().print(f"wrote {out / name}", highlight=False)
