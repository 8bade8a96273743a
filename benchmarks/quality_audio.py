"""What pretraining on sound is worth: methods x seeds on spoken letters of 19 voices, beside trivial baselines.

    python benchmarks/quality_audio.py                              # all methods, three seeds
    python benchmarks/quality_audio.py --methods cpc tera --seeds 0

Every method is its pipeline file with a network that two CPU cores can train; the labels, which voice speaks, are used
by probes only. A result is kept in runs/quality-audio/results.jsonl when it is there, so that an interrupted run goes
on where it was; changed settings are measured anew. The page docs/results/audio.md is written after each of them.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "runs" / "quality-audio" / "results.jsonl", ROOT / "docs" / "results" / "audio.md"
CORPUS = "klettres"
PROBES: dict[str, dict[str, Any]] = {"knn": {"neighbours": 20}, "linear": {}}
CONVOLUTIONS = {"name": "melconv", "width": 256, "channels_inside": 32, "hop": 20.0}
FRAMES = {"name": "meltransformer", "width": 128, "layers": 3, "mels": 40}
SMALL: dict[str, dict[str, Any]] = {  # what differs from the pipeline besides batch and length
    "simclr": {"encoder": CONVOLUTIONS, "objective": {"temperature": 0.2, "width": 64}},
    "moco": {"encoder": CONVOLUTIONS, "objective": {"queue_size": 1024, "momentum": 0.99}},
    "byol": {"encoder": CONVOLUTIONS, "objective": {"hidden": 512, "width": 64}},
    "cpc": {"encoder": {"name": "cpc", "width": 128, "inner": 64}, "optimizer": {"name": "adamw", "lr": 1e-3}},
    "wav2vec2": {"encoder": {"name": "wav2vec2", "shape": "tiny", "dropout": 0.0, "reach": 16}},
    "best_rq": {"encoder": FRAMES | {"stack": 4}, "objective": {"codes": 512}},
    "tera": {"encoder": FRAMES | {"stack": 2}},
}
LENGTH: dict[str, Any] = {"batch": 64, "clip": 1.0, "lr": 1e-3}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--methods", nargs="+", default=list(SMALL), choices=list(SMALL))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    done = {(r["method"], r["seed"], r["settings"]) for r in results()}
    for seed in asked.seeds:
        for method in asked.methods:
            one = recipe(method, seed, asked.steps, asked.threads)
            if (method, seed, fingerprint(one)) in done:
                continue
            result = {"method": method, "seed": seed, "settings": fingerprint(one), **measured(one)}
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(f"{method} {seed}: {result['probes']} in {result['seconds']:.0f} s", flush=True)
            write()


def recipe(method: str, seed: int, steps: int, threads: int) -> Any:
    """The method's pipeline with a small network and a short run."""
    from selfray import recipe as recipes

    plain = recipes.load(f"audio/{method}").plain()
    plain |= {"seed": seed, "corpus": {"fetch": CORPUS}}
    pretrain, small = plain["pretrain"], SMALL[method]
    pretrain["encoder"] = small["encoder"]
    pretrain["objective"] |= small.get("objective", {})
    pretrain["views"] |= {"clip": LENGTH["clip"]}
    pretrain["optimizer"] = small.get("optimizer", {"name": "adamw", "lr": LENGTH["lr"], "weight_decay": 0.01})
    pretrain |= {"batch": LENGTH["batch"], "steps": steps, "epochs": None, "warmup": 0.1, "workers": 0, "gpu": False}
    pretrain |= {"threads": threads, "compile": False, "log_every": 50, "health_every": 10**6}
    return recipes.parse({**plain, "pretrain": {key: value for key, value in pretrain.items() if value is not None}})


def fingerprint(one: Any) -> str:
    """A number for everything that changes a result."""
    plain = one.plain()
    kept = {key: plain["pretrain"][key] for key in ("objective", "encoder", "views", "optimizer", "batch", "steps")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def measured(one: Any) -> dict[str, Any]:
    """Accuracies of one run: trained, untrained, spectrum statistics and MFCC statistics for each probe."""
    from selfray.corpus import catalogue
    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.compare import compare
    from selfray.summary import _trained
    from selfray.train import build
    from selfray.train.loop import Job, train

    corpus = catalogue.fetch(CORPUS)
    manifest = Manifest.read(corpus)
    untrained = build.objective(one.pretrain, manifest, one.seed).encoder.eval()
    losses: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        train(Job(one, str(corpus), folder), lambda row: losses.append(row["train/loss"]))
        seconds = time.perf_counter() - begun
        trained = _trained(Path(folder), one, manifest).encoder.eval()
        views = build.views(one.pretrain, manifest.facts)
        found = compare(trained, untrained, views, corpus, PROBES, Path(folder) / "evaluation")
    kinds = ("pretrained", "untrained", "raw")
    probes = {row["probe"]: {kind: round(row[kind], 4) for kind in kinds} for row in found["probes"]}
    for name, accuracy in cepstra(corpus).items():
        probes[name]["mfcc"] = round(accuracy, 4)
    return {
        "probes": probes,
        "steps": one.pretrain.steps,
        "seconds": round(seconds, 1),
        "loss": [round(losses[0], 4), round(losses[-1], 4)],
    }


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
    return {name: float(find(name)(**settings).correct(*splits).mean()) for name, settings in PROBES.items()}


def results() -> list[dict[str, Any]]:
    """All results so far; of one method and seed the newest."""
    lines = RESULTS.read_text().splitlines() if RESULTS.is_file() else []
    newest = {(r["method"], r["seed"]): r for r in map(json.loads, lines)}
    return list(newest.values())


def write() -> None:
    """The page of all results."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results():
        rows[result["method"]].append(result)
    lines = [
        "# Quality: sound",
        "",
        f"Which of 19 voices speaks, on the held-out quarter of `{CORPUS}`: accuracy in per cent, the mean over seeds",
        "and its standard error. The page is written by `make quality-audio`. Networks are small and runs short; the",
        "settings are those of `pipelines/audio/`, changed by the table `SMALL` in `benchmarks/quality_audio.py`.",
        "Language and microphone go with the voice, so this is no test of languages.",
        "",
        "| method | kNN | untrained kNN | linear | untrained linear | steps | seeds | seconds |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_line(method, rows[method]) for method in SMALL if method in rows]
    if every := [result for found in rows.values() for result in found]:
        for name, kind in (("spectrum statistics", "raw"), ("MFCC statistics", "mfcc")):
            values = [f"{100 * every[0]['probes'][probe][kind]:.1f}" for probe in PROBES]
            lines.append(f"| {name} | {values[0]} | | {values[1]} | | | | |")
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _line(method: str, found: list[dict[str, Any]]) -> str:
    cells = [
        spread([result["probes"][probe][kind] for result in found])
        for probe in PROBES
        for kind in ("pretrained", "untrained")
    ]
    seconds = mean(result["seconds"] for result in found)
    return "| " + " | ".join([method, *cells, str(found[0]["steps"]), str(len(found)), f"{seconds:.0f}"]) + " |"


def spread(values: list[float]) -> str:
    """Mean and standard error in per cent."""
    error = f" ± {100 * stdev(values) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{error}"


if __name__ == "__main__":
    main()
