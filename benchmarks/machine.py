"""Where and when a figure was measured, and how a measuring process asks for its share of the machine."""

import os
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("selfray", "torch", "ray", "pyarrow", "numpy")
SESSION_PRIORITY = -10
"""Of -20 to 19, as of `nice`, against other sessions; a measurement is not to wait for what runs beside it."""


def facts() -> dict[str, Any]:
    """The machine, the software and the moment."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": [round(load, 2) for load in os.getloadavg()],
        "nice": os.nice(0),
        "versions": {"python": ".".join(map(str, sys.version_info[:3])), **versions(PACKAGES)},
    }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def ask_for_a_fair_share() -> str:
    """Give this process's own session weight against others, if that is permitted; returns what holds then.

    Linux weighs sessions before it weighs the processes in them, so `nice` alone does nothing beside other sessions.
    A session that this process did not start is somebody else's and stays as it is.
    """
    group = Path("/proc/self/autogroup")
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            group.write_text(str(SESSION_PRIORITY), encoding="ascii")
    return group.read_text(encoding="ascii").split()[-1] if group.is_file() else "unknown"


def steal_ticks() -> tuple[int, int]:
    """Time that the hypervisor gave to others, and all time, since the machine started."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    except OSError:
        return 0, 0
    return ticks[7], sum(ticks)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    known = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in values.get("flags", "").split()]
    return f"{values.get('model name', 'unknown')} ({', '.join(known[:2])})"


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--", "platform") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
