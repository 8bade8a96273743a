"""What the quality benchmarks share: results that are kept, one run beside its untrained encoder, cells of tables."""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "results"
FINGERPRINTED = ("objective", "encoder", "views", "optimizer", "batch", "steps")
NOTHING = "Nothing is measured yet. `make quality-{}` measures every method and writes this page."
Row = dict[str, Any]
Case = tuple[Row, Any]
"""What tells a result from others, such as method and seed, and the recipe that makes it."""


class Ledger:
    """The results of one benchmark as JSON lines under docs/results/measured, kept with the code.

    Args:
        name: Of the benchmark.
        key: The fields that tell its results apart; of those alike the newest counts.
    """

    def __init__(self, name: str, *key: str):
        self.file, self.key = PAGES / "measured" / f"{name}.jsonl", key

    def rows(self) -> list[Row]:
        """The newest result of each key."""
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.is_file() else []
        return list({tuple(row[field] for field in self.key): row for row in map(json.loads, lines)}.values())

    def holds(self, row: Row) -> bool:
        """Whether there is a result of this key and these settings."""
        return any(all(found.get(name) == value for name, value in row.items()) for found in self.rows())

    def add(self, row: Row) -> None:
        """Keep a result."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


@dataclass(frozen=True)
class Outcome:
    """One pretraining run, with the same objective untrained."""

    trained: Any
    untrained: Any
    views: Any
    corpus: Path
    found: dict[str, Any]
    seconds: float
    losses: list[float]

    def row(self) -> Row:
        """What a ledger keeps of it: probes and scores, time, first and last loss."""
        kinds = ("pretrained", "untrained", "raw")
        return {
            "probes": {r["probe"]: {kind: round(r[kind], 4) for kind in kinds} for r in self.found["probes"]},
            "scores": {r["score"]: round(r["pretrained"], 4) for r in self.found["scores"]},
            "seconds": round(self.seconds, 1),
            "loss": [round(self.losses[0], 4), round(self.losses[-1], 4)],
        }


def arguments(doc: str | None, methods: list[str]) -> argparse.ArgumentParser:
    """The options that all quality benchmarks have."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="measure also what is on the page already")
    return parser


def measure_all(
    ledger: Ledger,
    cases: Iterable[Case],
    measured: Callable[[Any], Row],
    write: Callable[[], None],
    again: bool = False,
) -> None:
    """Measure what the ledger does not hold yet; the page is written after each result."""
    for key, one in cases:
        key = key | {"settings": fingerprint(one, *(key.get(name) for name in ("samples",) if name in key))}
        if again or not ledger.holds(key):
            row = key | measured(one)
            ledger.add(row)
            print(json.dumps({name: row[name] for name in (*ledger.key, "probes", "seconds")}), flush=True)
        write()


def fingerprint(one: Any, *more: Any) -> str:
    """A number for everything that changes a result."""
    plain = one.plain()["pretrain"]
    kept: Any = {key: plain[key] for key in FINGERPRINTED}
    return hashlib.sha256(json.dumps([kept, *more] if more else kept, sort_keys=True).encode()).hexdigest()[:12]


def here(threads: int) -> dict[str, Any]:
    """Settings of the key `pretrain` for one process on this machine, without Ray."""
    return {"workers": 0, "gpu": False, "threads": threads, "compile": False, "log_every": 20, "health_every": 10**6}


def pretrained(one: Any, probes: dict[str, dict[str, Any]], samples: int = 60_000) -> Outcome:
    """Pretrain by a recipe whose corpus is of the catalogue, and compare with the untrained encoder and raw samples."""
    from selfray.corpus import catalogue
    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.compare import compare
    from selfray.summary import trained_objective
    from selfray.train import build
    from selfray.train.loop import Job, train

    corpus = catalogue.fetch(one.corpus.fetch)
    manifest = Manifest.read(corpus)
    untrained = build.objective(one.pretrain, manifest, one.seed).eval()
    losses: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        train(Job(one, str(corpus), folder), lambda row: losses.append(row["train/loss"]))
        seconds = time.perf_counter() - begun
        trained = trained_objective(Path(folder), one, manifest).eval()
        views = build.views(one.pretrain, manifest.facts)
        found = compare(trained.encoder, untrained.encoder, views, corpus, probes, Path(folder) / "evaluation", samples)
    return Outcome(trained, untrained, views, corpus, found, seconds, losses)


def held_out(objective: Any, views: Any, corpus: Path, scalar: str, rows: int = 512) -> list[float]:
    """A scalar that an objective logs, for each batch of held-out samples, with draws of a fixed seed; else nothing."""
    import torch

    from selfray.evaluation.features import load
    from selfray.train.build import asks_for_ids
    from selfray.views.random import sample_keys

    test, found = load(corpus, "test", rows), []
    with torch.inference_mode():
        for at in range(0, len(test.ids), 64):
            ids = torch.from_numpy(test.ids[at : at + 64])
            seen = views.make(objective.views, torch.tensor(test.data[at : at + 64]), sample_keys(ids, 0, 0))
            _, scalars = objective(seen | ({"ids": ids} if asks_for_ids(objective) else {}))
            if scalar not in scalars:
                return []
            found.append(float(scalars[scalar]))
    return found


def accuracy(rows: list[Row], probe: str, kind: str = "pretrained") -> str:
    """A cell of a table: the mean over seeds and its standard error."""
    return spread([row["probes"][probe][kind] for row in rows])


def spread(values: list[float]) -> str:
    """Mean and standard error in per cent."""
    error = f" ± {100 * stdev(values) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{error}"


def gain(rows: list[Row], probe: str) -> str:
    """A cell of a table: how much better than untrained."""
    gains = [row["probes"][probe]["pretrained"] - row["probes"][probe]["untrained"] for row in rows]
    return f"{'+' if mean(gains) > 0 else ''}{spread(gains)}"


def seconds(rows: list[Row]) -> str:
    """A cell of a table: the mean time of a run."""
    return f"{mean(row['seconds'] for row in rows):.0f}"


def line(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def by_method(ledger: Ledger, *more: str) -> dict[Any, list[Row]]:
    """Results of all seeds together, by method or by method and other fields."""
    found: dict[Any, list[Row]] = {}
    for row in ledger.rows():
        key = (row["method"], *(row[field] for field in more)) if more else row["method"]
        found.setdefault(key, []).append(row)
    return found


def write_page(name: str, lines: list[str]) -> None:
    """Write docs/results/NAME.md."""
    PAGES.mkdir(parents=True, exist_ok=True)
    (PAGES / f"{name}.md").write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")
