"""Useful tokens per second of masked language modelling: the bare step, selfray, and the Trainer of transformers.

    python benchmarks/bench_text.py [--shape mini] [--steps 300] [--seeds 0 1 2]

One corpus (the paragraphs of BBC News), one vocabulary, one network, one optimizer and schedule; tokens are useful if
they are no padding. Each variant is a process of its own, in the order limit, variants, limit; a run whose two limits
of a precision differ by more than 10 % was disturbed and is not written to RESULTS.md.
"""

import argparse
import math
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import beside
import quality
import variants
from beside import LIMIT, OURS, Page, Task

LENGTH, VOCABULARY = 128, 8192
PACKED, DOCUMENTS = "Trainer, packed rows", "Trainer, documents"
TARGETS = {
    ("selfray fp32", "limit fp32"): 0.95,
    ("selfray bf16", "limit bf16"): 0.95,
    ("selfray fp32", "Trainer, packed rows fp32"): 1.0,
    ("selfray bf16", "Trainer, packed rows bf16"): 1.0,
    ("selfray bf16", "Trainer, documents fp32"): 4.0,
}
NOTE = (
    "BERT-{shape} on rows of 128 tokens, {batch} a step, {steps} steps, {threads} torch threads. *Limit*: loss, "
    "gradients and optimizer on one resident batch. *selfray*: `pipelines/text/mlm.yaml` with these settings, no Ray. "
    "*Trainer*: `BertForMaskedLM` with `DataCollatorForLanguageModeling` in transformers' own loop, on the same packed "
    "rows, or on paragraphs padded to the longest of a batch. Held-out loss: of the same places of the same rows, "
    "after as many steps."
)


def main() -> int:
    """Measure, judge, write down; the exit status."""
    asked = beside.parser(__doc__, steps=300, seeds=[0, 1, 2]).parse_args()
    if asked.one:
        return beside.answer(asked, measured)
    page = Page("Text", "tokens/s", NOTE.format(**vars(asked)), TARGETS)
    with tempfile.TemporaryDirectory(prefix="selfray-bench-") as folder:
        prepare(Path(folder))
        return beside.measure(tasks(asked, folder), asked, page)


def tasks(asked: argparse.Namespace, folder: str) -> list[Task]:
    """All variants in the order in which they run."""
    plain, both = beside.plain(asked, folder), ("fp32", "bf16")
    limits = [replace(plain, precision=p) for p in both]
    mine = [replace(plain, variant=OURS, precision=p) for p in both]
    rivals = [replace(plain, variant=PACKED, precision=p) for p in both] + [replace(plain, variant=DOCUMENTS)]
    seeds = [replace(plain, variant=v, seed=seed) for seed in asked.seeds[1:] for v in (OURS, PACKED)]
    return [*limits, *mine, *rivals, *([] if asked.quick else seeds), *limits]


def measured(task: Task) -> dict[str, Any]:
    """Rate, share of useful tokens, trained numbers and held-out loss of one variant."""
    warnings.filterwarnings("ignore")
    one = recipe(task)
    if task.variant in (PACKED, DOCUMENTS):
        import torchvision_stub  # noqa: F401  (before transformers, which finds torchvision)
        from peer_trainer import train

        return train(task, one, packed=task.variant == PACKED)
    from selfray.corpus.manifest import Manifest

    pad = Manifest.read(Path(one.corpus.path)).facts["pad"]
    if task.variant == LIMIT:
        return variants.limit(task, one, lambda samples: samples != pad)

    def judged(objective: Any, views: Any) -> float:
        found = quality.held_out(objective, views, Path(one.corpus.path), "perplexity", variants.HELD_OUT)
        return mean(map(math.log, found))

    return variants.selfray(one, lambda samples: samples != pad, judged=judged)


def recipe(task: Task) -> Any:
    """The pipeline `text/mlm` with a task's settings."""
    from selfray import recipe

    plain = recipe.load("text/mlm").plain()
    plain |= {"seed": task.seed, "corpus": {"path": str(Path(task.corpus, "packed"))}}
    plain["pretrain"]["encoder"] |= {"shape": task.shape}
    plain["pretrain"] |= variants.here(task)
    return recipe.parse(plain)


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


if __name__ == "__main__":
    sys.exit(main())
