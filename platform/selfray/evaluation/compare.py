"""A trained encoder beside the same encoder untrained and beside raw samples: a number alone says nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..corpus.manifest import Manifest
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..probes import find
from ..probes.probe import Features
from ..train import health
from ..views.random import sample_keys
from ..views.views import Views
from . import raw, shown
from .features import Samples, embed, few, load

SHOWN = 2000
"""Test samples kept for the report's map and galleries."""


def compare(
    trained: Encoder,
    untrained: Encoder,
    views: Views,
    corpus: str | Path,
    probes: dict[str, dict[str, Any]],
    out: Path,
    max_samples: int = 60_000,
    labels: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Run probes and label-free scores; writes `results.json` and `samples.npz` into `out` and returns the results.

    Args:
        labels: fit probes on a share of the labels of each class, or on so many (`features.few`); on all if None.
        seed: fixes which; they are the same for the trained and the untrained encoder and for raw samples.

    Raises:
        UserError: the corpus has no held-out split.
    """
    train, test = _splits(corpus, max_samples)

    manifest = Manifest.read(corpus)

    def prepare(samples: torch.Tensor) -> torch.Tensor:
        return views.inputs(samples, torch.zeros(len(samples), dtype=torch.long, device=samples.device))

    vectors = {
        "pretrained": (embed(trained, train.data, prepare), embed(trained, test.data, prepare)),
        "untrained": (embed(untrained, train.data, prepare), embed(untrained, test.data, prepare)),
        "raw": raw.vectors(manifest.kind, train.data, test.data, manifest.facts),
    }
    labelled = bool((train.labels >= 0).all() and (test.labels >= 0).all()) and len(np.unique(train.labels)) > 1
    asked = probes.items() if labelled else ()
    fit = np.arange(len(train.ids)) if labels is None else few(train.labels, labels, seed)
    rows = [_probe(name, settings, vectors, train, test, fit, raw.NAMES[manifest.kind]) for name, settings in asked]
    results = {
        "samples": {"train": len(train.ids), "test": len(test.ids), "labels": len(fit)},
        "probes": rows,
        "scores": _scores({"pretrained": trained, "untrained": untrained}, vectors, views, test),
        "verdict": _verdict(rows, labelled),
    }
    out.mkdir(parents=True, exist_ok=True)
    part = slice(0, shown.PLAYED if manifest.kind == "audio" else SHOWN)
    np.savez_compressed(
        out / "samples.npz",
        embedding=vectors["pretrained"][1][part],
        untrained=vectors["untrained"][1][part],
        **shown.samples(test.data[part], manifest, corpus),  # type: ignore[arg-type]  # names are free
        label=test.labels[part].astype(np.int32),
        id=test.ids[part],
        classes=np.array(manifest.classes, dtype=np.str_),
    )
    (out / "results.json").write_text(json.dumps(results, indent=1))
    return results


def _splits(corpus: str | Path, limit: int) -> tuple[Samples, Samples]:
    manifest = Manifest.read(corpus)
    if "test" not in manifest.splits:
        raise UserError(
            f"corpus {manifest.name!r} has no test split to evaluate on; prepare it with --holdout 0.1, "
            "or name a labelled corpus in evaluate.corpus"
        )
    return load(corpus, "train", limit), load(corpus, "test", limit)


def _probe(
    name: str,
    settings: dict[str, Any],
    vectors: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]],
    train: Samples,
    test: Samples,
    fit: NDArray[np.int64],
    raw_name: str,
) -> dict[str, Any]:
    probe = find(name)(**settings)
    correct = {
        kind: probe.correct(Features(known[fit], train.labels[fit]), Features(unseen, test.labels))
        for kind, (known, unseen) in vectors.items()
    }
    row: dict[str, Any] = {"probe": name, "metric": probe.metric, "protocol": probe.protocol, "settings": settings}
    row |= {kind: float(right.mean()) for kind, right in correct.items()}
    row |= {f"{kind}_interval": bootstrap(right) for kind, right in correct.items()}
    return row | {"interval": row["pretrained_interval"], "raw_name": raw_name, "higher_is_better": True}


def bootstrap(right: NDArray[np.bool_], draws: int = 1000) -> tuple[float, float]:
    """A 95 % interval of the mean, from resampled test samples."""
    random = np.random.default_rng(0)
    means = random.binomial(len(right), right.mean(), size=draws) / len(right)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


MEANINGS = {
    "feature_std": "1: every direction is used alike; near 0: all embeddings coincide",
    "rankme": "how many directions the embeddings really use, at most the encoder's width",
    "uniformity": "lower is more spread over the sphere; 0: all embeddings coincide",
    "alignment": "squared distance of two views of one sample; lower: views agree more",
}


@torch.inference_mode()
def _scores(
    encoders: dict[str, Encoder],
    vectors: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]],
    views: Views,
    test: Samples,
) -> list[dict[str, Any]]:
    some = slice(0, 1000)
    values: dict[str, dict[str, float]] = {name: {} for name in MEANINGS}
    keys = sample_keys(torch.from_numpy(test.ids[some]), seed=0, epoch=0)
    pair = views.make("pair", torch.tensor(test.data[some]), keys) if "pair" in views.kinds else None
    for kind, encoder in encoders.items():
        for name, value in health.measures(torch.from_numpy(vectors[kind][1][some])).items():
            values[name.removeprefix("health/")][kind] = float(value)
        if pair:
            place = encoder.mean.device
            agree = health.alignment(encoder.embed(pair["first"].to(place)), encoder.embed(pair["second"].to(place)))
            values["alignment"][kind] = float(agree)
    return [{"score": name, **found, "meaning": MEANINGS[name]} for name, found in values.items() if found]


def _verdict(rows: list[dict[str, Any]], labelled: bool) -> str:
    if not labelled:
        return "The corpus has no labels, so only label-free scores are shown."
    if not rows:
        return "No probe was asked for."
    better = [r for r in rows if r["pretrained_interval"][0] > max(r["untrained_interval"][1], r["raw_interval"][1])]
    best = max(rows, key=lambda r: r["pretrained"])
    numbers = (
        f"{best['probe']} accuracy {best['pretrained']:.1%} on held-out samples, "
        f"{best['untrained']:.1%} untrained, {best['raw']:.1%} {best['raw_name']}"
    )
    if len(better) == len(rows):
        return f"Pretraining taught the encoder something on every probe: {numbers}."
    if better:
        return f"Pretraining helps on {', '.join(r['probe'] for r in better)} but not on every probe: {numbers}."
    return f"No probe shows a gain from pretraining beyond chance: {numbers}."
