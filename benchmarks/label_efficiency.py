"""How far few labels reach: windows of a phone's sensors, people held out, with and without pretraining.

    python benchmarks/label_efficiency.py                          # all methods, three seeds
    python benchmarks/label_efficiency.py --methods simclr --seeds 0 --threads 1

Every method is its pipeline file but for batch and steps, which all share. Linear probes are fitted on 1, 5, 10 and
100 % of the labels of HAPT, on the same ones for all; beside them stand the same network trained from scratch with
those labels, untrained, and statistics that engineers would write down. What is measured is kept in
docs/results/measured; the page docs/results/labels.md is written after each result.
"""

from collections.abc import Iterable, Iterator
from statistics import mean, stdev
from typing import Any

import numpy as np
import quality
from numpy.typing import NDArray
from quality import Case, Row

LEDGER = quality.Ledger("labels", "method", "seed")
CORPUS = "hapt"
METHODS = ["simclr", "byol", "ts2vec", "ts_tcc", "tst", "forecasting"]
SCRATCH = {"simclr-with-labels": "simclr", "tst-with-labels": "tst"}  # whose network and views
STATISTICS = "statistics"
SHARES = [0.01, 0.05, 0.1, 1.0]
BATCH, STEPS = 64, 600
PICTURE = quality.ROOT / "docs" / "images" / "labels.png"


def main() -> None:
    asked = quality.arguments(__doc__, [STATISTICS, *METHODS, *SCRATCH]).parse_args()
    quality.measure_all(LEDGER, cases(asked.methods, asked.seeds, asked.threads), measured, write, asked.again)


def cases(methods: Iterable[str], seeds: Iterable[int], threads: int) -> Iterator[Case]:
    """Seeds last, so that the page soon has all methods."""
    for seed in seeds:
        for method in methods:
            yield {"method": method, "seed": seed}, recipe(method, seed, threads)


def recipe(method: str, seed: int, threads: int) -> Any:
    """The pipeline of a method, or of the network that a comparison is of."""
    from selfray import recipe as recipes

    plain = recipes.load(f"series/{'simclr' if method == STATISTICS else SCRATCH.get(method, method)}").plain()
    plain |= {"name": method, "seed": seed, "corpus": {"fetch": CORPUS}}
    budget = {"batch": BATCH, "steps": STEPS, "epochs": None, "warmup": 0.1, "final_lr": 0.0}
    plain["pretrain"] |= {**budget, **quality.here(threads)}
    return recipes.parse(plain)


def measured(one: Any) -> Row:
    """Accuracies by share of the labels, as lists in the order of `SHARES`."""
    if one.name == STATISTICS:
        return {"probes": {"linear": {"pretrained": _of_statistics(one.seed)}}, "seconds": 0.0}
    if one.name in SCRATCH:
        found = [quality.supervised(one, share) for share in SHARES]
        reached = [row["probes"]["linear"]["pretrained"] for row in found]
        took = round(sum(row["seconds"] for row in found), 1)
        return {"probes": {"linear": {"pretrained": reached}}, "seconds": took}
    outcome = quality.pretrained(one, {"linear": {}}, shares=SHARES)
    curve = outcome.found["label_shares"]
    kinds = ("pretrained", "untrained", "raw")
    return outcome.row() | {"probes": {"linear": {kind: [round(row[kind], 4) for row in curve] for kind in kinds}}}


def _of_statistics(seed: int) -> list[float]:
    from selfray.corpus import catalogue
    from selfray.evaluation.features import few, load
    from selfray.probes.linear import Linear
    from selfray.probes.probe import Features

    train, test = (load(catalogue.fetch(CORPUS), split, 10**6) for split in ("train", "test"))
    known, unseen = statistics(train.data), Features(statistics(test.data), test.labels)
    reached = []
    for share in SHARES:
        some = np.arange(len(train.ids)) if share == 1 else few(train, share, seed)
        right = Linear().correct(Features(known[some], train.labels[some]), unseen)
        reached.append(round(float(right.mean()), 4))
    return reached


def statistics(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What engineers compute of windows of motion: (windows, steps, 6 channels) to (windows, 143).

    Of each channel, of the strength of acceleration and of that of rotation: mean, deviation, extremes, quartiles,
    energy, mean absolute change, crossings of the mean, and of the spectrum its energy in four bands, its peak and its
    entropy; and the correlations of the channels.
    """
    strengths = [np.linalg.norm(windows[..., part], axis=2, keepdims=True) for part in (slice(0, 3), slice(3, 6))]
    values = np.concatenate([windows, *strengths], axis=2).transpose(0, 2, 1).astype(np.float64)
    centred = values - values.mean(2, keepdims=True)
    power = np.square(np.abs(np.fft.rfft(centred)))[..., 1:]
    share = power / np.maximum(power.sum(2, keepdims=True), 1e-12)
    crossings = np.signbit(centred[..., 1:]) != np.signbit(centred[..., :-1])
    found = [values.mean(2), values.std(2), values.min(2), values.max(2)]
    found += [*np.quantile(values, [0.25, 0.5, 0.75], axis=2), np.square(values).mean(2)]
    found += [np.abs(np.diff(values)).mean(2), crossings.mean(2)]
    found += [np.log(part.sum(2) + 1e-6) for part in np.split(power, [4, 8, 16], axis=2)]
    found += [power.argmax(2), -(share * np.log(share + 1e-12)).sum(2)]
    unit = centred / np.maximum(np.linalg.norm(centred, axis=2, keepdims=True), 1e-12)
    pairs = np.triu_indices(6, 1)
    correlations = np.einsum("wcs,wds->wcd", unit, unit)[:, *pairs]
    return np.concatenate([*found, correlations], axis=1).astype(np.float32)


def write() -> None:
    """The page of all results, and the curves."""
    rows = quality.by_method(LEDGER)
    methods = [method for method in METHODS if method in rows]
    networks, scratch = ([name for name in of if name in rows] for of in (SCRATCH.values(), SCRATCH))
    table = [(f"{method}, linear", _curves(rows[method])) for method in methods]
    table += [(f"network of {name} untrained, linear", _curves(rows[name], "untrained")) for name in networks]
    table += [(f"network of {SCRATCH[name]} trained with labels alone", _curves(rows[name])) for name in scratch]
    if STATISTICS in rows:
        table.append(("statistics, linear", _curves(rows[STATISTICS])))
    if methods:
        table.append(("values of the windows, linear", _curves(rows[methods[0]], "raw")))
    lines = [
        "# Few labels",
        "",
        "Accuracy in per cent on the windows of nine people of HAPT (12 activities and transitions, 3,162 windows), by",
        "the share of the labels of the 21 others (7,767 windows, all of which every method saw without labels). The",
        "page is written by `make quality-labels`: mean over seeds, which also fix the labels, and standard error.",
        f"Methods are their pipeline files with {STEPS} steps of {BATCH} windows; networks trained with labels have",
        "the same steps, views and optimizer. The statistics are 143: moments, spectra and correlations",
        "(`benchmarks/label_efficiency.py`). Nothing was chosen by labels of the nine.",
        "",
        "![Accuracy against the share of the labels](../images/labels.png)",
        "",
        "| | " + " | ".join(f"{share:.0%}" for share in SHARES) + " | seeds |",
        "|---|" + "--:|" * (len(SHARES) + 1),
    ]
    for name, curves in table:
        lines.append(quality.line([name, *map(quality.spread, map(list, zip(*curves, strict=True))), str(len(curves))]))
    if table:
        _draw(table)
    quality.write_page("labels", lines)


def _curves(rows: list[Row], kind: str = "pretrained") -> list[list[float]]:
    return [row["probes"]["linear"][kind] for row in rows]


def _draw(table: list[tuple[str, list[list[float]]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for name, curves in table:
        own = name.split(",")[0] in METHODS
        style = {"linewidth": 1.8} if own else {"linewidth": 1.4, "linestyle": "--" if "labels" in name else ":"}
        reached = [100 * mean(of) for of in zip(*curves, strict=True)]
        errors = [100 * stdev(of) / len(of) ** 0.5 if len(of) > 1 else 0 for of in zip(*curves, strict=True)]
        axis.errorbar([100 * share for share in SHARES], reached, errors, marker="o", markersize=4, label=name, **style)
    axis.set(xscale="log", xlabel="share of the labels, %", ylabel="accuracy, %", xticks=[100 * one for one in SHARES])
    axis.xaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
