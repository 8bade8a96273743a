"""The page of a sweep: one HTML file that needs nothing but itself."""

from pathlib import Path
from typing import Any

from ..report import build as report
from ..report.numbers import count, duration
from . import figures, ledger, metric
from .space import Space, short
from .words import EXPLAINED, paragraph

HERE = Path(__file__).parent
FILE = "sweep.html"


def build(folder: Path, name: str, found: dict[str, Any], space: Space, base: dict[str, Any], command: str) -> Path:
    """Write the page and return its path.

    Args:
        folder: Of the sweep.
        name: Of the sweep.
        found: What `outcome.collect` made.
        space: What was searched.
        base: The pipeline's own values under dotted keys.
        command: That goes on with the sweep.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,  # settings and reasons hold whatever a file or an error had in it
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    searched = [t for t in found["trials"] if t["kind"] == "search"]
    judged = [t for t in searched if t["score"] is not None]
    top = _top(found, judged)
    keys = [key for key in space.order() if len({str(t["settings"].get(key)) for t in judged}) > 1]
    said = metric.settle(found["metric"])
    importance = found["importance"]
    text = environment.get_template("page.html.j2").render(
        name=name,
        words=paragraph(found, space, base),
        tiles=_tiles(found),
        parallel=figures.parallel(judged, keys, found["metric"], top) if keys else None,
        importance=figures.bars(importance["knobs"]) if importance["knobs"] else None,
        explained=importance["explained"],
        weak=importance["explained"] is not None and importance["explained"] < EXPLAINED,
        used=importance["trials"],
        knobs=[
            (short(key), figures.one_knob([t for t in judged if key in t["settings"]], key, found["metric"]))
            for key in keys
        ],
        curves=figures.curves(judged, found["metric"], top) if judged else None,
        metric=said,
        header=[*(short(key) for key in space.order()), "seed", "steps", said, "time", "ended"],
        rows=[_row(t, space, found["metric"], t["number"] == top) for t in _ordered(found)],
        command=command,
        style=Markup((report.HERE / "style.css").read_text(encoding="utf-8")),
    )
    ledger.whole(folder / FILE, text)
    return folder / FILE


def _top(found: dict[str, Any], judged: list[dict[str, Any]]) -> int:
    """The number of the best trial, of the best settings' seeds."""
    if not found["best"]:
        return 0
    sign = 1 if found["mode"] == "max" else -1
    same = [t for t in judged if t["settings"] == found["best"]["settings"]]
    return int(max(same, key=lambda t: sign * t["score"])["number"]) if same else 0


def _tiles(found: dict[str, Any]) -> list[tuple[str, str]]:
    counts, top = found["counts"], found["best"]
    tiles = [("best " + found["metric"], metric.shown(found["metric"], top["score"]) if top else "-")]
    if found["repeat"]:
        again = found["repeat"]
        both = [metric.shown(found["metric"], again[key]) for key in ("mean", "deviation")]
        tiles.append((f"over {len(again['scores'])} other seeds", f"{both[0]} ± {both[1]}"))
    tiles += [
        ("finished", count(counts["finished"])),
        ("stopped early", count(counts["stopped"])),
        ("failed", count(counts["failed"])),
        ("steps saved", f"{found['saved']['share']:.0%}"),
        ("training time, summed", duration(sum(t["seconds"] for t in found["trials"]))),
    ]
    return tiles


def _ordered(found: dict[str, Any]) -> list[dict[str, Any]]:
    sign = -1 if found["mode"] == "max" else 1
    return sorted(
        found["trials"],
        key=lambda t: (t["kind"] != "search", t["status"] == "failed", t["score"] is None, sign * (t["score"] or 0)),
    )


def _row(trial: dict[str, Any], space: Space, name: str, top: bool) -> dict[str, Any]:
    """A trial as a row of the table."""
    values = [str(trial["settings"].get(key, "-")) for key in space.order()]
    how = {"search": "", "repeat": "repeat, "}[trial["kind"]] + trial["status"]
    reason = f": {trial['reason']}" if trial["reason"] else ""
    numbers = [str(trial["seed"]), f"{trial['steps']:,} of {trial['total']:,}"]
    shown = [metric.shown(name, trial["score"]), duration(trial["seconds"]), how + reason]
    return {"number": trial["number"], "cells": [*values, *numbers, *shown], "best": top}
