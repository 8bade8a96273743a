"""Figures as hand-made inline SVG: small, sharp, themed by the page's CSS, and readable by its script."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from .numbers import log_ticks, percent, plain, tick_labels, ticks
from .reading import Series

WIDTH, HEIGHT = 360, 196  # one size for all curves, so that their text keeps its size on every screen
LEFT, RIGHT, TOP, BOTTOM = 48, 342, 10, 158
MOST_POINTS = 300  # more than one point a pixel shows nothing new and weighs megabytes

COLOURS = 10  # --c0 … --c9 of style.css
MARKERS = (  # centred on the origin, of similar area; ten colours and seven shapes give seventy distinct classes
    "M0-3.6A3.6 3.6 0 1 1 0 3.6A3.6 3.6 0 1 1 0-3.6Z",
    "M-3.2-3.2H3.2V3.2H-3.2Z",
    "M0-4.4L4.2 3.2H-4.2Z",
    "M0-4.7L4.7 0L0 4.7L-4.7 0Z",
    "M0 4.4L4.2-3.2H-4.2Z",
    "M-1.5-4.2H1.5V-1.5H4.2V1.5H1.5V4.2H-1.5V1.5H-4.2V-1.5H-1.5Z",
    "M0-4.4L4.2-1.3L2.6 3.6H-2.6L-4.2-1.3Z",
)


@dataclass(frozen=True)
class Limit:
    """A value that should not be crossed; the side on which things are wrong is shaded."""

    value: float
    wrong: Literal["below", "above"]

    def crossed(self, value: float) -> bool:
        """Whether a value is on the wrong side."""
        return value < self.value if self.wrong == "below" else value > self.value


@dataclass(frozen=True)
class Mark:
    """A class on the map: its name, colour, shape and number of samples."""

    name: str
    colour: str  # a CSS class
    shape: int  # index into MARKERS
    samples: int


def line_chart(series: Series, title: str, limit: Limit | None = None, from_zero: bool = False) -> Markup:
    """A curve over steps: gaps and crosses where values are not finite, a band where many were merged into one."""
    band, line = _merged(series)
    finite = [value for _, value in series if value is not None]
    low, high, log = _range([value for _, _, least, most in band for value in (least, most)], limit, from_zero)
    x = _scale(series[0][0], series[-1][0], LEFT, RIGHT)
    y = _scale(low, high, BOTTOM, TOP, log)
    parts = []
    if limit:
        edge = BOTTOM if limit.wrong == "below" else TOP
        parts.append(
            f'<rect class="wrong" x="{LEFT}" y="{min(y(limit.value), edge):.1f}" width="{RIGHT - LEFT}" '
            f'height="{abs(edge - y(limit.value)):.1f}"/><path class="limit" d="M{LEFT} {y(limit.value):.1f}H{RIGHT}"/>'
        )
    y_ticks = log_ticks(low, high) if log else ticks(low, high)
    for value, label in zip(y_ticks, _log_labels(y_ticks) if log else tick_labels(y_ticks), strict=True):
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y(value) + 4:.1f}" text-anchor="end">{label}</text>')
    x_ticks = ticks(series[0][0], series[-1][0])
    for value, label in zip(x_ticks, tick_labels(x_ticks), strict=True):
        parts.append(f'<path class="tick" d="M{x(value):.1f} {BOTTOM}v4"/>')
        parts.append(f'<text x="{x(value):.1f}" y="{BOTTOM + 17}" text-anchor="middle">{label}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>')
    note = " · vertical scale logarithmic" if log else ""
    parts.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 33}" text-anchor="middle">step{note}</text>')
    if len(series) > MOST_POINTS and band:
        upper = " ".join(f"{x(step):.1f},{y(most):.1f}" for step, _, _, most in band)
        lower = " ".join(f"{x(step):.1f},{y(least):.1f}" for step, _, least, _ in reversed(band))
        parts.append(f'<polygon class="band" points="{upper} {lower}"/>')
    parts.append(f'<path class="line" d="{_path(line, x, y)}"/>')
    lost = [x(step) for step, value in line if value is None]
    parts += [f'<path class="lost" d="M{across - 3:.1f} {BOTTOM - 8}l6 6m0-6l-6 6"/>' for across in lost]
    if band:
        step, mean, _, _ = band[-1]
        parts.append(f'<circle class="end" cx="{x(step):.1f}" cy="{y(mean):.1f}" r="3"/>')
    data = {
        "x": [LEFT, RIGHT, series[0][0], series[-1][0]],
        "y": [BOTTOM, TOP, low, high, log],
        "points": [[_short(step), None if value is None else _short(value)] for step, value in line],
    }
    return _svg(WIDTH, HEIGHT, "".join(parts), "chart", _in_words(title, series, finite), data)


def dot_row(points: dict[str, float], interval: tuple[float, float] | None, low: float, high: float) -> Markup:
    """One probe's results on an axis: `points` by who was measured (pretrained, untrained, raw)."""
    x = _scale(low, high, 14, 266)
    values = ticks(low, high, 3)
    parts = ['<path class="axis" d="M8 34H272"/>']
    for value, label in zip(values, tick_labels(values), strict=True):
        parts.append(f'<path class="grid" d="M{x(value):.1f} 2V34"/>')
        parts.append(f'<text x="{x(value):.1f}" y="49" text-anchor="middle">{label}</text>')
    if interval:
        left, right = x(interval[0]), x(interval[1])
        parts.append(f'<path class="whisker" d="M{left:.1f} 10H{right:.1f}M{left:.1f} 6v8M{right:.1f} 6v8"/>')
    for who, y in (("raw", 24), ("untrained", 24), ("pretrained", 10)):  # two lanes, so that none hides another
        if who in points:
            parts.append(f'<use class="{who}" href="#dot-{who}" x="{x(points[who]):.1f}" y="{y}"/>')
    words = ", ".join(f"{who} {plain(value)}" for who, value in points.items())
    return _svg(280, 54, "".join(parts), "dots", f"Dot plot: {words}")


def share_chart(lines: dict[str, Series], title: str) -> Markup:
    """What was reached with a share of the labels, by who was measured; shares stand on a logarithmic axis."""
    shares = sorted({share for line in lines.values() for share, _ in line})
    reached = [value for line in lines.values() for _, value in line if value is not None]
    low, high, _ = _range([min(reached), max(reached)], None, False)
    x = _scale(shares[0], shares[-1], LEFT + 14, RIGHT - 14, log=True)
    y = _scale(low, high, BOTTOM, TOP)
    values, parts = ticks(low, high), list[str]()
    for value, label in zip(values, tick_labels(values), strict=True):
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y(value) + 4:.1f}" text-anchor="end">{label}</text>')
    for share in shares:
        parts.append(f'<path class="tick" d="M{x(share):.1f} {BOTTOM}v4"/>')
        parts.append(f'<text x="{x(share):.1f}" y="{BOTTOM + 17}" text-anchor="middle">{percent(share)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {BOTTOM}H{RIGHT}"/>')
    note = "share of the labels · horizontal scale logarithmic"
    parts.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 33}" text-anchor="middle">{note}</text>')
    for who, line in lines.items():
        parts.append(f'<path class="share-line of-{who}" d="{_path(line, x, y)}"/>')
        spots = [(x(share), y(value)) for share, value in line if value is not None]
        parts += [f'<use class="{who}" href="#dot-{who}" x="{across:.1f}" y="{up:.1f}"/>' for across, up in spots]
    words = "; ".join(
        f"{who} " + ", ".join(f"{plain(value)} with {percent(share)}" for share, value in line)
        for who, line in lines.items()
    )
    return _svg(WIDTH, HEIGHT, "".join(parts), "shares", f"{title} by share of the labels: {words}")


def scatter(place: NDArray[np.float32], group: Sequence[int], marks: Sequence[Mark], title: str) -> Markup:
    """A map of samples, marked by group and with each group's name at the centre of it."""
    size, border = 520, 26
    least, most = place.min(axis=0), place.max(axis=0)
    span = max(float((most - least).max()), 1e-12)  # one scale for both axes: distances are what a map is about
    spot = (place - (least + most) / 2) / span * (size - 2 * border) + size / 2
    parts = []
    for index, (x, y) in enumerate(spot):
        mark = marks[group[index]]
        parts.append(f'<use href="#mark-{mark.shape}" class="{mark.colour}" x="{x:.1f}" y="{y:.1f}"/>')
    groups = np.asarray(group)
    named = [(mark, _label_place(spot[groups == index])) for index, mark in enumerate(marks) if mark.name]
    for mark, (x, y) in _apart(named, size):
        parts.append(f'<text class="name" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(mark.name)}</text>')
    return _svg(size, size, "".join(parts), "map", title)


def _svg(width: int, height: int, inside: str, kind: str, words: str, data: dict[str, Any] | None = None) -> Markup:
    extra = f' data-chart="{escape(json.dumps(data, separators=(",", ":")))}"' if data else ""
    opening = f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(words)}"{extra}>'
    return Markup(f"{opening}{inside}</svg>")  # every piece of text was escaped where it was put in


def _merged(series: Series) -> tuple[list[tuple[float, float, float, float]], Series]:
    """(step, mean, least, most) of the finite values of each pixel or so, and the line to draw."""
    if len(series) <= MOST_POINTS:
        return [(step, value, value, value) for step, value in series if value is not None], series
    band: list[tuple[float, float, float, float]] = []
    line: Series = []
    for chosen in np.array_split(np.arange(len(series)), MOST_POINTS):
        step = series[int(chosen[len(chosen) // 2])][0]
        values = [value for value in (series[index][1] for index in chosen) if value is not None]
        if values:
            mean = math.fsum(values) / len(values)
            band.append((step, mean, min(values), max(values)))
            line.append((step, mean))
        if len(values) < len(chosen):
            line.append((step, None))
    return band, line


def _range(values: list[float], limit: Limit | None, from_zero: bool) -> tuple[float, float, bool]:
    """What an axis covers, and whether it is logarithmic: it is where values span more than two decades."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low > 0 and high / low > 100 and not limit and not from_zero:
        return low / 1.2, high * 1.2, True
    if from_zero:
        low = min(low, 0.0)
    if limit:
        low, high = min(low, limit.value), max(high, limit.value)
        room = 0.25 * (high - low or 1.0)  # enough to see the shaded side
        low = min(low, limit.value - room) if limit.wrong == "below" else low
        high = max(high, limit.value + room) if limit.wrong == "above" else high
    pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return low if from_zero and low == 0 else low - pad, high + pad, False


def _scale(low: float, high: float, start: float, end: float, log: bool = False) -> Callable[[float], float]:
    if log:
        low, high = math.log(low), math.log(high)
    span = (high - low) or 1.0
    return lambda value: start + ((math.log(value) if log else value) - low) / span * (end - start)


def _path(line: Series, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    pieces, down = [], False
    for step, value in line:
        if value is not None:
            pieces.append(f"{'L' if down else 'M'}{x(step):.1f} {y(value):.1f}")
        down = value is not None
    return "".join(pieces)


def _log_labels(values: list[float]) -> list[str]:
    return [f"{value:.0e}".replace("e-0", "e-") if value < 1e-3 else f"{value:,.6g}" for value in values]


def _short(value: float) -> float:
    return float(f"{value:.5g}") if abs(value) < 1e5 else round(value)


def _in_words(title: str, series: Series, finite: list[float]) -> str:
    if not finite:
        return f"{title}: {len(series)} values, none of them finite"
    text = f"{title} over {len(series)} logged steps: first {plain(finite[0])}, last {plain(finite[-1])}"
    lost = len(series) - len(finite)
    return f"{text}, lowest {plain(min(finite))}, highest {plain(max(finite))}" + (f", {lost} not finite" * bool(lost))


def _label_place(spot: NDArray[np.float32]) -> tuple[float, float]:
    """Above a tight group, which a name would cover; in the middle of a loose one, where above means nothing."""
    x, y = (float(middle) for middle in np.median(spot, axis=0))
    spread = float(np.median(np.hypot(spot[:, 0] - x, spot[:, 1] - y)))
    return (x, y - 1.8 * spread - 9) if spread < 30 else (x, y + 4)


def _apart(named: list[tuple[Mark, tuple[float, float]]], size: int) -> list[tuple[Mark, tuple[float, float]]]:
    """Centres of labels, pushed apart until none covers another (or almost, where there are too many)."""
    boxes = [[x, y, 4.6 * len(mark.name) + 4] for mark, (x, y) in named]  # x, y, half the width
    for _ in range(80):
        for index, one in enumerate(boxes):
            for other in boxes[:index]:
                across = one[2] + other[2] - abs(one[0] - other[0])
                down = 18 - abs(one[1] - other[1])
                if across > 0 and down > 0:
                    push = (down / 2 + 0.1) * (1 if one[1] >= other[1] else -1)
                    one[1], other[1] = one[1] + push, other[1] - push
        for box in boxes:
            box[0] = min(max(box[0], box[2]), size - box[2])
            box[1] = min(max(box[1], 16.0), size - 6.0)
    return [(mark, (box[0], box[1])) for (mark, _), box in zip(named, boxes, strict=True)]
