"""What a sweep saves and what it costs: ASHA beside the full grid, and ten tiny trials beside ten runs.

    python benchmarks/sweep_budget.py                               # both, three seeds (hours)
    python benchmarks/sweep_budget.py --parts overhead --repeats 1 --tiny-steps 20

The grid is temperature x learning rate of SimCLR on Fashion-MNIST with the network of `sweep_pages.py`. Both searches
are the real command line; an interrupted one goes on. Results are kept in docs/results/measured, the page is
docs/results/sweeps/budget.md; what is kept with the same settings is not measured again.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import quality
import sweep_runs as runs
from quality import Row
from sweep_runs import Asked, points, selfray

LEDGER = quality.Ledger("budget", "part", "seed")
GRID = """knobs:
  objective.temperature: {choice: [0.05, 0.1, 0.2, 0.5]}
  optimizer.lr: {choice: [3e-4, 2e-3, 1e-2]}
search: grid
"""
TEN = """knobs:
  objective.temperature: {choice: [0.05, 0.07, 0.1, 0.14, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7]}
search: grid
scheduler: none
reports: 1
"""
NETWORK = (*runs.COMMON, *runs.SMALL, "objective.hidden=128", "objective.width=128")
TINY = ("corpus.fetch=mnist-5k", "encoder.width=16", "threads=null", "batch=64", "objective.hidden=64")
MOST_STEPS, MOST_TIME = 0.4, 1.3
"""What ASHA may use of the grid's steps, and a sweep of the time of its runs one after another."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--parts", nargs="+", default=["asha", "overhead"], choices=["asha", "overhead"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=432, help="of a whole trial of the grid")
    parser.add_argument("--samples", type=int, default=20_000, help="labelled samples of a judgement of the grid")
    parser.add_argument("--reduction", type=int, default=4, help="of so many trials one goes on at each look of ASHA")
    parser.add_argument("--levels", type=int, default=3, help="looks of ASHA")
    parser.add_argument("--tiny-steps", type=int, default=100, help="of each of ten trials of the overhead")
    parser.add_argument("--repeats", type=int, default=3, help="of the overhead's measurement")
    parser.add_argument("--out", type=Path, help="folder of the sweeps; runs/sweep-budget by default")
    given = parser.parse_args()
    from selfray import paths

    out = given.out or paths.runs() / "sweep-budget"
    out.mkdir(parents=True, exist_ok=True)
    if "asha" in given.parts:
        for seed in given.seeds:
            compare(given, seed, out)
            write()
    if "overhead" in given.parts:
        for repeat in range(given.repeats):
            overhead(given, repeat, out)
            write()


def compare(given: argparse.Namespace, seed: int, out: Path) -> None:
    """The full grid and ASHA over the same settings with the same seed."""
    space = _space(out, "temperature_lr", GRID)
    budget = (f"seed={seed}", f"sweep.steps={given.steps}", "sweep.metric=linear", f"sweep.samples={given.samples}")
    whole = Asked("image/simclr", space, (*NETWORK, *budget, "sweep.scheduler=none", "sweep.reports=1"))
    looks = (f"sweep.reduction={given.reduction}", f"sweep.levels={given.levels}")
    early = Asked("image/simclr", space, (*NETWORK, *budget, "sweep.scheduler=asha", f"sweep.seed={seed}", *looks))
    key = {"part": "asha", "seed": seed, "settings": f"{whole.fingerprint}-{early.fingerprint}"}
    if LEDGER.holds(key):
        return
    found = {}
    for name, one in (("grid", whole), ("asha", early)):
        folder = out / f"{name}-{one.fingerprint}"
        runs.sweep(one, folder)
        found[name] = runs.trials(folder)
    for trial in found["grid"]:
        runs.TRIALS.add(runs.row("temperature_lr", _settings(trial), trial, _family(whole, seed)))
    numbers = {"family": _family(whole, seed), "grid": _summary(found["grid"]), "asha": _summary(found["asha"])}
    asked = {"steps": given.steps, "reduction": given.reduction, "levels": given.levels}
    LEDGER.add(key | numbers | asked | runs.place())


def _family(whole: Asked, seed: int) -> str:
    """The same for all seeds of a grid, so that its rows belong together."""
    plain = tuple(text for text in whole.overrides if text != f"seed={seed}")
    return Asked(whole.pipeline, whole.space, plain).fingerprint


def _settings(trial: Any) -> str:
    return ", ".join(f"{key.removeprefix('pretrain.')} {value}" for key, value in trial.settings.items())


def _summary(trials: Sequence[Any]) -> Row:
    """The best of the trials that went to their end, and what all of them cost.

    Raises:
        SystemExit: none did.
    """
    ended = [trial for trial in trials if trial.status == "finished"]
    if not ended:
        raise SystemExit(f"no trial went to its end; the first: {trials[0].reason if trials else 'none was started'}")
    top = max(ended, key=lambda trial: float(trial.score or 0.0))
    return {
        "best": _settings(top),
        "linear": top.score,
        "steps": sum(trial.steps for trial in trials),
        "finished": len(ended),
        "trials": len(trials),
        "seconds": round(sum(trial.seconds for trial in trials), 1),
    }


def overhead(given: argparse.Namespace, repeat: int, out: Path) -> None:
    """Ten tiny trials by one sweep, and the same ten pretrainings by ten commands, one after another."""
    from selfray.corpus import catalogue

    space = _space(out, "ten", TEN)
    small = (*NETWORK, *TINY)
    judged = (f"sweep.steps={given.tiny_steps}", "sweep.metric=knn", "sweep.samples=1000")
    one = Asked("image/simclr", space, (*small, *judged))
    key = {"part": "overhead", "seed": repeat, "settings": one.fingerprint}
    if LEDGER.holds(key):
        return
    catalogue.fetch("mnist-5k")  # neither of the two is to pay for it
    with tempfile.TemporaryDirectory(dir=out) as folder:
        swept = Path(folder) / "sweep"
        searched = runs.sweep(one, swept)
        trials = runs.trials(swept)
        alone, trained = 0.0, 0.0
        for trial in trials:
            value = next(iter(trial.settings.values()))
            run = Path(folder) / f"run-{trial.id}"
            settings = (f"objective.temperature={value}", f"seed={trial.seed}", f"steps={given.tiny_steps}")
            more = ("epochs=null", "evaluate=null", "--out", str(run), "--quiet")
            alone += selfray("run", "image/simclr", *small, *settings, *more)
            trained += _trained(run)
    numbers = {"sweep": round(searched, 1), "runs": round(alone, 1), "trials": len(trials)}
    numbers |= {"busy": round(sum(trial.seconds for trial in trials), 1), "trained": round(trained, 1)}
    LEDGER.add(key | numbers | {"steps": given.tiny_steps} | runs.place())


def _trained(run: Path) -> float:
    """Seconds that a run trained for, by its own curve."""
    rows = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return float(json.loads(rows[-1])["seconds"])


def _space(out: Path, name: str, text: str) -> str:
    file = out / f"{name}.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def write() -> None:
    """The page of both parts, of the newest settings of each."""
    rows = LEDGER.rows()
    lines = [
        "# Sweep: what stopping early saves, and what a sweep costs",
        "",
        "`make sweep-pages` measures both parts and writes this page.",
        "",
        *saved([row for row in rows if row["part"] == "asha"]),
        *cost([row for row in rows if row["part"] == "overhead"]),
    ]
    runs.write_page("budget", lines)


def saved(rows: Sequence[Row]) -> list[str]:
    """ASHA beside the grid."""
    if not rows:
        return []
    last = runs.newest(LEDGER, part="asha")
    rows = [row for row in rows if all(row[key] == last[key] for key in ("family", "reduction", "levels"))]
    trials = [row for row in runs.known("temperature_lr", rows[0]["family"]) if row["status"] == "finished"]
    noise, freedom = runs.seed_noise(runs.by_value(trials))
    regret = fmean(row["grid"]["linear"] - row["asha"]["linear"] for row in rows)
    share = fmean(row["asha"]["steps"] / row["grid"]["steps"] for row in rows)
    parts = [last["reduction"] ** level for level in range(last["levels"] - 1, 0, -1)]
    looks = " and ".join([", ".join(f"1/{part}" for part in parts), "all"]).removeprefix(" and ")
    within = freedom > 0 and regret <= noise
    varies = f"by {points(noise)} points" if freedom else "by an unknown amount (one seed is not enough)"
    target = f"target: at most {MOST_STEPS:.0%}, {'met' if share <= MOST_STEPS else 'missed'}"
    settings = f"{rows[0]['grid']['trials']} settings of SimCLR (temperature x learning rate) on Fashion-MNIST,"
    return [
        "## ASHA beside the full grid",
        "",
        f"{settings} {rows[0]['steps']:,} steps a whole trial, linear probe on labels of the training split.",
        f"ASHA (`sweep.reduction={last['reduction']} sweep.levels={last['levels']}`) looks at {looks} of the steps.",
        f"It used {share:.0%} of the grid's steps ({target}). Its best is {points(regret)} points below the grid's on",
        f"average (seeds: {len(rows)}); a run of the grid varies {varies} from seed to seed, so ASHA's best is",
        f"{'within' if within else 'not shown to be within'} the noise of the grid's.",
        "",
        "| seed | grid's best | linear, % | ASHA's best | linear, % | ASHA's steps | finished "
        "| grid, minutes | ASHA, minutes |",
        "|--:|---|--:|---|--:|--:|--:|--:|--:|",
        *(_compared(row) for row in sorted(rows, key=lambda row: row["seed"])),
        "",
        "Minutes are those of training and judging, summed over trials, two at once.",
        runs.provenance(rows),
        "",
    ]


def _compared(row: Row) -> str:
    grid, asha = row["grid"], row["asha"]
    bests = [grid["best"], points(grid["linear"]), asha["best"], points(asha["linear"])]
    used = [f"{asha['steps'] / grid['steps']:.0%}", f"{asha['finished']} of {asha['trials']}"]
    return quality.line([str(row["seed"]), *bests, *used, *(f"{one['seconds'] / 60:.1f}" for one in (grid, asha))])


def cost(rows: Sequence[Row]) -> list[str]:
    """A sweep beside its runs one after another."""
    if not rows:
        return []
    settings = runs.newest(LEDGER, part="overhead")["settings"]
    rows = [row for row in rows if row["settings"] == settings]
    ratio = median(row["sweep"] / row["runs"] for row in rows)
    return [
        "## Ten tiny trials beside ten runs",
        "",
        f"{rows[0]['trials']} pretrainings of {rows[0]['steps']:,} steps of 64 pictures of MNIST, once as one sweep,",
        "two trials at once with one thread each, and once as commands `selfray run` one after another, each with all",
        "cores, without evaluation. The sweep also",
        f"judges its trials by kNN. It took {ratio:.2f} times as long (median; target: at most {MOST_TIME}, "
        f"{'met' if ratio <= MOST_TIME else 'missed'}).",
        "",
        "| repeat | sweep, s | runs, s | ratio | sweep: training and judging at once, s | sweep: the rest, s "
        "| runs: training, s | runs: the rest, s |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(_costs(row) for row in sorted(rows, key=lambda row: row["seed"])),
        "",
        "The rest of the sweep is starting Python, Ray and two workers, telling MLflow, the page and the end of Ray;",
        "the rest of the runs is starting Python and loading the libraries each time, checkpoints, MLflow, the report",
        "and the encoder's files.",
        runs.provenance(rows),
    ]


def _costs(row: Row) -> str:
    busy = row["busy"] / 2
    numbers = [row["sweep"], row["runs"]]
    parts = [busy, row["sweep"] - busy, row["trained"], row["runs"] - row["trained"]]
    shown = [f"{number:.1f}" for number in numbers]
    return quality.line(
        [str(row["seed"]), *shown, f"{row['sweep'] / row['runs']:.2f}", *(f"{part:.1f}" for part in parts)]
    )


if __name__ == "__main__":
    main()
