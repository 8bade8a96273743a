"""Useful tokens per second of masked language modelling: the bare step, selfray, and the Trainer of transformers.

    python benchmarks/bench_text.py [--shape mini] [--steps 300] [--seeds 0 1 2]

One corpus (the paragraphs of BBC News), one vocabulary, one network, one optimizer and schedule; tokens are useful if
they are no padding. Each variant is a process of its own, in the order limit, variants, limit; a run whose two limits
of a precision differ by more than 10 % was disturbed and is not written to RESULTS.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import machine
import peer_environment
import results

NOISY, MOST_APART = 3, 0.10
LENGTH, VOCABULARY = 128, 8192
LIMIT, OURS, PACKED, DOCUMENTS = "limit", "selfray", "Trainer, packed rows", "Trainer, documents"
TARGETS = {  # ratio -> at least
    ("selfray fp32", "limit fp32"): 0.95,
    ("selfray bf16", "limit bf16"): 0.95,
    ("selfray fp32", "Trainer, packed rows fp32"): 1.0,
    ("selfray bf16", "Trainer, packed rows bf16"): 1.0,
    ("selfray bf16", "Trainer, documents fp32"): 4.0,
}


@dataclass(frozen=True)
class Task:
    """What one process is to measure."""

    variant: str
    precision: str  # fp32 or bf16
    corpus: str  # folder with the prepared corpus, `packed`, and `paragraphs.txt`
    shape: str
    batch: int  # rows of a step
    steps: int
    row: int  # steps over which a rate is taken
    threads: int
    seed: int

    @property
    def name(self) -> str:
        """Of the figure in tables."""
        return f"{self.variant} {self.precision}"

    @property
    def recipe(self) -> Any:
        """The pipeline `text/mlm` with this task's settings."""
        from selfray import recipe

        plain = recipe.load("text/mlm").plain()
        plain |= {"seed": self.seed, "corpus": {"path": str(Path(self.corpus, "packed"))}}
        plain["pretrain"]["encoder"] |= {"shape": self.shape}
        plain["pretrain"] |= {
            "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01},
            **{"batch": self.batch, "steps": self.steps, "warmup": 0.1, "precision": self.precision},
            **{"workers": 0, "gpu": False, "compile": False, "threads": self.threads, "log_every": self.row},
        }
        return recipe.parse(plain)


def main() -> int:
    """Measure, judge, write down; the exit status."""
    asked = arguments()
    if asked.one:
        from text_variants import measured

        machine.ask_for_a_fair_share()
        task = Task(**json.loads(asked.one))
        print(json.dumps(measured(task)))
        return 0
    facts, found = machine.facts(), list[dict[str, Any]]()
    problem = peer_environment.problem(asked.peer_python)
    with tempfile.TemporaryDirectory(prefix="selfray-bench-") as folder:
        prepare(Path(folder))
        for task in tasks(asked, folder):
            peer = task.variant.startswith("Trainer")
            one = {"error": problem} if peer and problem else run(task, asked.peer_python if peer else sys.executable)
            found.append({**asdict(task), "corpus": "bbc-news", "name": task.name, **one})
            said = f"{one['rate']:10,.0f} tokens/s" if "rate" in one else f"not measured: {one['error']}"
            print(f"{task.name:<32} seed {task.seed} {said}", flush=True)
    facts["load_after"] = [round(load, 2) for load in os.getloadavg()]
    text, disturbed = markdown(asked, facts, found)
    print(text)
    if not asked.quick:
        results.append(results.LINES, [{"benchmark": "text", **facts, "noisy": disturbed or None, "variants": found}])
    if disturbed:
        print(f"NOISY: {disturbed}; nothing is claimed")
        return NOISY
    if not asked.quick:
        results.write_section(results.TABLE, "Text", text)
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shape", default="tiny", help="of the encoder")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--row", type=int, default=10, help="steps of a row; figures are medians over rows")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the two whose losses are compared")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that everything runs")
    peers = peer_environment.python_of(peer_environment.DEFAULT)
    parser.add_argument("--peer-python", type=lambda p: Path(p).absolute(), default=peers)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a process of its own measures
    asked = parser.parse_args()
    if asked.quick:
        asked.steps, asked.row, asked.seeds = 12, 2, asked.seeds[:1]
    return asked


def prepare(folder: Path) -> None:
    """The paragraphs of all articles, one a line, and the corpus that selfray makes of them, in packed rows."""
    from selfray.corpus import catalogue, ingest, packages
    from selfray.corpus.sources import open_source

    source, lines = folder / "paragraphs.txt", []
    for file in sorted(packages.bring(catalogue.entry("bbc-news")).rglob("*.txt")):
        lines += [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = {"length": LENGTH, "vocabulary": VOCABULARY}
    ingest.prepare(
        open_source(source, "text", documents="line"), folder / "packed", name="bench", ray=False, holdout=0.1, **rows
    )


def tasks(asked: argparse.Namespace, folder: str) -> list[Task]:
    """All variants in the order in which they run."""
    size = {key: getattr(asked, key) for key in ("shape", "batch", "steps", "row", "threads")}
    both, first = ("fp32", "bf16"), asked.seeds[0]
    plain = Task(LIMIT, "fp32", folder, **size, seed=first)
    limits = [replace(plain, precision=p) for p in both]
    mine = [replace(plain, variant=OURS, precision=p) for p in both]
    rivals = [replace(plain, variant=PACKED, precision=p) for p in both] + [replace(plain, variant=DOCUMENTS)]
    seeds = [replace(plain, variant=v, seed=seed) for seed in asked.seeds[1:] for v in (OURS, PACKED)]
    return [*limits, *mine, *rivals, *seeds, *limits]


def run(task: Task, python: Path | str) -> dict[str, Any]:
    """The result of a task in a process and a session of its own; `error` in it says why there is none."""
    command = [str(python), __file__, "--one", json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def rates(found: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Useful tokens per second of each variant, one a run."""
    told: dict[str, list[float]] = {}
    for one in found:
        if "rate" in one:
            told.setdefault(one["name"], []).append(one["rate"])
    return told


def disturbance(told: dict[str, list[float]]) -> str:
    """Why no figure of the run can be believed; nothing if they can."""
    for name in ("limit fp32", "limit bf16"):
        apart = (max(told[name]) - min(told[name])) / mean(told[name])
        if apart > MOST_APART:
            return f"the two runs of {name} differ by {apart:.0%}, more than {MOST_APART:.0%}"
    return ""


def markdown(asked: argparse.Namespace, facts: dict[str, Any], found: list[dict[str, Any]]) -> tuple[str, str]:
    """The section of RESULTS.md, and what disturbed the run if anything did."""
    told = rates(found)
    claims = []
    for (mine, other), least in TARGETS.items():
        value = mean(told[mine]) / mean(told[other]) if mine in told and other in told else None
        verdict = "not measured" if value is None else "met" if value >= least else "missed"
        claims.append([f"{mine} / {other}", "-" if value is None else f"{value:.2f}", f"{least:g}", verdict])
    rows = []
    for name in dict.fromkeys(one["name"] for one in found):
        runs = [one for one in found if one["name"] == name and "rate" in one]
        if not runs:
            rows.append([name, *["not measured"] * 5])
            continue
        losses = [one["loss"] for one in runs if one.get("loss") is not None]
        error = f" ± {stdev(losses) / len(losses) ** 0.5:.3f}" if len(losses) > 1 else ""
        cells = [f"{mean(told[name]):,.0f}", f"{runs[0]['useful']:.0%}", f"{runs[0]['parameters']:,}"]
        rows.append([name, *cells, f"{mean(losses):.3f}{error}" if losses else "", str(len(runs))])
    header = ["variant", "useful tokens/s", "useful", "parameters", "held-out loss", "runs"]
    note = (
        f"BERT-{asked.shape} on rows of {LENGTH} tokens, {asked.batch} a step, {asked.steps} steps, "
        f"{asked.threads} torch threads. *Limit*: loss, gradients and optimizer on one resident batch. *selfray*: "
        "`pipelines/text/mlm.yaml` with these settings, no Ray. *Trainer*: `BertForMaskedLM` with "
        "`DataCollatorForLanguageModeling` in transformers' own loop, on the same packed rows or on paragraphs padded "
        "to the longest of a batch. Held-out loss: of the same places of the same rows, after as many steps."
    )
    title = [results.provenance(facts) + f"  \n{note}", results.table(["ratio", "measured", "at least", ""], claims)]
    return "\n\n".join([*title, results.table(header, rows)]), disturbance(told)


if __name__ == "__main__":
    sys.exit(main())
