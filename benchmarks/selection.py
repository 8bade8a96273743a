"""How well scores that need no labels rank runs: Spearman's correlation with probes, with bootstrap intervals.

    python benchmarks/selection.py                                  # seconds; reads what other benchmarks measured

Sources are the runs of all methods in docs/results/measured/image.jsonl and, for each sweep in sweeps.jsonl, the trials
within one method, which is what a sweep has to choose among. The page is docs/results/selection.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import quality
import sweep_runs as runs
from quality import Row

BETTER = {"rankme": 1, "feature_std": 1, "uniformity": -1, "alignment": -1, "loss": -1}
"""Whether a score is said to be better high or low; of the loss only within one method."""
PROBES = ("linear", "knn")
RESAMPLES = 1000
FEWEST_RUNS, FEWEST_SETTINGS = 8, 4
"""With fewer than these nothing is said."""
ALIKE = 0.1
"""A score whose mean correlation is this near to the highest is taken to be as good."""


@dataclass(frozen=True)
class Run:
    """One run: which group of seeds it belongs to, its probes and its scores."""

    group: str
    probes: dict[str, float]
    scores: dict[str, float]


@dataclass(frozen=True)
class Rank:
    """Spearman's correlation of a score, turned so that 1 is the right order, with a 95 % interval."""

    rho: float
    low: float
    high: float


def main() -> None:
    found = {name: ranks(of) for name, of in sources().items()}
    counts = {name: (len(of), len({run.group for run in of})) for name, of in sources().items()}
    quality.write_page("selection", page(found, counts))


def sources() -> dict[str, list[Run]]:
    """Runs by where they come from: across methods first, then each sweep, of its newest settings."""
    found: dict[str, list[Run]] = {}
    for row in quality.Ledger("image", "corpus", "method", "seed").rows():
        if row["scores"]:
            probes = {name: probe["pretrained"] for name, probe in row["probes"].items()}
            found.setdefault(f"methods on {row['corpus']}", []).append(Run(row["method"], probes, row["scores"]))
    for name in dict.fromkeys(row["sweep"] for row in runs.TRIALS.rows()):
        settings = runs.newest(runs.TRIALS, sweep=name)["settings"]
        found[f"sweep: {name}"] = [_run(row) for row in runs.finished(runs.known(name, settings))]
    return found


def _run(row: Row) -> Run:
    loss = {} if row["loss"] is None else {"loss": row["loss"]}
    return Run(row["value"], {"linear": row["linear"]}, row["scores"] | loss)


def ranks(of: Sequence[Run]) -> dict[str, dict[str, Rank]]:
    """Probe -> score -> correlation, of those that all runs have."""
    found: dict[str, dict[str, Rank]] = {}
    if len(of) < FEWEST_RUNS or len({run.group for run in of}) < FEWEST_SETTINGS:
        return found
    for probe in PROBES:
        if all(probe in run.probes for run in of):
            names = [name for name in BETTER if all(name in run.scores for run in of)]
            found[probe] = {name: ranked(of, probe, name) for name in names}
    return found


def ranked(of: Sequence[Run], probe: str, score: str) -> Rank:
    """The correlation over runs; seeds of one setting are not independent, so whole groups are drawn again."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for run in of:
        groups.setdefault(run.group, []).append((BETTER[score] * run.scores[score], run.probes[probe]))
    pairs = [np.array(group) for group in groups.values()]
    random = np.random.default_rng(0)
    drawn = [
        spearman(np.concatenate([pairs[i] for i in random.integers(len(pairs), size=len(pairs))]))
        for _ in range(RESAMPLES)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Rank(spearman(np.concatenate(pairs)), float(low), float(high))


def spearman(pairs: np.ndarray) -> float:
    """Spearman's rank correlation of the two columns; not a number where one of them is constant."""
    from scipy.stats import spearmanr

    if (np.ptp(pairs, axis=0) == 0).any():
        return math.nan
    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


def page(found: dict[str, dict[str, dict[str, Rank]]], counts: dict[str, tuple[int, int]]) -> list[str]:
    """The table and what follows from it."""
    from selfray.search.metric import DEFAULT_LABEL_FREE, LABEL_FREE

    lines = [
        "# Choosing without labels",
        "",
        f"{verdict(found, DEFAULT_LABEL_FREE, list(LABEL_FREE))}",
        "",
        "Spearman's correlation of scores that need no labels with the accuracy of probes, on Fashion-MNIST. Signs are",
        "turned so that 1 means that the score orders runs as the probe does, and -1 the other way round: RankMe and",
        "feature_std are better high; uniformity, alignment and loss low. In brackets: 95 % of bootstrap draws, in",
        "which the seeds of one method or setting stay together. A dash: not measured there, or nothing to compare,",
        "as the losses of different methods.",
        "",
        "| source | runs, settings | probe | " + " | ".join(BETTER) + " |",
        "|---|--:|---|" + "--:|" * len(BETTER),
    ]
    for source, by_probe in found.items():
        number = f"{counts[source][0]}, {counts[source][1]}"
        if not by_probe:
            lines.append(quality.line([source, number, "too few", *["-"] * len(BETTER)]))
        for probe, scores in by_probe.items():
            lines.append(quality.line([source, number, probe, *(_cell(scores.get(name)) for name in BETTER)]))
    lines += [
        "",
        "Runs across methods are those of [the quality of images](image.md), judged on the test split; trials of",
        "sweeps are those of the pages in `docs/results/sweeps/`, judged on labels of the training split.",
        "`python benchmarks/selection.py` writes this page from `docs/results/measured/`.",
    ]
    return lines


def _cell(rank: Rank | None) -> str:
    if rank is None or math.isnan(rank.rho):
        return "-"
    return f"{rank.rho:.2f} [{rank.low:.2f}, {rank.high:.2f}]"


def verdict(found: dict[str, dict[str, dict[str, Rank]]], default: str, offered: Sequence[str]) -> str:
    """What a sweep without labels is judged by, and whether these runs support that.

    They do if the default orders no sweep's trials wrongly beyond doubt, at least half of the sweeps' rightly beyond
    doubt, and no other score that a sweep offers has a clearly higher mean correlation. The loss does not count: the
    knobs of these sweeps change what it is, and its order is then that of the knob.
    """
    said = f"Without labels a sweep is judged by `{default}`."
    sweeps = [by_probe["linear"] for source, by_probe in found.items() if source.startswith("sweep") and by_probe]
    if not sweeps:
        return f"{said} No sweep is measured yet, so there is no evidence from within a method for or against that."
    means = {
        name: float(np.mean([scores[name].rho for scores in sweeps]))
        for name in offered
        if all(name in scores and not math.isnan(scores[name].rho) for scores in sweeps)
    }
    if default not in means:
        return f"{said} It is not known for every sweep, so nothing follows."
    right, wrong = (sum(test(scores[default]) for scores in sweeps) for test in (_right, _wrong))
    top = max((name for name in means if name != "loss"), key=lambda name: means[name])
    detail = (
        f"Its mean correlation with the linear probe within a sweep is {means[default]:.2f} (sweeps: {len(sweeps)}; "
        f"ordered rightly beyond doubt: {right}, wrongly: {wrong})."
    )
    others = ", ".join(f"`{name}` {mean:.2f}" for name, mean in means.items() if name not in (default, "loss"))
    if "loss" in means:
        others += f". The loss has {means['loss']:.2f}, but these knobs (temperature, negatives, masks) change it"
    supported = not wrong and 2 * right >= len(sweeps) and means[top] - means[default] <= ALIKE
    if supported:
        return f"{said} {detail} Of the others: {others}. These runs support the default."
    better = f"`{top}` has the highest mean, {means[top]:.2f}." if top != default else "No other score does better."
    return f"{said} {detail} Of the others: {others}. These runs do not support the default. {better}"


def _right(rank: Rank) -> bool:
    return rank.low > 0


def _wrong(rank: Rank) -> bool:
    return rank.high < 0


if __name__ == "__main__":
    main()
