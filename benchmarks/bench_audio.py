"""Seconds of sound per second of wav2vec 2.0: the bare step, selfray, and transformers' model in its example's loop.

    python benchmarks/bench_audio.py [--shape small] [--steps 60]

One corpus (klettres: a second each), one network, one optimizer. Each variant is a process of its own, in the order
limit, variants, limit; a run whose two limits differ by more than 10 % was disturbed and is not written to RESULTS.md.
"""

import argparse
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import beside
import variants
from beside import LIMIT, OURS, Page, Task

PEER = "transformers"
TARGETS = {
    ("selfray fp32", "limit fp32"): 0.9,
    ("selfray bf16", "limit bf16"): 0.9,
    ("selfray fp32", "transformers fp32"): 1.0,
    ("selfray bf16", "transformers bf16"): 1.0,
}
NOTE = (
    "wav2vec 2.0 {shape}, {batch} sounds of up to 1.5 s a step, {steps} steps, {threads} torch threads. *Limit*: loss, "
    "gradients and optimizer on one resident batch. *selfray*: `pipelines/audio/wav2vec2.yaml` with these settings, no "
    "Ray. *transformers*: `Wav2Vec2ForPreTraining` with its feature extractor, its masks and its negatives, made in "
    "the collator as its pretraining example makes them, in a plain loop. Seconds count if they are no padding."
)


def main() -> int:
    """Measure, judge, write down; the exit status."""
    from selfray.corpus import catalogue

    asked = beside.parser(__doc__, steps=60, row=5).parse_args()
    if asked.one:
        return beside.answer(asked, measured)
    page = Page("Audio", "seconds of sound/s", NOTE.format(**vars(asked)), TARGETS)
    return beside.measure(tasks(asked, str(catalogue.fetch("klettres").resolve())), asked, page)


def tasks(asked: argparse.Namespace, corpus: str) -> list[Task]:
    """All variants in the order in which they run."""
    plain = beside.plain(asked, corpus)
    found = [replace(plain, variant=v, precision=p) for v in (LIMIT, OURS, PEER) for p in ("fp32", "bf16")]
    return [*found, *found[:2]]


def measured(task: Task) -> dict[str, Any]:
    """Rate, share of seconds that are no padding, and trained numbers of one variant."""
    warnings.filterwarnings("ignore")
    one = recipe(task)
    if task.variant == PEER:
        import torchvision_stub  # noqa: F401  (before transformers, which finds torchvision)
        from peer_wav2vec2 import train

        return train(task, one)
    from selfray.corpus.manifest import Manifest
    from selfray.encoders.inputs import SILENT_PAD

    unit = 1 / Manifest.read(Path(task.corpus)).facts["rate"]
    if task.variant == LIMIT:
        return variants.limit(task, one, lambda samples: samples != SILENT_PAD, unit)
    return variants.selfray(one, lambda samples: samples != SILENT_PAD, unit)


def recipe(task: Task) -> Any:
    """The pipeline `audio/wav2vec2` with a task's settings."""
    from selfray import recipe

    plain = recipe.load("audio/wav2vec2").plain()
    plain |= {"seed": task.seed, "corpus": {"path": task.corpus}}
    pretrain = plain["pretrain"]
    pretrain["encoder"] = {"name": "wav2vec2", "shape": task.shape, "dropout": 0.0}
    pretrain["objective"] |= {"gumbel_decay": 0.999995}
    pretrain["views"] = {"clip": None}
    pretrain |= variants.here(task) | {"lanes": 8}
    return recipe.parse(plain)


if __name__ == "__main__":
    sys.exit(main())
