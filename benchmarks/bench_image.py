"""Images per second of one SimCLR step: the bare step, selfray, and lightly with PyTorch Lightning.

    python benchmarks/bench_image.py [--quick]

Limit, variants and limit again, each in a fresh process. A run whose two limits of a precision differ by more than
10 %, or that has a variant above its limit, was disturbed: it is printed as NOISY, kept out of RESULTS.md, and the exit
status is 3.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import machine
import peer_environment
import results
from image_variants import Task
from image_verdict import disturbance, markdown, ratios, shown

NOISY = 3
SECONDS_PER_VARIANT = 1800
FOR_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TORCH_NUM_THREADS")
"""Taken out of the environment: every variant sets torch's threads itself, as its users' runs do."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="timed steps of a variant")
    parser.add_argument("--row", type=int, default=5, help="steps of a row; figures are medians over rows")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2, help="torch threads of every variant")
    parser.add_argument("--corpus", default="mnist-5k", choices=["mnist-5k", "fashion-mnist"])
    parser.add_argument("--compile", action="store_true", help="compile the bf16 variants of limit and selfray")
    parser.add_argument("--quick", action="store_true", help="a few small steps, to see that everything runs")
    peers = peer_environment.python_of(peer_environment.DEFAULT)
    parser.add_argument("--peer-python", type=lambda p: Path(p).absolute(), default=peers)
    parser.add_argument("--out", type=Path, default=results.LINES, help="JSON lines, appended")
    parser.add_argument("--table", type=Path, default=results.TABLE, help="Markdown; kept by --quick and if noisy")
    asked = parser.parse_args()
    if asked.quick:
        asked.steps, asked.row, asked.batch = 10, 1, 64
    if asked.steps < 10 * asked.row:
        parser.error(f"--steps {asked.steps} makes fewer than 10 rows of {asked.row} steps")
    return asked


def tasks(asked: argparse.Namespace, corpus: str) -> list[tuple[str, Task]]:
    """All variants by name, in the order in which they run."""

    def task(variant: str, precision: str, workers: int = 0) -> Task:
        compiled = asked.compile and precision == "bf16" and variant != "lightly"
        size = {"batch": asked.batch, "steps": asked.steps, "row": asked.row, "threads": asked.threads}
        return Task(variant, precision, compiled, workers, corpus, **size, keep_memory=variant == "limit")

    both = ("fp32", "bf16")
    return [
        *((f"limit {p}", task("limit", p)) for p in both),
        *((f"selfray {p}", task("selfray", p, workers=1)) for p in both),
        *((f"selfray {p}, workers=0", task("selfray", p)) for p in both),
        *((f"lightly + Lightning {p}", task("lightly", p)) for p in both),
        *((f"limit {p}, malloc as it comes", replace(task("limit", p), keep_memory=False)) for p in both),
        *((f"limit {p}, again", task("limit", p)) for p in both),
    ]


def run(task: Task, python: Path) -> dict[str, Any]:
    """The result of a task in a process and a session of its own; `error` in it says why there is none."""
    environment = {key: value for key, value in os.environ.items() if key not in FOR_THREADS}
    environment["RAY_worker_niceness"] = "0"  # Ray's default of 15 loses against anything else that runs
    with tempfile.TemporaryDirectory(prefix="selfray-bench-") as folder:
        asked, answer, log = (Path(folder, name) for name in ("task.json", "result.json", "log.txt"))
        asked.write_text(json.dumps(asdict(task)), encoding="utf-8")
        command = [python, results.HERE / "image_variants.py", asked, answer]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True
            )
            try:
                process.wait(SECONDS_PER_VARIANT)
            except BaseException as reason:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(reason, subprocess.TimeoutExpired):
                    return {"error": f"took longer than {SECONDS_PER_VARIANT} s"}
                raise
        if process.returncode or not answer.is_file():
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return {"error": said[-1] if said else f"exit status {process.returncode}", "log": said[-30:]}
        result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return result


def measure(asked: argparse.Namespace, corpus: str) -> dict[str, dict[str, Any]]:
    """Every variant's result, by name."""
    why_no_peer, measured = peer_environment.problem(asked.peer_python), {}
    for name, task in tasks(asked, corpus):
        peer = task.variant == "lightly"
        if peer and why_no_peer:
            measured[name] = {**asdict(task), "error": why_no_peer}
        else:
            python = asked.peer_python if peer else Path(sys.executable)
            measured[name] = {**asdict(task), **run(task, python.absolute())}
        told = measured[name]
        said = f"{told['median']:8.1f} images/s" if "median" in told else f"not measured: {told['error']}"
        print(f"  {name:<32} {said}", flush=True)
        if "error" in told and not peer:
            sys.exit("\n".join([*told.get("log", []), f"{name} failed: {told['error']}"]))
    return measured


def shipped_precision() -> str:
    """What `precision: auto` means on this machine's CPU."""
    import torch

    from selfray.train import device

    return "bf16" if device.precision("auto", torch.device("cpu")) == torch.bfloat16 else "fp32"


def main() -> int:
    """Measure, judge, write down; the exit status."""
    from selfray.corpus import catalogue

    asked = arguments()
    corpus = str(catalogue.fetch(asked.corpus).resolve())
    facts, (stolen, passed) = machine.facts(), machine.steal_ticks()
    measured = measure(asked, corpus)
    stolen_after, passed_after = machine.steal_ticks()
    facts["steal_share"] = (stolen_after - stolen) / max(1, passed_after - passed)
    facts["load_after"] = [round(load, 2) for load in os.getloadavg()]
    facts["versions"] |= next((m["versions"] for m in measured.values() if "lightly" in m.get("versions", {})), {})

    disturbed, found = disturbance(measured), ratios(measured, shipped_precision())
    run_id = {"benchmark": "image", "corpus": asked.corpus, "quick": asked.quick, "noisy": disturbed or None}
    lines = [{**run_id, "name": name, **result} for name, result in measured.items()]
    results.append(asked.out, [*lines, {**run_id, "name": "ratios", "ratios": [asdict(r) for r in found], **facts}])
    for title, header, rows in shown(measured, found):
        results.show(f"NOISY {title}" if disturbed else title, header, rows)
    if disturbed:
        print(f"NOISY: {disturbed}; nothing is claimed")
        return NOISY
    if asked.quick:
        print("a quick run shows that everything runs; its figures mean nothing and RESULTS.md is as it was")
    else:
        results.write_section(asked.table, "Images", markdown(asked, facts, measured, found))
        print(f"written to {asked.table}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
