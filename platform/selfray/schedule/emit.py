"""What production uses in place of `selfray schedule run`: a systemd timer, a crontab line."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from cronsim import CronSim

from .. import paths
from ..errors import UserError
from .scheduler import Job

DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def systemd(job: Job) -> dict[str, str]:
    """File name -> content of a unit that runs the pipeline and of the timer that starts it."""
    name, schedule = f"selfray-{job.recipe.name}", job.schedule
    persistent = "false" if schedule.missed == "skip" else "true"
    lines = "\n".join(f"OnCalendar={calendar} {schedule.timezone}" for calendar in calendars(job))
    service = f"""\
[Unit]
Description=selfray pipeline {job.recipe.name}
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
WorkingDirectory={_unit(str(Path.cwd()))}
# Secrets that the pipeline names by ${{oc.env:NAME}}; a line NAME=value each, readable by this user only
EnvironmentFile=-%h/.config/selfray/environment
Environment={_unit(f"SELFRAY_RUNS={paths.runs()}")} {_unit(f"SELFRAY_CORPORA={paths.corpora()}")}
ExecStart={" ".join(_unit(word) for word in command(job))}
# Training finishes its step and saves; a second run of the same date goes on from there
KillSignal=SIGINT
TimeoutStopSec=300
# 75: something was away. 3 is a refusal by the gate, which trying again would not change
Restart=on-failure
RestartForceExitStatus=75
RestartPreventExitStatus=1 2 3 124
RestartSec=600
NoNewPrivileges=true
PrivateTmp=true
ProtectSystem=full
"""
    timer = f"""\
[Unit]
Description={job.cron.explained}, {schedule.timezone}: selfray pipeline {job.recipe.name}

[Timer]
{lines}
# A time that passed while the machine was off is made up for once: missed is {schedule.missed}
Persistent={persistent}
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
    return {f"{name}.service": service, f"{name}.timer": timer}


def crontab(job: Job) -> dict[str, str]:
    """A line for `crontab -e`; cron neither waits for a run to end nor makes up for what it missed."""
    words = command(job)
    line = " ".join(shlex.quote(word) for word in words).replace("%", r"\%")
    folder, lock = shlex.quote(str(Path.cwd())), shlex.quote(str(paths.runs() / f".{job.recipe.name}.cron"))
    log = shlex.quote(str(paths.runs() / f"{job.recipe.name}.cron.log"))
    text = f"""\
# selfray pipeline {job.recipe.name}: {job.cron.explained}
# cronie obeys CRON_TZ. Debian's cron does not: there the machine's clock must be that of {job.schedule.timezone}.
# flock leaves out a run while another is going on.
CRON_TZ={job.schedule.timezone}
{job.schedule.cron} cd {folder} && flock --nonblock {lock} {line} >> {log} 2>&1
"""
    return {f"selfray-{job.recipe.name}.crontab": text}


def command(job: Job) -> list[str]:
    """What runs the newest due date once, with the policy for missed ones, the lease and the history."""
    return [sys.executable, "-m", "selfray", "schedule", "run", str(job.file), *job.overrides, "--once"]


def calendars(job: Job) -> list[str]:
    """The expression as calendar events of systemd, without the time zone.

    cron is due when the day of the month or the day of the week fits, where both are restricted; systemd when both fit.
    So there are two events then.
    """
    from datetime import datetime

    parsed = CronSim(job.schedule.cron, datetime(2000, 1, 1))
    days, weekdays = _numbers(parsed.days, "day of the month"), _numbers(parsed.weekdays, "day of the week")
    clock = f"{_listed(parsed.hours, range(24))}:{_listed(parsed.minutes, range(60))}:00"
    months = _listed(parsed.months, range(1, 13))
    named = [DAYS[day] for day in sorted({day % 7 for day in weekdays})]
    week = "" if len(named) == 7 else f"{','.join(named)} "
    both = f"{week}*-{months}-{_listed(days, range(1, 32))} {clock}"
    if parsed.day_and:
        return [both]
    return [f"*-{months}-{_listed(days, range(1, 32))} {clock}", f"{week}*-{months}-* {clock}"]


def _numbers(items: Iterable[object], field: str) -> set[int]:
    found = {item for item in items if isinstance(item, int) and item >= 0}
    if len(found) != len(set(items)):
        raise UserError(f"schedule.cron: the {field} uses L, LW or #, which only `selfray schedule run` understands")
    return found


def _listed(numbers: Iterable[int], all_of: range) -> str:
    found = sorted(set(numbers))
    return "*" if found == list(all_of) else ",".join(f"{number:02d}" for number in found)


def _unit(word: str) -> str:
    """A word as systemd reads it: quoted, its own escapes doubled."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word or not word else word
