"""What pretraining on sound is worth: methods x seeds on voices and on phones, beside trivial baselines.

    python benchmarks/quality_audio.py                              # all methods, both corpora, three seeds
    python benchmarks/quality_audio.py --methods cpc tera --corpora festvox-ru --seeds 0

Every method is its pipeline file with a network that two CPU cores can train; labels are used by probes only: which
voice says a letter (`klettres`), and which phone is heard at a moment of a sentence (`festvox-ru`). A result is kept in
docs/results/measured, so that an interrupted run goes on where it was; changed settings are measured anew. The page
docs/results/audio.md is written after each of them.
"""

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import quality
from quality import Case, Row

LEDGER = quality.Ledger("audio", "corpus", "method", "seed")
VOICES, PHONES = "klettres", "festvox-ru"
PROBES: dict[str, dict[str, dict[str, Any]]] = {
    VOICES: {"knn": {"neighbours": 20}, "linear": {}},
    PHONES: {"frames": {}},
}
LENGTH: dict[str, dict[str, Any]] = {VOICES: {"batch": 64, "clip": 1.0}, PHONES: {"batch": 32, "clip": 2.0}}
RATE = 1e-3
CONVOLUTIONS = {"name": "melconv", "width": 256, "channels_inside": 32, "hop": 20.0}
FRAMES = {"name": "meltransformer", "width": 128, "layers": 3, "mels": 40}
SMALL: dict[str, dict[str, Any]] = {  # what differs from the pipeline besides batch and length
    "simclr": {"encoder": CONVOLUTIONS, "objective": {"temperature": 0.2, "width": 64}},
    "moco": {"encoder": CONVOLUTIONS, "objective": {"queue_size": 1024, "momentum": 0.99}},
    "byol": {"encoder": CONVOLUTIONS, "objective": {"hidden": 512, "width": 64}},
    "cpc": {"encoder": {"name": "cpc", "width": 128, "inner": 64}, "optimizer": {"name": "adamw", "lr": 1e-3}},
    "wav2vec2": {  # at five times this rate all codes become one, and the loss 0
        "encoder": {"name": "wav2vec2", "shape": "tiny", "dropout": 0.0, "reach": 16},
        "optimizer": {"name": "adamw", "lr": 2e-4, "weight_decay": 0.01},
    },
    "hubert": {
        "encoder": {"name": "wav2vec2", "shape": "tiny", "dropout": 0.0, "reach": 16},
        "objective": {"clusters": 50, "layer": 1},
    },
    "best_rq": {"encoder": FRAMES | {"stack": 4}, "objective": {"codes": 512}},
    "tera": {"encoder": FRAMES | {"stack": 2}},
    "autoencoder": {"encoder": CONVOLUTIONS},
    "vae": {"encoder": CONVOLUTIONS, "objective": {"latent": 32}},
    "denoising": {"encoder": CONVOLUTIONS | {"stages": 2, "window": 32.0, "hop": 10.0}},
    "separation": {"encoder": FRAMES | {"stack": 1, "window": 32.0}},
}
IMPROVEMENT = "si_sdr_improvement"


def main() -> None:
    parser = quality.arguments(__doc__, list(SMALL))
    parser.add_argument("--corpora", nargs="+", default=[*PROBES], choices=[*PROBES])
    parser.add_argument("--steps", type=int, default=600)
    asked = parser.parse_args()
    quality.measure_all(LEDGER, cases(asked), measured, write, asked.again)


def cases(asked: argparse.Namespace) -> Iterator[Case]:
    """Seeds last, so that the page soon has all methods."""
    for seed in asked.seeds:
        for corpus in asked.corpora:
            for method in asked.methods:
                key = {"corpus": corpus, "method": method, "seed": seed}
                yield key, recipe(method, seed, asked.steps, asked.threads, corpus)


def recipe(method: str, seed: int, steps: int, threads: int, corpus: str = VOICES) -> Any:
    """The method's pipeline with a small network and a short run."""
    from selfray import recipe as recipes

    plain = recipes.load(f"audio/{method}").plain()
    plain |= {"seed": seed, "corpus": {"fetch": corpus}}
    pretrain, small, length = plain["pretrain"], SMALL[method], LENGTH[corpus]
    pretrain["encoder"] = small["encoder"]
    pretrain["objective"] |= small.get("objective", {})
    pretrain["views"] |= {"clip": length["clip"]}
    pretrain["optimizer"] = small.get("optimizer", {"name": "adamw", "lr": RATE, "weight_decay": 0.01})
    pretrain |= {"batch": length["batch"], "steps": steps, "epochs": None, "warmup": 0.1, **quality.here(threads)}
    pretrain["lanes"] = min(pretrain["lanes"], length["batch"])
    return recipes.parse({**plain, "pretrain": {key: value for key, value in pretrain.items() if value is not None}})


def measured(one: Any) -> Row:
    """Accuracies of one run: trained, untrained, and without a network; decibels of methods that make sound."""
    run = quality.pretrained(one, PROBES[one.corpus.fetch])
    row = run.row() | {"steps": one.pretrain.steps}
    better = {
        kind: quality.held_out(model, run.views, run.corpus, IMPROVEMENT)
        for kind, model in (("pretrained", run.trained), ("untrained", run.untrained))
    }
    if all(better.values()):
        row["decibels"] = {kind: round(mean(values), 2) for kind, values in better.items()}
    if one.pretrain.objective.name == "denoising":
        row["stoi"] = intelligibility(run)
    if one.corpus.fetch == VOICES:
        for name, share in cepstra(run.corpus).items():
            row["probes"][name]["mfcc"] = round(share, 4)
    return row


def intelligibility(run: quality.Outcome, sounds: int = 128) -> dict[str, float]:
    """Short-time objective intelligibility of held-out sounds, 0 to 1: with noise, and denoised by each encoder."""
    import torch
    from pystoi import stoi

    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.features import load
    from selfray.parts.spectrum import lengths
    from selfray.views.random import sample_keys

    test, rate = load(run.corpus, "test", 10_000), Manifest.read(run.corpus).facts["rate"]
    found: dict[str, list[float]] = {"noisy": [], "pretrained": [], "untrained": []}
    for at in range(0, min(sounds, len(test.ids)), 32):
        keys = sample_keys(torch.from_numpy(test.ids[at : at + 32]), 0, 0)
        seen = run.views.make("single", torch.tensor(test.data[at : at + 32]), keys)
        with torch.inference_mode():
            heard = {"pretrained": run.trained.pictures(seen), "untrained": run.untrained.pictures(seen)}
        waves = {"noisy": heard["pretrained"]["noisy"], **{who: made["denoised"] for who, made in heard.items()}}
        for i, length in enumerate(lengths(seen["images"]).tolist()):
            clean = seen["images"][i, :length].double().numpy()
            with warnings.catch_warnings(action="error"):
                try:
                    values = {who: stoi(clean, wave[i, :length].double().numpy(), rate) for who, wave in waves.items()}
                except RuntimeWarning:  # less than 0.4 s of it is loud enough
                    continue
            for who, value in values.items():
                found[who].append(float(value))
    return {who: round(mean(values), 4) for who, values in found.items()} if found["noisy"] else {}


def cepstra(corpus: Path) -> dict[str, float]:
    """Accuracies of mean and deviation of MFCCs."""
    import torch

    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.features import load
    from selfray.parts.spectrum import statistics
    from selfray.probes import find
    from selfray.probes.probe import Features
    from selfray.views.audio import waveform

    rate = Manifest.read(corpus).facts["rate"]
    splits = []
    for split in ("train", "test"):
        samples = load(corpus, split, 20_000)
        splits.append(Features(statistics(waveform(torch.tensor(samples.data)), rate).numpy(), samples.labels))
    return {name: float(find(name)(**settings).correct(*splits).mean()) for name, settings in PROBES[VOICES].items()}


def write() -> None:
    """The page of all results."""
    rows = quality.by_method(LEDGER, "corpus")
    lines = [
        "# Quality: sound",
        "",
        "Accuracy in per cent on held-out sounds: the mean over seeds and its standard error. The page is written by",
        "`make quality-audio`. Networks are small and runs short; settings are those of `pipelines/audio/`, changed by",
        "the table `SMALL` in `benchmarks/quality_audio.py`. Gains are over the same network untrained.",
        "",
    ]
    if phones := {method: found for (method, corpus), found in rows.items() if corpus == PHONES}:
        lines += _phones(phones)
    if voices := {method: found for (method, corpus), found in rows.items() if corpus == VOICES}:
        lines += _voices(voices)
    lines += _sounds(rows)
    quality.write_page("audio", lines if rows else [*lines[:2], quality.NOTHING.format("audio")])


def _phones(rows: dict[str, list[Row]]) -> list[str]:
    lines = [
        f"## Phones: `{PHONES}`",
        "",
        "Which of 50 phones is heard at the centre of a position, by a linear classifier of that position alone;",
        "sentences are held out. How long a position is (10 to 80 ms) depends on the network, and MFCCs are those at",
        "the same moments, so that they are compared within a row only.",
        "",
        "| method | gain | accuracy | untrained | MFCCs of 70 ms | steps | seeds | seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for method in (method for method in SMALL if method in rows):
        found = rows[method]
        cells = [quality.gain(found, "frames")]
        cells += [quality.accuracy(found, "frames", kind) for kind in ("pretrained", "untrained", "raw")]
        lines.append(_ended(method, cells, found))
    return [*lines, ""]


def _voices(rows: dict[str, list[Row]]) -> list[str]:
    lines = [
        f"## Voices: `{VOICES}`",
        "",
        "Which of 20 voices says a letter, from the embedding of the sound. Language and microphone go with the voice,",
        "so this is no test of languages, and networks that know nothing do well.",
        "",
        "| method | gain kNN | gain linear | kNN | untrained | linear | untrained | steps | seeds | seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    probes = PROBES[VOICES]
    for method in (method for method in SMALL if method in rows):
        found = rows[method]
        cells = [quality.gain(found, probe) for probe in probes]
        cells += [quality.accuracy(found, probe, kind) for probe in probes for kind in ("pretrained", "untrained")]
        lines.append(_ended(method, cells, found))
    (first, *_), *_ = rows.values()
    for name, kind in (("spectrum statistics", "raw"), ("MFCC statistics", "mfcc")):
        values = [f"{100 * first['probes'][probe][kind]:.1f}" for probe in probes]
        lines.append(f"| {name} | | | {values[0]} | | {values[1]} | | | | |")
    return [*lines, ""]


def _sounds(rows: dict[Any, list[Row]]) -> list[str]:
    """What methods that make sound make of held-out sounds."""
    lines = []
    for (method, corpus), found in rows.items():
        heard = [row["decibels"] for row in found if "decibels" in row]
        clear = [row["stoi"] for row in found if row.get("stoi")]
        if heard:
            cells = [f"{mean(one[kind] for one in heard):+.1f}" for kind in ("pretrained", "untrained")]
            kinds = ("noisy", "pretrained", "untrained")
            cells += [f"{mean(one[kind] for one in clear):.3f}" if clear else "" for kind in kinds]
            lines.append(_ended(f"{method}, {corpus}", cells, found))
    if not lines:
        return []
    return [
        "## Sounds made better",
        "",
        "Decibels by which the scale-invariant ratio of signal to distortion improves, on 512 held-out clips, and the",
        "short-time objective intelligibility (STOI by `pystoi`, 1 is clear) of 128 of them.",
        "",
        "| method, corpus | decibels | untrained | STOI with noise | denoised | untrained | steps | seeds | seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *lines,
    ]


def _ended(method: str, cells: list[str], found: list[Row]) -> str:
    return quality.line([method, *cells, str(found[0]["steps"]), str(len(found)), quality.seconds(found)])


if __name__ == "__main__":
    main()
