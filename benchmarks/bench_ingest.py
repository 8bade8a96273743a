"""Samples per second that reach a training loop which does nothing, and what the order costs.

    python benchmarks/bench_ingest.py [--quick]

Both streams of selfray deliver the same steps of a prepared corpus: `local`, a thread that reads and decodes, and
`distributed`, Ray Data. The corpus is in the page cache; this measures software, not disks.
"""

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import machine
import numpy as np
import results

from selfray.corpus import catalogue, stream
from selfray.corpus.order import Order
from selfray.corpus.stream import Batch, Plan

CORPUS_SIZES = (10**4, 10**7, 10**10)
Source = Callable[[Plan, int, int], Iterator[Batch]]


@dataclass(frozen=True)
class Ingest:
    """Medians of repeated passes of a stream."""

    stream: str
    first_batch_seconds: float
    rows_per_second: float  # after the first batch
    best_rows_per_second: float
    bytes_per_sample: float  # samples and ids as the worker gets them
    steps: int


@dataclass(frozen=True)
class OrderCost:
    """What it takes to know which rows a window of steps reads."""

    rows: int
    microseconds_per_step: float
    nanoseconds_per_sample: float
    peak_kib: float


def main() -> int:
    """Measure and write down; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="mnist-5k", choices=["mnist-5k", "fashion-mnist"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that everything runs")
    parser.add_argument("--out", type=Path, default=results.LINES, help="JSON lines, appended")
    parser.add_argument("--table", type=Path, default=results.TABLE, help="Markdown; kept by --quick")
    asked = parser.parse_args()
    if asked.quick:
        asked.steps, asked.repeats = 40, 2
    facts = machine.facts()
    plan = stream.plan(catalogue.fetch(asked.corpus), asked.batch, seed=0, lanes=8)

    ingested = [ingest("local", stream.local, plan, asked), ingest("distributed", _with_ray(), plan, asked)]
    orders = [order_cost(rows, asked.batch, asked.repeats) for rows in CORPUS_SIZES]

    run = {"benchmark": "ingest", "corpus": asked.corpus, "batch": asked.batch, "quick": asked.quick}
    results.append(asked.out, [{**run, **asdict(record)} for record in (*ingested, *orders)] + [{**run, **facts}])
    tables = [_ingest_table(ingested), _order_table(orders)]
    for title, header, rows in tables:
        results.show(title, header, rows)
    if not asked.quick:
        about = f"  \n{asked.corpus}, batch {asked.batch}, {asked.steps} steps, medians of {asked.repeats} passes"
        parts = [results.provenance(facts) + about, *(results.table(header, rows) for _, header, rows in tables)]
        results.write_section(asked.table, "Ingest", "\n\n".join(parts))
        print(f"written to {asked.table}")
    return 0


def _with_ray() -> Source:
    from selfray import cluster

    cluster.start()
    return stream.distributed


def ingest(name: str, source: Source, plan: Plan, asked: argparse.Namespace) -> Ingest:
    """Pull batches as fast as they come; the first pass warms up and is not counted."""
    passes = [one_pass(source, plan, asked.steps) for _ in range(asked.repeats + 1)][1:]
    rates = [rate for _, rate, _ in passes]
    latency = median(seconds for seconds, _, _ in passes)
    return Ingest(name, latency, median(rates), max(rates), passes[0][2], asked.steps)


def one_pass(source: Source, plan: Plan, steps: int) -> tuple[float, float, float]:
    """Seconds to the first batch, rows a second after it, and bytes a sample."""
    begun = time.perf_counter()
    batches = source(plan, 0, steps)
    batch = next(batches)
    first = time.perf_counter()
    taken, size, rows = 0, batch.samples.nbytes + batch.ids.nbytes, len(batch.ids)
    for batch in batches:
        taken += len(batch.ids)
        size, rows = size + batch.samples.nbytes + batch.ids.nbytes, rows + len(batch.ids)
    if rows != steps * plan.per_step:
        raise RuntimeError(f"{rows} samples came instead of {steps * plan.per_step}")
    return first - begun, taken / (time.perf_counter() - first), size / rows


def order_cost(rows: int, batch: int, repeats: int) -> OrderCost:
    """Time and memory of the rows of one window, for windows all over an epoch."""
    order = Order(rows, batch, seed=0)
    lanes = order.lanes_of(0, 1)
    windows = np.linspace(0, max(0, order.windows - 2), 4 * repeats, dtype=np.int64).tolist()
    times = []
    for epoch, window in enumerate([windows[0], *windows]):
        begun = time.perf_counter()
        order.window_rows(epoch, window, lanes)
        times.append(time.perf_counter() - begun)
    tracemalloc.start()
    found = order.window_rows(0, windows[-1], lanes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    seconds = median(times[1:])
    return OrderCost(rows, 1e6 * seconds / len(found), 1e9 * seconds / found.size, peak / 1024)


def _ingest_table(found: list[Ingest]) -> tuple[str, list[str], list[list[str]]]:
    header = ["stream", "first batch, ms", "samples/s after it", "best", "bytes a sample"]
    rows = [
        [
            record.stream,
            f"{1e3 * record.first_batch_seconds:,.0f}",
            f"{record.rows_per_second:,.0f}",
            f"{record.best_rows_per_second:,.0f}",
            f"{record.bytes_per_sample:g}",
        ]
        for record in found
    ]
    return "ingest", header, rows


def _order_table(found: list[OrderCost]) -> tuple[str, list[str], list[list[str]]]:
    def row(cost: OrderCost) -> list[Any]:
        figures = (cost.microseconds_per_step, cost.nanoseconds_per_sample, cost.peak_kib)
        return [f"{cost.rows:.0e}".replace("e+", "e"), *(f"{figure:,.0f}" for figure in figures)]

    header = ["order of a corpus of", "µs a step", "ns a sample", "peak memory of a window, KiB"]
    return "order", header, [row(cost) for cost in found]


if __name__ == "__main__":
    sys.exit(main())
