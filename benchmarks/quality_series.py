"""What pretraining on series is worth: methods x data sets x seeds, beside published numbers and trivial baselines.

    python benchmarks/quality_series.py                            # the sets that cost little, three seeds, all methods
    python benchmarks/quality_series.py --sets all                 # all sets of the catalogue's archive
    python benchmarks/quality_series.py --methods ts2vec --sets osu-leaf --seeds 0

Every method is its pipeline file, with one setting for all sets; nothing is chosen by test labels. A result is kept in
runs/quality-series/results.jsonl when it is there, so that an interrupted run goes on where it was; a changed pipeline
is measured anew. The page docs/results/series.md is written from all results after each of them.
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
RESULTS, PAGE = ROOT / "runs" / "quality-series" / "results.jsonl", ROOT / "docs" / "results" / "series.md"
METHODS = ["ts2vec", "triplet", "ts_tcc", "tnc", "tst", "simclr", "moco", "byol"]
QUICK = ["italy-power-demand", "japanese-vowels", "arrow-head", "pickup-gesture", "osu-leaf"]
ALL = [*QUICK, "gun-point", "basic-motions", "acsf1"]
PROBES: dict[str, dict[str, Any]] = {"svm": {}, "linear": {}, "ridge": {}, "knn": {"neighbours": 1}}
MANY_VALUES, MANY_STEPS = 100_000, 600  # TS2Vec's rule: longer training on more values

ORDER = ["acsf1", "arrow-head", "gun-point", "italy-power-demand", "osu-leaf", "pickup-gesture", "basic-motions"]
ORDER.append("japanese-vowels")
PUBLISHED: dict[str, tuple[str, list[float]]] = {  # in the order of ORDER
    "ts2vec": ("A", [0.870, 0.834, 0.983, 0.958, 0.831, 0.840, 0.975, 0.985]),
    "triplet": ("B", [0.900, 0.766, 0.980, 0.954, 0.760, 0.740, 1.000, 0.986]),
    "ts_tcc": ("A", [0.438, 0.694, 0.879, 0.940, 0.498, 0.739, 0.945, 0.858]),
    "tnc": ("C", [0.730, 0.703, 0.967, 0.928, 0.723, 0.620]),
    "MiniRocket + ridge": ("D", [0.910, 0.863, 0.993, 0.963, 0.959, 0.880, 1.000, 0.981]),
    "catch22 + ridge": ("D", [0.720, 0.560, 0.880, 0.791, 0.711, 0.760, 1.000, 0.919]),
    "DTW, 1-NN": ("D", [0.640, 0.703, 0.907, 0.950, 0.591, 0.700, 0.900, 0.960]),
}
SOURCES = """\
- A: independent runs with five seeds, in the README of
  UConn-DSIS/Rank-Supervised-Contrastive-Learning-for-Time-Series-Classification.
- B: the authors' `results_ucr.csv` and `results_uea.csv`, ten negatives, in
  White-Link/UnsupervisedScalableRepresentationLearningTimeSeries.
- C: table 14 of the TEST paper; the five-seed runs of A have .14 to .75 for it, which look like failed runs.
- D: aeon 1.6.0 and scikit-learn 1.9.1 on the same splits; not measured by this script.
- There are no published numbers for single sets of TST; the methods of images were never published on them.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--sets", nargs="+", default=QUICK, help="names of the catalogue, or `all`")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    sets = ALL if asked.sets == ["all"] else asked.sets
    done = {(r["method"], r["set"], r["seed"], r["settings"]) for r in results()}
    for seed in asked.seeds:
        for name in sets:
            for method in asked.methods:
                one = recipe(method, name, seed, asked.threads)
                if (method, name, seed, fingerprint(one)) not in done:
                    result = {
                        "method": method,
                        "set": name,
                        "seed": seed,
                        "settings": fingerprint(one),
                        **measured(one),
                    }
                    RESULTS.parent.mkdir(parents=True, exist_ok=True)
                    with RESULTS.open("a") as file:
                        file.write(json.dumps(result) + "\n")
                    print(
                        f"{method} {name} {seed}: svm {result['probes']['svm']} in {result['seconds']:.0f} s",
                        flush=True,
                    )
                write()


def recipe(method: str, name: str, seed: int, threads: int) -> Any:
    """The method's pipeline for a set of the catalogue, with a batch that the set has."""
    from selfray import recipe as recipes
    from selfray.corpus import catalogue
    from selfray.corpus.manifest import Manifest

    manifest = Manifest.read(catalogue.fetch(name))
    plain = recipes.load(f"series/{method}").plain()
    plain |= {"seed": seed, "corpus": {"fetch": name}}
    pretrain = plain["pretrain"]
    pretrain["batch"] = min(pretrain["batch"], manifest.rows("train"))
    pretrain |= {"workers": 0, "threads": threads, "compile": False, "log_every": 50, "health_every": 10**6}
    if method == "ts2vec" and manifest.rows("train") * manifest.shape[0] * manifest.shape[1] > MANY_VALUES:
        pretrain["steps"] = MANY_STEPS
    return recipes.parse(plain)


def fingerprint(one: Any) -> str:
    """A number for everything that changes a result."""
    plain = one.plain()
    kept = {key: plain["pretrain"][key] for key in ("objective", "encoder", "views", "optimizer", "batch", "steps")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def measured(one: Any) -> dict[str, Any]:
    """Accuracies of one run: trained, untrained and raw for each probe."""
    from selfray.corpus import catalogue
    from selfray.corpus.manifest import Manifest
    from selfray.evaluation.compare import compare
    from selfray.summary import _trained
    from selfray.train import build
    from selfray.train.loop import Job, train

    corpus = catalogue.fetch(one.corpus.fetch)
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
    probes = {
        row["probe"]: {kind: round(row[kind], 4) for kind in ("pretrained", "untrained", "raw")}
        for row in found["probes"]
    }
    return {"probes": probes, "seconds": round(seconds, 1), "loss": [round(losses[0], 4), round(losses[-1], 4)]}


def results() -> list[dict[str, Any]]:
    """All results so far; of one method, set and seed the newest."""
    lines = RESULTS.read_text().splitlines() if RESULTS.is_file() else []
    newest = {(r["method"], r["set"], r["seed"]): r for r in map(json.loads, lines)}
    return list(newest.values())


def write() -> None:
    """The page of all results."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for result in results():
        rows[result["set"], result["method"]].append(result)
    known = [name for name in ALL if any(key[0] == name for key in rows)]
    lines = [
        "# Quality: time series",
        "",
        "Test accuracy on the archive's own splits, in per cent: the mean over seeds and its standard error. The page",
        "is written by `make quality-series`. Each method has one setting for all sets, that of `pipelines/series/`,",
        "and nothing was chosen by test labels. The gain is the SVM's over the same encoder untrained; raw is the",
        "SVM on the series; knn is one neighbour by cosine similarity.",
        "",
    ]
    for name in known:
        lines += [f"## {name}", ""]
        lines += [
            "| method | gain | svm | linear | ridge | knn | untrained svm | raw svm | published | seeds | seconds |"
        ]
        lines += ["|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
        for method in METHODS:
            if found := rows.get((name, method)):
                lines.append(_line(method, name, found))
        lines += [
            f"| {other} | | | | | | | | {_published(other, name)} | | |" for other in PUBLISHED if other not in METHODS
        ]
        lines += [""]
    lines += ["## Where the published numbers are from", "", SOURCES]
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join(lines), encoding="utf-8")


def _line(method: str, name: str, found: list[dict[str, Any]]) -> str:
    def cell(probe: str, kind: str) -> str:
        return spread([result["probes"][probe][kind] for result in found])

    gains = [r["probes"]["svm"]["pretrained"] - r["probes"]["svm"]["untrained"] for r in found]
    cells = [method, f"{100 * mean(gains):+.1f}", *(cell(probe, "pretrained") for probe in PROBES)]
    cells += [cell("svm", "untrained"), cell("svm", "raw"), _published(method, name), str(len(found))]
    return "| " + " | ".join([*cells, f"{mean(result['seconds'] for result in found):.0f}"]) + " |"


def spread(values: list[float]) -> str:
    """Mean and standard error in per cent."""
    error = f" ± {100 * stdev(values) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{error}"


def _published(method: str, name: str) -> str:
    source, values = PUBLISHED.get(method, ("", []))
    place = ORDER.index(name) if name in ORDER else len(values)
    return f"{100 * values[place]:.1f} ({source})" if place < len(values) else ""


if __name__ == "__main__":
    main()
