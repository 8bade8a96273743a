"""Forecasting and imputation on tables of measurements with real gaps, beside predictions that need no network.

    python benchmarks/quality_tables.py                            # both tables, all methods, three seeds
    python benchmarks/quality_tables.py --tables beijing-pm25 --methods ts2vec --seeds 0 --threads 1

Every method is its pipeline file but for batch and steps, which all share; the probes are those of `selfray evaluate`.
What is measured is kept in docs/results/measured; the page docs/results/tables.md is written after each result.
"""

import argparse
from collections.abc import Iterator
from statistics import mean, stdev
from typing import Any

import quality
from quality import Case, Row

LEDGER = quality.Ledger("tables", "method", "table", "seed")
METHODS = ["ts2vec", "tst", "forecasting", "simclr"]
TABLES: dict[str, dict[str, Any]] = {  # the probe of forecasts: horizons in steps, and a day
    "beijing-pm25": {"horizons": (1, 6, 24, 96), "past": 48, "period": 24},
    "appliances": {"horizons": (1, 6, 36, 144), "past": 144, "period": 144},
}
STEP = {"beijing-pm25": "an hour", "appliances": "ten minutes"}
BATCH, STEPS = 8, 400


def main() -> None:
    parser = quality.arguments(__doc__, METHODS)
    parser.add_argument("--tables", nargs="+", default=[*TABLES], choices=[*TABLES])
    asked = parser.parse_args()
    quality.measure_all(LEDGER, cases(asked), measured, write, asked.again)


def cases(asked: argparse.Namespace) -> Iterator[Case]:
    """Seeds last, so that the page soon has all methods."""
    for seed in asked.seeds:
        for name in asked.tables:
            for method in asked.methods:
                yield {"method": method, "table": name, "seed": seed}, recipe(method, name, seed, asked.threads)


def recipe(method: str, name: str, seed: int, threads: int) -> Any:
    """The method's pipeline for a table of the catalogue."""
    from selfray import recipe as recipes

    plain = recipes.load(f"series/{method}").plain()
    plain |= {"seed": seed, "corpus": {"fetch": name}}
    budget = {"batch": BATCH, "steps": STEPS, "epochs": None, "warmup": 0.1, "final_lr": 0.0}
    plain["pretrain"] |= {**budget, **quality.here(threads)}
    return recipes.parse(plain)


def measured(one: Any) -> Row:
    """Squared errors by horizon and at hidden values, of who was measured and of what stands beside."""
    outcome = quality.pretrained(one, {"forecasting": TABLES[one.corpus.fetch], "imputation": {}})
    kinds = ("pretrained", "untrained", "raw")
    errors = {
        row["metric"].removeprefix("MSE "): {row["raw_name"] if kind == "raw" else kind: row[kind] for kind in kinds}
        | row.get("beside", {})
        for row in outcome.found["probes"]
        if row["metric"].startswith("MSE")
    }
    return {"errors": errors, "probes": {}, "seconds": round(outcome.seconds, 1), "loss": outcome.row()["loss"]}


def write() -> None:
    """The page of all results."""
    rows = quality.by_method(LEDGER, "table")
    lines = [
        "# Forecasts and gaps of tables",
        "",
        "Mean squared errors in units of each channel's variance, lower is better: mean over seeds and standard error.",
        "The page is written by `make quality-tables`. The last fifth of a table is held out; windows have 384 steps.",
        f"Methods are their pipeline files with {STEPS} steps of {BATCH} windows. Forecasts and hidden values are read",
        "from the features by ridge regression ([evaluation](../evaluate.md)); ridge on the last values has the",
        "same targets and no network, up to 200 steps of all channels. The best of a column is bold.",
        "",
    ]
    for name in TABLES:
        known = {method: rows[method, name] for method in METHODS if (method, name) in rows}
        if known:
            lines += [f"## {name}", "", f"A step is {STEP[name]}.", "", *_table(known), ""]
    quality.write_page("tables", lines if rows else [*lines, quality.NOTHING.format("tables")])


def _table(known: dict[str, list[Row]]) -> list[str]:
    """Methods, their encoders untrained, and what needs no encoder, by horizon."""
    first = next(iter(known.values()))
    asked = list(first[0]["errors"])
    cells: dict[str, dict[str, list[float]]] = {}
    for method, found in known.items():
        for kind, name in (("pretrained", method), ("untrained", f"{method}, untrained")):
            cells[name] = {at: [row["errors"][at][kind] for row in found] for at in asked}
    others = [name for at in asked for name in first[0]["errors"][at] if name not in ("pretrained", "untrained")]
    for name in dict.fromkeys(others):
        cells[name] = {at: [row["errors"][at][name] for row in first if name in row["errors"][at]] for at in asked}
    best = {at: min(mean(of[at]) for of in cells.values() if of[at]) for at in asked}
    lines = [quality.line(["", *asked]), "|---|" + "--:|" * len(asked)]
    for name, of in cells.items():
        lines.append(quality.line([name, *(_cell(of[at], best[at]) for at in asked)]))
    return lines


def _cell(values: list[float], best: float) -> str:
    if not values:
        return ""
    varied = len(values) > 1 and len(set(values)) > 1
    error = f" ± {stdev(values) / len(values) ** 0.5:.3f}" if varied else ""
    return f"**{mean(values):.3f}**{error}" if mean(values) <= best else f"{mean(values):.3f}{error}"


if __name__ == "__main__":
    main()
