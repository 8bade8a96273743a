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
        beside = {r["probe"]: r["beside"] for r in self.found["probes"] if "beside" in r}
        return {
            "probes": {r["probe"]: {kind: round(r[kind], 4) for kind in kinds} for r in self.found["probes"]},
            **({"beside": beside} if beside else {}),
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


def pretrained(
    one: Any, probes: dict[str, dict[str, Any]], samples: int = 60_000, shares: Iterable[float] = ()
) -> Outcome:
    """Pretrain by a recipe whose corpus is of the catalogue, and compare with the untrained encoder and raw samples.

    Args:
        one: the recipe.
        probes: names with settings.
        samples: used for fitting probes at most.
        shares: of the labels, on which probes are fitted too.
    """
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
        judged = (trained.encoder, untrained.encoder, views, corpus, probes, Path(folder) / "evaluation", samples)
        found = compare(*judged, seed=one.seed, label_shares=list(shares))
    return Outcome(trained, untrained, views, corpus, found, seconds, losses)


def supervised(one: Any, share: float = 1.0) -> Row:
    """A recipe's network, views, optimizer and budget with labels instead of its objective: what is reachable.

    Args:
        one: the recipe.
        share: of the labels of each class, the ones that probes get of that share and the recipe's seed.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from selfray.corpus import catalogue
    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.features import few, load
    from selfray.train import build
    from selfray.train.schedule import learning_rate_factor
    from selfray.views.random import sample_keys

    corpus = catalogue.fetch(one.corpus.fetch)
    manifest, settings = Manifest.read(corpus), one.pretrain
    torch.manual_seed(one.seed)
    torch.set_num_threads(settings.threads)
    encoder = build.objective(settings, manifest, one.seed).encoder.train()
    model = torch.nn.ModuleList([encoder, torch.nn.Linear(encoder.width, len(manifest.classes))])
    views = build.views(settings, manifest.facts)
    optimizer = torch.optim.AdamW(model.parameters(), settings.optimizer["lr"])
    train, test = load(corpus, "train", 10**6), load(corpus, "test", 10**6)
    known = torch.arange(len(train.ids)) if share == 1 else torch.from_numpy(few(train, share, one.seed))
    data, labels, ids = (torch.from_numpy(of)[known] for of in (train.data, train.labels, train.ids))
    kind, name = ("single", "images") if manifest.kind == "image" else ("pair", "first")
    losses, begun = [], time.perf_counter()
    for step in range(settings.steps):
        rows = torch.randint(len(ids), (settings.batch,))
        seen = views.make(kind, data[rows], sample_keys(ids[rows], one.seed, step))[name]
        for group in optimizer.param_groups:
            group["lr"] = settings.optimizer["lr"] * learning_rate_factor(step, settings.steps, settings.warmup, 0.0)
        loss = cross_entropy(model[1](encoder.embed(seen)), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    took = time.perf_counter() - begun
    model.eval()
    with torch.inference_mode():
        parts = torch.from_numpy(test.data).split(1000)
        inputs = (views.inputs(part, torch.zeros(len(part), dtype=torch.long)) for part in parts)
        found = torch.cat([model[1](encoder.embed(part)).argmax(1) for part in inputs])
    right = float((found == torch.from_numpy(test.labels)).float().mean())
    return {
        "probes": {"linear": {"pretrained": round(right, 4)}},
        "scores": {},
        "labels": len(known),
        "seconds": round(took, 1),
        "loss": [round(float(losses[0]), 4), round(float(losses[-1]), 4)],
    }


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
