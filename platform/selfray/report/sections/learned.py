"""What was learned: every probe beside its baselines, because a number alone says nothing."""

import math
from typing import Any

from ..figures import dot_row, share_chart
from ..numbers import count, measure, number, percent, plain
from ..reading import Run, part, rows

WHO = ("pretrained", "untrained", "raw")


def content(run: Run) -> dict[str, Any]:
    """The probes with their plots, and the label-free scores."""
    probes = [probe for probe in rows(run.results, "probes") if any(number(probe.get(who)) is not None for who in WHO)]
    scores = rows(run.results, "scores")
    if not probes and not scores:
        return {"missing": "Not evaluated yet; this measures the encoder:", "command": "evaluate"}
    samples = part(run.results, "samples")
    sizes = [
        f"{count(samples[split])} {split}" for split in ("train", "test") if number(samples.get(split)) is not None
    ]
    known = samples.get("labels")
    return {
        "samples": " and ".join(sizes),
        "labels": count(known) if number(known) is not None and known != samples.get("train") else "",
        "probes": [_probe(probe, _axis(probe, probes)) for probe in probes],
        "intervals": any(_interval(probe) for probe in probes),
        "raw_name": next((str(probe["raw_name"]) for probe in probes if probe.get("raw_name")), "raw input"),
        "efficiency": _efficiency(rows(run.results, "label_shares")),
        "scores": [_score(score) for score in scores],
    }


def _efficiency(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each probe what was reached with each share of the labels, as a table and a curve."""
    probes: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for row in found:
        share = number(row.get("share"))
        if share is not None and 0 < share <= 1 and _values(row):
            probes.setdefault(str(row.get("probe") or "probe"), []).append((share, row))
    return [_share_table(name, sorted(mine, key=lambda one: one[0])) for name, mine in probes.items()]


def _share_table(name: str, mine: list[tuple[float, dict[str, Any]]]) -> dict[str, Any]:
    metric, lines = str(mine[0][1].get("metric") or ""), {who: list[tuple[float, float | None]]() for who in WHO}
    table = []
    for share, row in mine:
        values = _values(row)
        for who, value in values.items():
            lines[who].append((share, value))
        shown = {who: measure(values.get(who), metric) for who in WHO}
        winner = max(values, key=lambda who: values[who])
        table.append({"share": percent(share), "labels": count(row.get("labels")), "winner": winner, **shown})
    drawn = {who: line for who, line in reversed(lines.items()) if line}  # the encoder's own comes last, on top
    return {"name": name, "metric": metric, "rows": table, "plot": share_chart(drawn, f"{name}, {metric}")}


def _values(probe: dict[str, Any]) -> dict[str, float]:
    found = {who: number(probe.get(who)) for who in WHO}
    return {who: value for who, value in found.items() if value is not None}


def _interval(probe: dict[str, Any]) -> tuple[float, float] | None:
    stated = probe.get("interval")
    if not isinstance(stated, list) or len(stated) != 2:
        return None
    low, high = number(stated[0]), number(stated[1])
    return None if low is None or high is None else (min(low, high), max(low, high))


def _axis(probe: dict[str, Any], probes: list[dict[str, Any]]) -> tuple[float, float]:
    """Scores between 0 and 1 of the same metric share an axis that ends at 1; errors and all others have their own."""

    def covered(one: dict[str, Any]) -> list[float]:
        return [*_values(one).values(), *(_interval(one) or ())]

    def bounded(one: dict[str, Any]) -> bool:
        return all(0 <= value <= 1 for value in covered(one))

    if bounded(probe) and probe.get("higher_is_better") is not False:
        alike = [one for one in probes if one.get("metric") == probe.get("metric")]
        lowest = min(value for one in alike if bounded(one) for value in covered(one))
        return min(0.8, math.floor(lowest * 10) / 10), 1.0
    low, high = min(covered(probe)), max(covered(probe))
    room = 0.15 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _probe(probe: dict[str, Any], axis: tuple[float, float]) -> dict[str, Any]:
    metric, values, interval = str(probe.get("metric") or ""), _values(probe), _interval(probe)
    higher = probe.get("higher_is_better") is not False
    shown = {who: measure(values.get(who), metric) for who in WHO}
    winner = (max if higher else min)(values, key=lambda who: values[who])
    return {
        "name": str(probe.get("probe") or "probe"),
        "metric": metric + ("" if higher else " (lower is better)"),
        "protocol": str(probe.get("protocol") or ""),
        "raw_name": str(probe.get("raw_name") or "raw input"),
        "beside": ", ".join(f"{name} {measure(value, metric)}" for name, value in part(probe, "beside").items()),
        "winner": winner,
        "interval": f"{measure(interval[0], metric)} to {measure(interval[1], metric)}" if interval else "",
        "plot": dot_row(values, interval, *axis),
        **shown,
        **_gain(values, part(probe, "beside"), interval, metric, higher),
    }


def _gain(
    values: dict[str, float], beside: dict[str, Any], interval: tuple[float, float] | None, metric: str, higher: bool
) -> dict[str, str]:
    """How far the pretrained encoder is from the best of its baselines, and whether that is more than noise."""
    others = {name: value for name, value in beside.items() if number(value) is not None}
    baselines = others | {who: values[who] for who in ("untrained", "raw") if who in values}
    if "pretrained" not in values or not baselines:
        return {"gain": "", "gain_kind": "", "gain_note": ""}
    best = (max if higher else min)(baselines.values())
    gain = (values["pretrained"] - best) * (1 if higher else -1)
    size = f"{100 * abs(gain):.1f} points" if "accuracy" in metric.lower() else plain(abs(gain), 2)
    unclear = bool(interval) and interval is not None and interval[0] <= best <= interval[1]
    if gain == 0:
        return {"gain": "= equal", "gain_kind": "even", "gain_note": ""}
    return {
        "gain": f"▲ {size} better" if gain > 0 else f"▼ {size} worse",
        "gain_kind": "even" if unclear else "good" if gain > 0 else "bad",
        "gain_note": "within the interval" if unclear else "",
    }


def _score(score: dict[str, Any]) -> dict[str, str]:
    return {
        "name": str(score.get("score") or "score"),
        "pretrained": plain(score.get("pretrained")),
        "untrained": plain(score.get("untrained")),
        "meaning": str(score.get("meaning") or ""),
    }
