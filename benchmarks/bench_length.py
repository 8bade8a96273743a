"""Seconds of a training step against the length of the series, for every objective on series.

    python benchmarks/bench_length.py [--methods ts2vec tst] [--lengths 128 512 2048]

Random walks of one channel, the settings of `pipelines/series/`, resident samples: views, loss, gradients, optimizer.
The exponent is that of the length in a power law between the two longest; 1 is linear. Goes to RESULTS.md.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import machine
import results
from quality_series import METHODS

LENGTHS = [128, 512, 2048, 4096]
WARM = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a length")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", type=Path, default=results.TABLE)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a process of its own measures
    asked = parser.parse_args()
    if asked.one:
        machine.ask_for_a_fair_share()
        print(json.dumps([seconds(asked.one, length, asked) for length in asked.lengths]))
        return
    facts, found = machine.facts(), {}
    for method in asked.methods:
        done = subprocess.run(
            [sys.executable, __file__, "--one", method, *sys.argv[1:]], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{method} failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
        found[method] = json.loads(done.stdout.strip().splitlines()[-1])
        print(method, [f"{1000 * one:.0f} ms" for one in found[method]], flush=True)
    facts["load_after"] = [round(load, 2) for load in os.getloadavg()]
    results.append(results.LINES, [{"benchmark": "length", **facts, "lengths": asked.lengths, "seconds": found}])
    results.write_section(asked.table, "Length of series", markdown(asked, facts, found))


def seconds(method: str, length: int, asked: argparse.Namespace) -> float:
    """The median time of a step on random walks."""
    import torch

    from selfray import recipe as recipes
    from selfray import views as view_families
    from selfray.encoders import find as encoder_of
    from selfray.objectives import find as objective_of
    from selfray.train import optimizers
    from selfray.train.build import asks_for_ids
    from selfray.views.random import sample_keys

    torch.manual_seed(0)
    torch.set_num_threads(asked.threads)
    settings = recipes.load(f"series/{method}").plain()["pretrain"]
    encoder, objective, views = ({**settings[key]} for key in ("encoder", "objective", "views"))
    made = encoder_of(encoder.pop("name"))(1, (length,), **encoder)
    model = objective_of(objective.pop("name"))(made, **objective)
    family = view_families.find("series")(**views)
    optimizer = optimizers.build(modules=[model], **settings["optimizer"])
    walks, ids = torch.randn(asked.batch, length, 1).cumsum(1) / math.sqrt(length), torch.arange(asked.batch)
    times = []
    for step in range(WARM + asked.steps):
        begun = time.perf_counter()
        seen = family.make(model.views, walks, sample_keys(ids, 0, step))
        loss, _ = model(seen | ({"ids": ids} if asks_for_ids(model) else {}))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        model.after_step((step + 1) / (WARM + asked.steps))
        times.append(time.perf_counter() - begun)
    return median(times[WARM:])


def markdown(asked: argparse.Namespace, facts: dict[str, Any], found: dict[str, list[float]]) -> str:
    """The section of RESULTS.md."""
    longest = math.log(asked.lengths[-1] / asked.lengths[-2]) if len(asked.lengths) > 1 else math.nan
    rows = [
        [method, *(f"{1000 * one:,.0f}" for one in times), f"{math.log(times[-1] / times[-2]) / longest:.2f}"]
        for method, times in found.items()
    ]
    header = ["method", *(f"{length:,}" for length in asked.lengths), "exponent"]
    note = (
        f"Milliseconds of a step of {asked.batch} series by their length; {asked.threads} torch threads. The exponent "
        "is that of the length in a power law between the two longest: 1 is linear, 2 is attention over all pairs."
    )
    return f"{results.provenance(facts)}  \n{note}\n\n{results.table(header, rows)}"


if __name__ == "__main__":
    main()
