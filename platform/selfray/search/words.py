"""What a sweep found, in a paragraph."""

from typing import Any

from . import metric
from .space import Space, full, short
from .tuning import describe

EXPLAINED = 0.3
"""A forest that explains less of the trials it has not seen says nothing about knobs."""


def paragraph(found: dict[str, Any], space: Space, base: dict[str, Any]) -> str:
    """The best settings, how sure that is, what mattered and what it cost; plain sentences.

    Args:
        found: What `outcome.collect` made.
        space: What was searched.
        base: The pipeline's own values under dotted keys.
    """
    top, counts, name = found["best"], found["counts"], found["metric"]
    asked = sum(counts.values())
    if not top:
        return f"None of {asked} trials got as far as a judgement."
    score = metric.shown(name, top["score"])
    said = [f"The best of {asked} trials has {describe(top['settings'])}, with {score} ({metric.settle(name)})."]
    if found["repeat"]:
        again = found["repeat"]
        mean, deviation = metric.shown(name, again["mean"]), metric.shown(name, again["deviation"])
        said.append(f"With {len(again['scores'])} other seeds it reached {mean}, give or take {deviation}.")
    said += _rivals(found)
    said += _edges(top, space)
    said += _own(found, base)
    said += _mattered(found["importance"])
    if found["saved"]["share"] > 0.005:
        share = found["saved"]["share"]
        said.append(f"Stopping {counts['stopped']} trials early saved {share:.0%} of the steps.")
    if counts["failed"]:
        said.append(f"{counts['failed']} failed; the table says why.")
    if counts["running"]:
        said.append(f"{counts['running']} are not over; the same command goes on with them.")
    return " ".join(said)


def _rivals(found: dict[str, Any]) -> list[str]:
    """Whether others are as good, within two standard errors of both."""
    top = found["best"]
    if not top["error"]:
        return []
    whole = [t for t in found["trials"] if t["kind"] == "search" and t["status"] == "finished"]
    others = {
        describe(t["settings"])
        for t in whole
        if t["settings"] != top["settings"] and abs(t["score"] - top["score"]) < 2 * 2**0.5 * top["error"]
    }
    if not others:
        return ["No other setting that went all the way comes within the noise of it."]
    listed = "; ".join(sorted(others)[:3]) + (" and more" if len(others) > 3 else "")
    return [f"{len(others)} other settings are within the noise of it ({listed}), so the exact value is not certain."]


def _edges(top: dict[str, Any], space: Space) -> list[str]:
    """Knobs whose best value is the first or last that was searched."""
    at = []
    for key, values in space.branches():
        value = top["settings"].get(key)
        ends = (values.listed()[0], values.listed()[-1]) if values.choice else values.bounds
        if isinstance(value, int | float) and not isinstance(value, bool) and value in ends:
            at.append(short(key))
    if not at:
        return []
    return [f"The best {' and '.join(at)} is at the edge of what was searched: a wider range may hold a better one."]


def _own(found: dict[str, Any], base: dict[str, Any]) -> list[str]:
    """The pipeline's own settings, if a trial had them."""
    for trial in found["trials"]:
        same = all(base.get(full(key)) == value for key, value in trial["settings"].items())
        if same and trial["score"] is not None and trial["settings"] != found["best"]["settings"]:
            return [f"The pipeline's own settings reached {metric.shown(found['metric'], trial['score'])}."]
    return []


def _mattered(importance: dict[str, Any]) -> list[str]:
    if len(importance["knobs"]) < 2:
        return []
    if importance["explained"] < EXPLAINED:
        return ["The trials are too few or too noisy to say which knob mattered most."]
    first = importance["knobs"][0]
    return [f"{short(first['key'])} mattered most."]
