"""What pretraining on series is worth: methods x data sets x seeds, beside published numbers and trivial baselines.

    python benchmarks/quality_series.py                            # the sets that cost little, three seeds, all methods
    python benchmarks/quality_series.py --sets all                 # all sets of the catalogue's archive
    python benchmarks/quality_series.py --methods ts2vec --sets osu-leaf --seeds 0

Every method is its pipeline file, with one setting for all sets; nothing is chosen by test labels. A result is kept in
docs/results/measured, so that an interrupted run goes on where it was; a changed pipeline is measured anew. The page
docs/results/series.md is written from all results after each of them.
"""

import argparse
from collections.abc import Iterator
from statistics import fmean
from typing import Any

import quality
from quality import Case, Row

LEDGER = quality.Ledger("series", "method", "set", "seed")
METHODS = ["ts2vec", "triplet", "ts_tcc", "tnc", "tst", "simclr", "moco", "byol", "swav", "deepcluster"]
METHODS += ["autoencoder", "vae", "gan", "forecasting", "cpc"]
QUICK = ["italy-power-demand", "japanese-vowels", "arrow-head", "pickup-gesture", "osu-leaf"]
ALL = [*QUICK, "gun-point", "basic-motions", "acsf1"]
PROBES: dict[str, dict[str, Any]] = {"svm": {}, "linear": {}, "ridge": {}, "knn": {"neighbours": 1}}
MANY_VALUES, MANY_STEPS = 100_000, 600  # TS2Vec's rule: longer training on more values

ORDER = ["acsf1", "arrow-head", "gun-point", "italy-power-demand", "osu-leaf", "pickup-gesture", "basic-motions"]
ORDER.append("japanese-vowels")
ROCKET = "MiniRocket + ridge"
PUBLISHED: dict[str, tuple[str, list[float]]] = {  # in the order of ORDER
    "ts2vec": ("A", [0.870, 0.834, 0.983, 0.958, 0.831, 0.840, 0.975, 0.985]),
    "triplet": ("B", [0.900, 0.766, 0.980, 0.954, 0.760, 0.740, 1.000, 0.986]),
    "ts_tcc": ("A", [0.438, 0.694, 0.879, 0.940, 0.498, 0.739, 0.945, 0.858]),
    "tnc": ("C", [0.730, 0.703, 0.967, 0.928, 0.723, 0.620]),
    ROCKET: ("D", [0.910, 0.863, 0.993, 0.963, 0.959, 0.880, 1.000, 0.981]),
    "catch22 + ridge": ("D", [0.720, 0.560, 0.880, 0.791, 0.711, 0.760, 1.000, 0.919]),
    "DTW, 1-NN": ("D", [0.640, 0.703, 0.907, 0.950, 0.591, 0.700, 0.900, 0.960]),
}
SOURCES = """\
- A: independent runs with five seeds, in the README of
  UConn-DSIS/Rank-Supervised-Contrastive-Learning-for-Time-Series-Classification.
- B: the authors' `results_ucr.csv` and `results_uea.csv`, ten negatives, in
  White-Link/UnsupervisedScalableRepresentationLearningTimeSeries.
- C: table 14 of the TEST paper; the five-seed runs of A have .14 to .75 for it, which look like failed runs.
- D: aeon 1.6.0 and scikit-learn 1.9.1 on the same splits. This script measures MiniRocket too, with selfray's own
  (`selfray/evaluation/rocket.py`); catch22 and DTW it does not.
- There are no published numbers for single sets of TST; the methods of images were never published on them.
"""


def main() -> None:
    parser = quality.arguments(__doc__, METHODS)
    parser.add_argument("--sets", nargs="+", default=QUICK, help="names of the catalogue, or `all`")
    asked = parser.parse_args()
    quality.measure_all(LEDGER, cases(asked), lambda one: quality.pretrained(one, PROBES).row(), write, asked.again)


def cases(asked: argparse.Namespace) -> Iterator[Case]:
    """Seeds last, so that the page soon has all methods."""
    for seed in asked.seeds:
        for name in ALL if asked.sets == ["all"] else asked.sets:
            for method in asked.methods:
                yield {"method": method, "set": name, "seed": seed}, recipe(method, name, seed, asked.threads)


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
    pretrain |= quality.here(threads)
    if method == "ts2vec" and manifest.rows("train") * manifest.shape[0] * manifest.shape[1] > MANY_VALUES:
        pretrain["steps"] = MANY_STEPS
    return recipes.parse(plain)


def write() -> None:
    """The page of all results."""
    rows = quality.by_method(LEDGER, "set")
    known = [name for name in ALL if any(key[1] == name for key in rows)]
    lines = [
        "# Quality: time series",
        "",
        "Test accuracy on the archive's own splits, in per cent: the mean over seeds and its standard error. The page",
        "is written by `make quality-series`. Each method has one setting for all sets, that of `pipelines/series/`,",
        "and nothing was chosen by test labels. The gain is the SVM's over the same encoder untrained; raw is the",
        "SVM on the series; knn is one neighbour by cosine similarity.",
        "",
    ]
    lines += _means(rows)
    for name in known:
        lines += [f"## {name}", ""]
        lines += [
            "| method | gain | svm | linear | ridge | knn | untrained svm | raw svm | published | seeds | seconds |"
        ]
        lines += ["|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
        for method in METHODS:
            if found := rows.get((method, name)):
                lines.append(_line(method, name, found))
        for other in PUBLISHED:
            if other not in METHODS:
                own = _rocket(rows, name) if other == ROCKET else ""
                lines.append(f"| {other} | | | | {own} | | | | {_published(other, name)} | | |")
        lines += [""]
    lines += ["## Where the published numbers are from", "", SOURCES]
    quality.write_page("series", lines)


def _line(method: str, name: str, found: list[Row]) -> str:
    cells = [method, quality.gain(found, "svm"), *(quality.accuracy(found, probe) for probe in PROBES)]
    cells += [quality.accuracy(found, "svm", kind) for kind in ("untrained", "raw")]
    return quality.line([*cells, _published(method, name), str(len(found)), quality.seconds(found)])


def _means(rows: dict[Any, list[Row]]) -> list[str]:
    """Each method's mean over the sets that have few computations, beside the published one; if it has them all."""
    found = []
    for method in METHODS:
        of = [rows[method, name] for name in QUICK if (method, name) in rows]
        if len(of) < len(QUICK):
            continue
        seeds = min(map(len, of))
        averaged = [_averaged([one[i] for one in of]) for i in range(seeds)]
        known = PUBLISHED.get(method, ("", []))[1]
        places = [ORDER.index(name) for name in QUICK]
        published = f"{100 * fmean(known[i] for i in places):.1f}" if known and max(places) < len(known) else ""
        cells = [method, quality.gain(averaged, "svm"), *(quality.accuracy(averaged, probe) for probe in PROBES)]
        cells += [quality.accuracy(averaged, "svm", kind) for kind in ("untrained", "raw")]
        lost = [name for name, one in zip(QUICK, of, strict=True) if quality.gain(one, "svm").startswith("-")]
        found.append(quality.line([*cells, published, str(seeds), ", ".join(lost)]))
    if not found:
        return []
    return [
        f"## Mean over {', '.join(QUICK)}",
        "",
        "| method | gain | svm | linear | ridge | knn | untrained svm | raw svm | published | seeds | loses on |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
        *found,
        "",
    ]


def _averaged(rows: list[Row]) -> Row:
    kinds = ("pretrained", "untrained", "raw")
    return {
        "probes": {
            probe: {kind: fmean(row["probes"][probe][kind] for row in rows) for kind in kinds} for probe in PROBES
        }
    }


def _rocket(rows: dict[Any, list[Row]], name: str) -> str:
    """MiniRocket's accuracy, which depends on the seed and not on the method."""
    own = {
        row["seed"]: row["beside"]["ridge"]["MiniRocket"]
        for key, found in rows.items()
        for row in found
        if key[1] == name and "beside" in row
    }
    return quality.spread(list(own.values())) if own else ""


def _published(method: str, name: str) -> str:
    source, values = PUBLISHED.get(method, ("", []))
    place = ORDER.index(name) if name in ORDER else len(values)
    return f"{100 * values[place]:.1f} ({source})" if place < len(values) else ""


if __name__ == "__main__":
    main()
