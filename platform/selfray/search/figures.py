"""The sweep's figures as inline SVG, in the style of the report."""

import json
import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from markupsafe import Markup

from ..report.numbers import log_ticks, plain, tick_labels, ticks
from .space import short

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 344, 12, 176
Scale = Callable[[Any], float]


def _svg(width: int, height: int, inside: Sequence[str], words: str) -> Markup:
    opening = f'<svg class="figure" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(words)}">'
    return Markup(f"{opening}{''.join(inside)}</svg>")  # every piece of text was escaped where it was put in


class Axis:
    """Values of a knob or a score along a line: linear, logarithmic, or one place for each value."""

    def __init__(self, values: Sequence[Any], start: float, end: float):
        self.start, self.end = start, end
        self.numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        self.places: list[str] = []
        if not self.numeric:
            self.places = sorted({_text(v) for v in values})
            return
        low, high = min(values), max(values)
        self.log = low > 0 and high / low > 20
        pad = 0.0 if self.log else 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        self.low, self.high = (low / 1.15, high * 1.15) if self.log else (low - pad, high + pad)

    def __call__(self, value: Any) -> float:
        if not self.numeric:
            share = (self.places.index(_text(value)) + 0.5) / len(self.places)
        elif self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def marks(self, about: int = 4) -> list[tuple[float, str]]:
        """Position and text of the ticks."""
        if not self.numeric:
            return [(self(json.loads(text)), text.strip('"')) for text in self.places]
        values = log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high, about)
        labels = [f"{v:,.6g}" for v in values] if self.log else tick_labels(values)
        return [(self(v), label) for v, label in zip(values, labels, strict=True)]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _frame(x: Axis, y: Axis, under: str) -> list[str]:
    parts = []
    for at, label in y.marks():
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{escape(label)}</text>')
    for at, label in x.marks():
        parts.append(f'<path class="tick" d="M{at:.1f} {BOTTOM}v4"/>')
        parts.append(f'<text x="{at:.1f}" y="{BOTTOM + 17}" text-anchor="middle">{escape(label[:14])}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>')
    parts.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 35}" text-anchor="middle">{escape(under)}</text>')
    return parts


def _hover(trial: dict[str, Any]) -> str:
    said = ", ".join(f"{short(k)}={v}" for k, v in trial["settings"].items())
    return f"<title>trial {trial['number']}: {escape(said)}, seed {trial['seed']}, {plain(trial['score'])}</title>"


def parallel(trials: Sequence[dict[str, Any]], keys: Sequence[str], metric: str, top: int) -> Markup:
    """A line for each trial across an axis for each knob and one for the score; the best is drawn last and bold."""
    axes = [*keys, metric]
    width, height, border = max(420, 150 * len(axes)), 300, 60
    places = [border + (width - 2 * border) * i / max(1, len(axes) - 1) for i in range(len(axes))]

    def value(trial: dict[str, Any], key: str) -> Any:
        return trial["score"] if key == metric else trial["settings"].get(key)

    scales, parts = {}, []
    for key, across in zip(axes, places, strict=True):
        known = [value(t, key) for t in trials if value(t, key) is not None]
        scales[key] = scale = Axis(known, height - 40, 40)
        parts.append(f'<path class="axis" d="M{across:.1f} 40V{height - 40}"/>')
        title = escape(short(key).split(".", 1)[-1])
        parts.append(f'<text class="name" x="{across:.1f}" y="24" text-anchor="middle">{title}</text>')
        for at, label in scale.marks():
            parts.append(f'<text x="{across - 6:.1f}" y="{at + 4:.1f}" text-anchor="end">{escape(label[:12])}</text>')
    for trial in sorted(trials, key=lambda t: t["number"] == top):
        points = [
            f"{across:.1f} {scales[key](value(trial, key)):.1f}"
            for key, across in zip(axes, places, strict=True)
            if value(trial, key) is not None
        ]
        kind = "best" if trial["number"] == top else trial["status"]
        parts.append(f'<path class="thread {kind}" d="M{"L".join(points)}">{_hover(trial)}</path>')
    return _svg(
        width, height, parts, f"Parallel coordinates of {len(trials)} trials over {', '.join(map(short, keys))}"
    )


def one_knob(trials: Sequence[dict[str, Any]], key: str, metric: str) -> Markup:
    """Score against a knob: every trial, and the mean of those that went all the way, with the spread of its seeds."""
    x = Axis([t["settings"][key] for t in trials], LEFT + 12, RIGHT - 12)
    spans = [(t["score"], t["curve"][-1].get("error", 0.0)) for t in trials]
    y = Axis([s + sign * e for s, e in spans for sign in (-1, 1)], BOTTOM, TOP)
    parts = _frame(x, y, short(key) + (" · logarithmic" if x.numeric and x.log else ""))
    by_value: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        across, up = x(trial["settings"][key]), y(trial["score"])
        parts.append(
            f'<circle class="spot {trial["status"]}" cx="{across:.1f}" cy="{up:.1f}" r="3.5">{_hover(trial)}</circle>'
        )
        if trial["status"] == "finished":
            by_value.setdefault(_text(trial["settings"][key]), []).append(trial)
    line = []
    for same in sorted(by_value.values(), key=lambda group: x(group[0]["settings"][key])):
        scores = [t["score"] for t in same]
        mean = math.fsum(scores) / len(scores)
        low, high = (min(scores), max(scores)) if len(scores) > 1 else _interval(same[0])
        across = x(same[0]["settings"][key])
        parts.append(f'<path class="whisker" d="M{across:.1f} {y(low):.1f}V{y(high):.1f}"/>')
        line.append(f"{across:.1f} {y(mean):.1f}")
    if len(line) > 1 and x.numeric:
        parts.append(f'<path class="line" d="M{"L".join(line)}"/>')
    return _svg(WIDTH, HEIGHT, parts, f"{metric} against {short(key)}, {len(trials)} trials")


def _interval(trial: dict[str, Any]) -> tuple[float, float]:
    """Two standard errors of the probe's own samples to each side, cut to what is drawn: one."""
    error = trial["curve"][-1].get("error", 0.0)
    return trial["score"] - error, trial["score"] + error


def curves(trials: Sequence[dict[str, Any]], metric: str, top: int) -> Markup:
    """Score over steps, a line for each trial; stopped ones end in a bar, failed ones in a cross."""
    shown = [t for t in trials if t["curve"]]
    x = Axis([0, max(t["total"] for t in shown)], LEFT, RIGHT)
    y = Axis([row["score"] for t in shown for row in t["curve"]], BOTTOM, TOP)
    parts = _frame(x, y, "step")
    for trial in sorted(shown, key=lambda t: t["number"] == top):
        points = [(x(row["step"]), y(row["score"])) for row in trial["curve"]]
        path = "L".join(f"{across:.1f} {up:.1f}" for across, up in points)
        kind = "best" if trial["number"] == top else trial["status"]
        parts.append(f'<path class="thread {kind}" d="M{path}">{_hover(trial)}</path>')
        across, up = points[-1]
        if trial["status"] == "stopped":
            parts.append(f'<path class="stop" d="M{across:.1f} {up - 5:.1f}v10"/>')
        elif trial["status"] == "failed":
            parts.append(f'<path class="lost" d="M{across - 4:.1f} {up - 4:.1f}l8 8m0-8l-8 8"/>')
        else:
            parts.append(f'<circle class="spot {kind}" cx="{across:.1f}" cy="{up:.1f}" r="3"/>')
    return _svg(WIDTH, HEIGHT, parts, f"{metric} over steps of {len(shown)} trials")


def bars(knobs: Sequence[dict[str, Any]]) -> Markup:
    """Importance of each knob with its spread over shuffles."""
    height = 34 * len(knobs) + 30
    largest = max(max(k["mean"] + k["deviation"] for k in knobs), 1e-9)
    parts = []
    for i, knob in enumerate(knobs):
        up, far = 12 + 34 * i, 150 + 190 * max(0.0, knob["mean"]) / largest
        spread = 190 * knob["deviation"] / largest
        parts.append(f'<text x="142" y="{up + 14}" text-anchor="end">{escape(short(knob["key"]))}</text>')
        parts.append(f'<rect class="bar" x="150" y="{up}" width="{far - 150:.1f}" height="20"/>')
        parts.append(f'<path class="whisker" d="M{max(150.0, far - spread):.1f} {up + 10}H{far + spread:.1f}"/>')
    parts.append('<path class="axis" d="M150 6V' + str(height - 24) + '"/>')
    words = ", ".join(f"{short(k['key'])} {plain(k['mean'])}" for k in knobs)
    return _svg(WIDTH, height, parts, f"Importance: {words}")
