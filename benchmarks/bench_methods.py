"""Samples per second of every method beside its own limit: the same step on one batch of views that is made once.

    python benchmarks/bench_methods.py                       # all of them, about a quarter of an hour on two cores
    python benchmarks/bench_methods.py --kinds text --methods mlm gpt

Networks and settings are those of the quality benchmarks, without Ray (what Ray adds is in bench_image.py). Each method
has a process of its own, which trains, takes the bare steps, and trains again. Where the two training runs differ by
more than 10 %, or beat the bare steps by that, the machine was disturbed, and the row says so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import machine
import results

KINDS = ("image", "text", "audio", "series")
SERIES = "japanese-vowels"
ROW, WARM_ROWS = 5, 2
LEAST, MOST_APART = 0.9, 0.1
SHORT = 5e-3  # seconds of a step that say nothing about a step of real work


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--methods", nargs="+", help="all that the quality benchmarks have, by default")
    parser.add_argument("--steps", type=int, default=30, help="timed steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", type=Path, default=results.TABLE)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a process of its own measures
    asked = parser.parse_args()
    if asked.one:
        machine.ask_for_a_fair_share()
        print(json.dumps(measured(*asked.one.split("/"), asked.steps, asked.threads)))
        return
    facts, found = machine.facts(), []
    for kind in asked.kinds:
        for method in methods(kind):
            if not asked.methods or method in asked.methods:
                found.append(alone(kind, method, asked))
                print(json.dumps(found[-1]), flush=True)
    facts["load_after"] = [round(load, 2) for load in os.getloadavg()]
    results.append(results.LINES, [{"benchmark": "methods", **facts, "methods": found}])
    results.write_section(asked.table, "Methods", markdown(facts, found, asked.threads))


def methods(kind: str) -> list[str]:
    """Those of a data type's quality benchmark."""
    module = _quality(kind)
    return list(module.SMALL) if hasattr(module, "SMALL") else list(module.METHODS)


def recipe(kind: str, method: str, threads: int) -> Any:
    """The method as the quality benchmark of its data type has it."""
    module = _quality(kind)
    if kind == "image":
        return module.recipe(method, 0, threads)
    if kind == "audio":
        return module.recipe(method, 0, 600, threads)
    if kind == "series":
        return module.recipe(method, SERIES, 0, threads)
    return module.recipe(method, 0, argparse.Namespace(shape="tiny", steps=1000, threads=threads))


def _quality(kind: str) -> Any:
    from importlib import import_module

    return import_module(f"quality_{kind}")


def alone(kind: str, method: str, asked: argparse.Namespace) -> dict[str, Any]:
    """The result of a method in a process and a session of its own, or why there is none."""
    command = [sys.executable, __file__, "--one", f"{kind}/{method}"]
    command += ["--steps", str(asked.steps), "--threads", str(asked.threads)]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True, check=False)
    if done.returncode:
        return {"kind": kind, "method": method, "error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def measured(kind: str, method: str, steps: int, threads: int) -> dict[str, Any]:
    """Samples per second of the loop, of the bare step, and of the loop again."""
    from selfray.corpus import catalogue
    from selfray.corpus.manifest import Manifest
    from selfray.summary import trained_objective
    from selfray.train.loop import Job, train

    one = recipe(kind, method, threads)
    total = steps + WARM_ROWS * ROW
    changed = {"steps": total, "epochs": None, "log_every": ROW}
    one = one.model_copy(update={"pretrain": one.pretrain.model_copy(update=changed)})
    corpus = catalogue.fetch(one.corpus.fetch)
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        for run in ("first", "second"):
            rows: list[dict[str, float]] = []
            train(Job(one, str(corpus), f"{folder}/{run}"), rows.append)
            rates.append(median(row["speed/samples_per_second"] for row in rows[WARM_ROWS:]))
            if run == "first":
                objective = trained_objective(Path(folder, run), one, Manifest.read(corpus)).train()
                bare = limit(one, objective, str(corpus), total)
    return {
        "kind": kind,
        "method": method,
        "encoder": one.pretrain.encoder["name"],
        "batch": one.pretrain.batch,
        "samples": [round(rate, 1) for rate in rates],
        "limit": round(bare, 1),
        "ratio": round(sum(rates) / 2 / bare, 3),
    }


def limit(one: Any, objective: Any, corpus: str, total: int) -> float:
    """Samples per second of loss, gradients and optimizer on views that are made once."""
    import torch

    from selfray.corpus import stream
    from selfray.train import build, device, optimizers
    from selfray.views.random import sample_keys

    settings = one.pretrain
    plan = stream.plan(corpus, settings.batch, one.seed, settings.lanes)
    objective = objective.to(memory_format=torch.channels_last)
    optimizer = optimizers.build(modules=[objective], **settings.optimizer)
    batch = next(stream.local(plan, 0, 1))
    samples, ids = torch.tensor(batch.samples), torch.tensor(batch.ids)
    views = build.views(settings, plan.manifest.facts)
    seen = views.make(objective.views, samples, sample_keys(ids, one.seed, 0))
    if build.asks_for_ids(objective):
        seen["ids"] = ids
    precision = device.precision(settings.precision, torch.device("cpu"))
    rates, since = [], time.perf_counter()
    for step in range(total):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss, _ = objective(seen)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step((step + 1) / total)
        if (step + 1) % ROW == 0:
            loss.item()
            now = time.perf_counter()
            rates.append(ROW * settings.batch / (now - since))
            since = now
    return median(rates[WARM_ROWS:])


def markdown(facts: dict[str, Any], found: list[dict[str, Any]], threads: int) -> str:
    """The section of RESULTS.md."""
    rows = []
    for one in found:
        if "error" in one:
            rows.append([one["method"], one["kind"], "", "", "", "", "", f"failed: {one['error'][:80]}"])
            continue
        first, second = one["samples"]
        apart = abs(first - second) / max(first, second)
        disturbed = apart > MOST_APART or one["ratio"] > 1 + MOST_APART
        verdict = "disturbed" if disturbed else "met" if one["ratio"] >= LEAST else "missed"
        if one["batch"] / one["limit"] < SHORT:
            verdict += f", steps of {1000 * one['batch'] / one['limit']:.1f} ms"
        cells = [one["method"], one["kind"], one["encoder"], str(one["batch"]), f"{first:,.0f}, {second:,.0f}"]
        rows.append([*cells, f"{one['limit']:,.0f}", f"{one['ratio']:.2f}", verdict])
    header = ["method", "data", "encoder", "batch", "samples/s, twice", "limit", "of limit", f"at least {LEAST}"]
    note = (
        f"{threads} torch threads, no Ray. *Limit* is loss, gradients, optimizer and `after_step` on one resident "
        "batch of views, by the same trained objective. Networks and settings are those of the quality benchmarks. "
        "*Disturbed*: the two runs of the loop, one before and one after the limit, differ by more than 10 %."
    )
    return f"{results.provenance(facts)}  \n{note}\n\n{results.table(header, rows)}"


if __name__ == "__main__":
    main()
