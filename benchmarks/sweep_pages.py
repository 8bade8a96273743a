"""Three published ablations by `selfray sweep`: temperature of SimCLR, queue of MoCo, masked share of MAE.

    python benchmarks/sweep_pages.py                                # all three, three seeds (hours)
    python benchmarks/sweep_pages.py --sweeps temperature --steps 100 --seeds 2

Fashion-MNIST; the linear probe is fitted and asked on labels of the training split alone. Each sweep is the real
command line in a process of its own, so an interrupted one goes on. Trials are kept in docs/results/measured, pages are
written to docs/results/sweeps and plots to docs/images; what is kept with the same settings is not measured again.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import quality
import sweep_runs as runs
from quality import Row
from sweep_runs import Asked, Difference, points


@dataclass(frozen=True)
class Ablation:
    """A question that a paper has asked, and how it is asked here."""

    pipeline: str
    knob: str
    words: str  # the knob in a sentence
    unit: str  # the knob at an axis
    steps: int
    overrides: tuple[str, ...]
    paper: str


PATCHES = (
    *("encoder.name=vit", "encoder.shape=tiny", "encoder.patch=7", "encoder.layers=3", "encoder.positions=sincos"),
    *("encoder.pooling=mean", "objective.width=96", "objective.layers=2", "views.scale=[0.6,1.0]"),
)
ABLATIONS = {
    "temperature": Ablation(
        "image/simclr",
        "objective.temperature",
        "temperature",
        "temperature",
        400,
        (*runs.SMALL, "objective.hidden=128", "objective.width=128"),
        "Chen et al. 2020 ([arXiv:2002.05709](https://arxiv.org/abs/2002.05709), table 5) found 0.1 the best.",
    ),
    "queue_size": Ablation(
        "image/moco",
        "objective.queue_size",
        "queue size",
        "keys in the queue",
        400,
        (*runs.SMALL, "objective.hidden=128", "objective.width=128", "objective.momentum=0.99"),
        "He et al. 2020 ([arXiv:1911.05722](https://arxiv.org/abs/1911.05722), figure 3) found more keys to be better, "
        "up to 65,536 for 1.28 million images; the corpus here has 60,000, so that a queue of 65,536 holds the other "
        "views of the very sample that is asked for.",
    ),
    "mask_ratio": Ablation(
        "image/mae",
        "objective.mask_ratio",
        "masked share",
        "share of the patches that is hidden",
        600,
        PATCHES,
        "He et al. 2022 ([arXiv:2111.06377](https://arxiv.org/abs/2111.06377), figure 5) found the linear probe best "
        "at 0.75 of 0.1 to 0.9.",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sweeps", nargs="+", default=[*ABLATIONS], choices=[*ABLATIONS])
    parser.add_argument("--seeds", type=int, default=3, help="trials of each value")
    parser.add_argument("--steps", type=int, help="of a trial; the sweep's own by default")
    parser.add_argument("--samples", type=int, default=20_000, help="labelled samples of a judgement")
    parser.add_argument("--out", type=Path, help="folder of the sweeps; runs/sweep-pages by default")
    given = parser.parse_args()
    from selfray import paths

    for name in given.sweeps:
        one = asked(name, given.seeds, given.steps, given.samples)
        out = (given.out or paths.runs() / "sweep-pages") / f"{name}-{one.fingerprint}"
        rows = measured(name, one, out, given.seeds)
        write(name, one, rows)


def asked(name: str, seeds: int, steps: int | None, samples: int) -> Asked:
    """The command of an ablation."""
    of = ABLATIONS[name]
    budget = (f"sweep.steps={steps or of.steps}", f"sweep.seeds={seeds}", "sweep.reports=1")
    judged = ("sweep.metric=linear", f"sweep.samples={samples}")
    return Asked(of.pipeline, name, (*runs.COMMON, *of.overrides, *budget, *judged))


def measured(name: str, one: Asked, out: Path, seeds: int) -> list[Row]:
    """The rows of an ablation, from the ledger if it has all of them."""
    from selfray.search import space

    wanted = len(space.load(name).knobs[ABLATIONS[name].knob][0].listed()) * seeds
    if len(runs.known(name, one.fingerprint)) < wanted:
        runs.sweep(one, out)
        for trial in runs.trials(out):
            value = str(trial.settings[f"pretrain.{ABLATIONS[name].knob}"])
            runs.TRIALS.add(runs.row(name, value, trial, one.fingerprint))
    return runs.known(name, one.fingerprint)


def write(name: str, one: Asked, rows: list[Row]) -> None:
    """The page of an ablation, and its plot."""
    of = ABLATIONS[name]
    rows = sorted(rows, key=lambda row: (float(row["value"]), row["seed"]))
    judged = runs.finished(rows)
    if not judged:
        reasons = "; ".join(sorted({row["reason"] for row in rows}))
        raise SystemExit(f"no trial of {name} went to its end: {reasons}")
    scores = runs.by_value(judged)
    top, differences = runs.below_best(scores)
    picture = quality.ROOT / "docs" / "images" / f"sweep-{name}.png"
    draw(picture, of, scores)
    lines = [
        f"# Sweep: {of.words}",
        "",
        "```bash",
        *one.shown(),
        "```",
        "",
        f"{conclusion(of.words, scores, top, differences)} {_lost(rows)}{of.paper}",
        "",
        "Accuracy is that of a linear probe on a fifth of some labelled samples of the training split, fitted on the",
        "other four fifths; the test split was not read. The pictures of that fifth were pretrained on, their labels",
        "were not. Errors are standard errors over seeds; those of differences take the deviation over seeds from all",
        "values together.",
        "",
        f"![Linear probe against {of.words}](../../images/sweep-{name}.png)",
        "",
        f"| {of.words} | linear, % | below the best, points | RankMe | uniformity | seeds |",
        "|--:|--:|--:|--:|--:|--:|",
        *(_line(value, scores[value], differences[value], judged) for value in scores),
        "",
        *_provenance(rows),
        f"`make sweep-pages` writes this page; the trials are in `docs/results/measured/{runs.TRIALS.file.name}`.",
    ]
    runs.write_page(name, lines)


def conclusion(
    words: str, scores: Mapping[str, Sequence[float]], top: str, differences: Mapping[str, Difference]
) -> str:
    """Where the optimum is and what is known about both ends, in sentences that claim no more than the numbers do."""
    noise, freedom = runs.seed_noise(scores)
    values = list(scores)
    said = [
        f"The best {words} is {_named(top)}, with {quality.spread(list(scores[top]))} % over {len(scores[top])} seeds."
    ]
    if not freedom:
        return " ".join([*said, "With one seed of each value nothing is known about the noise, so nothing follows."])
    said.append(f"A run varies by {points(noise)} points from seed to seed.")
    ends = {side: value for side, value in (("low", values[0]), ("high", values[-1])) if value != top}
    for side, value in ends.items():
        end = differences[value]
        seen = "worse" if end.clear else "lower, which is within the noise"
        said.append(f"The {side} end, {_named(value)}, is {points(end.below)} ± {points(end.error)} points {seen}.")
    alike = [value for value in values if value != top and not differences[value].clear]
    if alike:
        listed = ", ".join(map(_named, alike))
        said.append(f"Not to be told apart from the best by these seeds: {listed}.")
    if top in (values[0], values[-1]):
        said.append("The best is an end of what was tried, so these trials show no interior optimum.")
    elif all(differences[value].clear for value in ends.values()):
        said.append("Both ends are worse beyond the noise: the optimum lies within.")
    else:
        said.append("Since not both ends are worse beyond the noise, these trials do not show an interior optimum.")
    return " ".join(said)


def _named(value: str) -> str:
    return f"{int(value):,}" if value.isdigit() else value


def _lost(rows: Sequence[Row]) -> str:
    """A sentence about trials that failed."""
    lost = [row for row in rows if row["status"] == "failed"]
    said = "; ".join(f"{_named(row['value'])}, seed {row['seed']}: {row['reason']}" for row in lost)
    return f"{len(lost)} of {len(rows)} trials failed and are left out ({said}). " if lost else ""


def _line(value: str, of: Sequence[float], difference: Difference, judged: Sequence[Row]) -> str:
    same = [row for row in judged if row["value"] == value]
    below = f"{points(difference.below)} ± {points(difference.error)}" if difference.below else ""
    means = [fmean(row["scores"][name] for row in same) for name in ("rankme", "uniformity")]
    scores = [f"{means[0]:.1f}", f"{means[1]:.2f}"]
    return quality.line([_named(value), quality.spread(list(of)), below, *scores, str(len(of))])


def _provenance(rows: Sequence[Row]) -> list[str]:
    minutes = sum(row["seconds"] for row in rows) / 60
    return [
        f"{len(rows)} trials of {max(row['steps'] for row in rows):,} steps, two at once; {minutes:.0f} minutes of",
        f"training and judging, summed over trials. {runs.provenance(rows)}",
    ]


def draw(file: Path, of: Ablation, scores: Mapping[str, Sequence[float]]) -> None:
    """Every trial, the mean of each value, and its standard error over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
    places = [float(value) for value in scores]
    errors = [runs.standard_error(values) for values in scores.values()]
    for place, values in zip(places, scores.values(), strict=True):
        axis.plot([place] * len(values), [100 * value for value in values], "o", color="#b0b7c3", markersize=4)
    means = [100 * fmean(values) for values in scores.values()]
    axis.errorbar(places, means, [100 * error for error in errors], fmt="-o", color="#2f6fdb", capsize=3, markersize=4)
    if min(places) > 0 and max(places) / min(places) > 20:
        axis.set_xscale("log")
        axis.minorticks_off()
        axis.set_xticks(places, [_named(value) for value in scores])
    axis.set(xlabel=of.unit, ylabel="linear probe, %")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
