"""A trained encoder beside the same encoder untrained and beside raw samples: a number alone says nothing."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..corpus.manifest import Manifest
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..probes import find
from ..probes.probe import Features, Probe, Score
from ..train import health
from ..views.random import sample_keys
from ..views.views import Views
from . import frames, pairs, raw, rocket, shares, shown
from .features import Samples, embed, few, load
from .steps import Steps, standard
from .verdict import verdict

SHOWN = 2000
"""Test samples kept for the report's map and galleries."""

ROCKETS = 4000
"""Series of a split that MiniRocket gets at most: a ridge of its 10,000 features takes a minute then, and 160 MB."""

WHO = ("pretrained", "untrained", "raw")
Vectors = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Of each of `WHO`: training and test samples."""


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
    label_shares: Sequence[float] = (),
) -> dict[str, Any]:
    """Run probes and label-free scores; writes `results.json` and `samples.npz` into `out` and returns the results.

    Args:
        labels: fit probes on a share of the labels of each class, or on so many (`features.few`); on all if None.
        seed: fixes which; they are the same for the trained and the untrained encoder and for raw samples.
        label_shares: fit the probes of labels on these shares of the labels too, for the curve of label efficiency.

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
    encoders = {"pretrained": trained, "untrained": untrained}
    labelled = bool((train.labels >= 0).all() and (test.labels >= 0).all()) and len(np.unique(train.labels)) > 1
    fit = np.arange(len(train.ids)) if labels is None else few(train, labels, seed)
    rows, unfit = list[dict[str, Any]](), list[str]()
    for name, settings in probes.items():
        probe = find(name)(**settings)
        if probe.asks == "labels" and not labelled:
            continue
        try:
            if probe.asks == "steps":
                found = _over_time(name, probe, encoders, train, test, manifest)
            elif probe.asks == "pairs":
                made = pairs.vectors(name, encoders, train, manifest, corpus)
                found = {who: probe.over_pairs(corpus, made[who]) for who in WHO}
            elif probe.asks == "frames":
                heard = frames.of(name, encoders, train, test, manifest, corpus, prepare)
                found = {who: probe.over_frames(heard[who]) for who in WHO}
            else:
                found = _of_labels(probe, vectors, train, test, fit)
                if probe.rocket and manifest.kind == "series":
                    beside = _rocket(probe, train, test, fit, manifest, seed)
                    found["raw"] = [replace(score, beside=beside) for score in found["raw"]]
        except UserError as problem:  # one probe that does not apply is no reason to lose the others
            unfit.append(str(problem))
            continue
        rows += _rows(name, probe, settings, found, probe.raw or raw.NAMES[manifest.kind])
    rows.sort(key=lambda row: row["metric"] != "accuracy")  # the first ones speak for all, and everybody can read these
    curve = list[dict[str, Any]]()
    if label_shares and labelled:

        def judged(probe: Probe, some: NDArray[np.int64]) -> dict[str, list[Score]]:
            return _of_labels(probe, vectors, train, test, some)

        curve = shares.rows(probes, label_shares, train, judged, seed, raw.NAMES[manifest.kind])
    results = {
        "samples": {"train": len(train.ids), "test": len(test.ids), "labels": len(fit)},
        "probes": rows,
        "unfit": unfit,
        "label_shares": curve,
        "scores": _scores(encoders, vectors, views, test),
        "verdict": verdict(rows, labelled, unfit),
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


def _of_labels(
    probe: Probe, vectors: Vectors, train: Samples, test: Samples, fit: NDArray[np.int64]
) -> dict[str, list[Score]]:
    found = {}
    for who, (known, unseen) in vectors.items():
        fitted = Features(known[fit], train.labels[fit]) if probe.fits_labels else Features(known, train.labels)
        found[who] = probe.scores(fitted, Features(unseen, test.labels))
    return found


def _rocket(
    probe: Probe, train: Samples, test: Samples, fit: NDArray[np.int64], manifest: Manifest, seed: int
) -> dict[str, float]:
    """The first number of a probe on MiniRocket's features, by a name that says if not all series were used."""
    draw, asked, name = np.random.default_rng(seed), np.arange(len(test.ids)), "MiniRocket"
    if len(fit) > ROCKETS or len(asked) > ROCKETS:
        fit, asked = (np.sort(draw.permutation(of)[:ROCKETS]) for of in (fit, asked))
        name += f" on up to {ROCKETS:,} series"
    scaled = standard(train.data[fit], test.data[asked], manifest.mean, manifest.std)
    features = rocket.fit(scaled.train, seed)
    known = Features(features(scaled.train), train.labels[fit])
    return {name: probe.scores(known, Features(features(scaled.test), test.labels[asked]))[0].value}


def _over_time(
    name: str, probe: Probe, encoders: dict[str, Encoder], train: Samples, test: Samples, manifest: Manifest
) -> dict[str, list[Score]]:
    if manifest.kind != "series":
        raise UserError(
            f"{name} asks for values at time steps, which {manifest.kind} corpora do not have; leave it out"
        )
    windows = standard(train.data, test.data, manifest.mean, manifest.std)
    found = {who: probe.over_time(windows, Steps(encoder, windows)) for who, encoder in encoders.items()}
    return found | {"raw": probe.over_time(windows, None)}


def _rows(
    name: str, probe: Probe, settings: dict[str, Any], found: dict[str, list[Score]], raw_name: str
) -> list[dict[str, Any]]:
    """A row of `results.json` for each number of a probe; the first bears the probe's own name."""
    rows = []
    for scores in zip(*(found[who] for who in WHO), strict=True):
        first = scores[0]
        row: dict[str, Any] = {"probe": f"{name}/{first.part}" if first.part else name, "metric": first.metric}
        row |= {"protocol": probe.protocol, "settings": settings}
        row |= {who: score.value for who, score in zip(WHO, scores, strict=True)}
        row |= {f"{who}_interval": score.interval for who, score in zip(WHO, scores, strict=True)}
        row |= {"interval": first.interval, "raw_name": raw_name, "higher_is_better": first.higher_is_better}
        beside = {text: value for score in scores for text, value in score.beside.items()}
        rows.append(row | ({"beside": beside} if beside else {}))
    return rows


MEANINGS = {
    "feature_std": "1: every direction is used alike; near 0: all embeddings coincide",
    "rankme": "how many directions the embeddings really use, at most the encoder's width",
    "uniformity": "lower is more spread over the sphere; 0: all embeddings coincide",
    "alignment": "squared distance of two views of one sample; lower: views agree more",
}


@torch.inference_mode()
def _scores(
    encoders: dict[str, Encoder],
    vectors: Vectors,
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
