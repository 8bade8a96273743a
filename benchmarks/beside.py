"""What bench_text.py and bench_audio.py share: variants in processes of their own, in the order limit, rest, limit."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import machine
import peer_environment
import results

NOISY, MOST_APART = 3, 0.10
LIMIT, OURS = "limit", "selfray"
Found = list[dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """What one process is to measure."""

    variant: str
    precision: str  # fp32 or bf16
    corpus: str  # folder
    shape: str  # of the encoder
    batch: int  # samples of a step
    steps: int
    row: int  # steps over which a rate is taken
    threads: int
    seed: int

    @property
    def name(self) -> str:
        """Of the figure in tables."""
        return f"{self.variant} {self.precision}"


@dataclass(frozen=True)
class Page:
    """How the results of a benchmark are told."""

    section: str  # of RESULTS.md
    unit: str
    note: str
    targets: Mapping[tuple[str, str], float]  # one variant over another -> at least


def parser(doc: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """The options of both."""
    made = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    made.add_argument("--shape", default="tiny", help="of the encoder")
    made.add_argument("--steps", type=int)
    made.add_argument("--row", type=int, default=10, help="steps of a row; figures are medians over rows")
    made.add_argument("--batch", type=int, default=32)
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--seeds", nargs="+", type=int, default=[0], help="runs of the variants that have several")
    made.add_argument("--quick", action="store_true", help="a few steps, to see that everything runs")
    peers = peer_environment.python_of(peer_environment.DEFAULT)
    made.add_argument("--peer-python", type=lambda p: Path(p).absolute(), default=peers)
    made.add_argument("--one", help=argparse.SUPPRESS)  # what a process of its own measures
    made.set_defaults(**defaults)
    return made


def answer(asked: argparse.Namespace, measured: Callable[[Task], dict[str, Any]]) -> int:
    """In a process of its own: measure one task and print the result."""
    machine.ask_for_a_fair_share()
    print(json.dumps(measured(Task(**json.loads(asked.one)))))
    return 0


def plain(asked: argparse.Namespace, corpus: str) -> Task:
    """The first task, from which the others are made."""
    size = {key: getattr(asked, key) for key in ("shape", "batch", "steps", "row", "threads")}
    if asked.quick:
        size |= {"steps": 12, "row": 2}
    return Task(LIMIT, "fp32", corpus, **size, seed=asked.seeds[0])


def measure(tasks: list[Task], asked: argparse.Namespace, page: Page) -> int:
    """Measure, judge, write down; the exit status."""
    facts, found, problem = machine.facts(), Found(), peer_environment.problem(asked.peer_python)
    for task in tasks:
        peer = task.variant not in (LIMIT, OURS)
        one = {"error": problem} if peer and problem else _run(task, asked.peer_python if peer else sys.executable)
        found.append({**asdict(task), "corpus": page.section, "name": task.name, **one})
        said = f"{one['rate']:10,.1f} {page.unit}" if "rate" in one else f"not measured: {one['error']}"
        print(f"{task.name:<32} seed {task.seed} {said}", flush=True)
        if "error" in one and not peer:
            sys.exit(f"{task.name} failed: {one['error']}")
    facts["load_after"] = [round(load, 2) for load in os.getloadavg()]
    text, disturbed = _markdown(page, facts, found), disturbance(rates(found))
    print(text)
    if not asked.quick:
        kept = {"benchmark": page.section.lower(), **facts, "noisy": disturbed or None, "variants": found}
        results.append(results.LINES, [kept])
    if disturbed:
        print(f"NOISY: {disturbed}; nothing is claimed")
        return NOISY
    if not asked.quick:
        results.write_section(results.TABLE, page.section, text)
    return 0


def rates(found: Found) -> dict[str, list[float]]:
    """The rates of each variant, one a run."""
    told: dict[str, list[float]] = {}
    for one in found:
        if "rate" in one:
            told.setdefault(one["name"], []).append(one["rate"])
    return told


def disturbance(told: Mapping[str, list[float]]) -> str:
    """Why no figure of the run can be believed; nothing if they can."""
    for name in (name for name in told if name.startswith(LIMIT)):
        apart = (max(told[name]) - min(told[name])) / mean(told[name])
        if apart > MOST_APART:
            return f"the two runs of {name} differ by {apart:.0%}, more than {MOST_APART:.0%}"
    return ""


def _run(task: Task, python: Path | str) -> dict[str, Any]:
    """The result of a task in a process and a session of its own; `error` in it says why there is none."""
    command = [str(python), str(Path(sys.argv[0]).resolve()), "--one", json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _markdown(page: Page, facts: dict[str, Any], found: Found) -> str:
    told, claims = rates(found), []
    for (mine, other), least in page.targets.items():
        value = mean(told[mine]) / mean(told[other]) if mine in told and other in told else None
        verdict = "not measured" if value is None else "met" if value >= least else "missed"
        claims.append([f"{mine} / {other}", "-" if value is None else f"{value:.2f}", f"{least:g}", verdict])
    rows = []
    for name in dict.fromkeys(one["name"] for one in found):
        runs = [one for one in found if one["name"] == name and "rate" in one]
        if not runs:
            rows.append([name, *["not measured"] * 5])
            continue
        losses = [one["loss"] for one in runs if "loss" in one]
        error = f" ± {stdev(losses) / len(losses) ** 0.5:.3f}" if len(losses) > 1 else ""
        cells = [f"{mean(told[name]):,.0f}", f"{runs[0]['useful']:.0%}", f"{runs[0]['parameters']:,}"]
        rows.append([name, *cells, f"{mean(losses):.3f}{error}" if losses else "", str(len(runs))])
    header = ["variant", page.unit, "no padding", "parameters", "held-out loss", "runs"]
    tables = [results.table(["ratio", "measured", "at least", ""], claims), results.table(header, rows)]
    return "\n\n".join([results.provenance(facts) + f"  \n{page.note}", *tables])
