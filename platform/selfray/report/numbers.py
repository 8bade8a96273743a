"""Numbers as people read them, and round ticks for axes."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"


def number(value: Any) -> float | None:
    """The value as a finite float, or None: run files may hold null, text or a boolean where a number belongs."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def plain(value: Any, digits: int = 3) -> str:
    """A number with that many significant digits: 12,345 · 0.953 · 3e-4."""
    value = number(value)
    if value is None:
        return MISSING
    size = abs(value)
    if size and size < 1e-3:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        text = f"{mantissa}e{int(exponent)}"
    else:
        decimals = max(0, digits - 1 - math.floor(math.log10(size))) if size else 0
        text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS, 1) if text.startswith("-") else text


def count(value: Any) -> str:
    """A whole number with thousands separators."""
    value = number(value)
    return MISSING if value is None else f"{value:,.0f}"


def compact(value: Any) -> str:
    """A large count in three digits: 11.2 M."""
    value = number(value)
    if value is None:
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}\N{NO-BREAK SPACE}{unit}"
    return f"{value:.3g}"


def duration(seconds: Any) -> str:
    """Seconds as the two largest units: 2 h 05 min."""
    seconds = number(seconds)
    if seconds is None:
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    whole = round(seconds)
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}\N{NO-BREAK SPACE}{unit} {rest}\N{NO-BREAK SPACE}{small_unit}"
    return f"{whole}\N{NO-BREAK SPACE}s"


def measure(value: Any, metric: str) -> str:
    """A score in the unit that readers expect of its metric."""
    value = number(value)
    if value is None:
        return MISSING
    if "accuracy" in metric.lower():
        return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"
    return plain(value)


def percent(share: float) -> str:
    """A share in per cent, with as many digits as it needs: 0.5 %."""
    return f"{100 * share:.3g}\N{NO-BREAK SPACE}%"


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values inside [low, high], roughly `about` of them."""
    span = high - low
    if not span > 0:
        return [low]
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.75)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten inside [low, high]; with 2 and 5 between where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        inside = [factor * 10.0**power for power in powers for factor in factors]
        inside = [value for value in inside if low <= value <= high]
        if len(inside) >= 3:
            break
    return inside[:: max(1, math.ceil(len(inside) / 6))]


def tick_labels(values: Sequence[float]) -> list[str]:
    """One label a tick, all with the same number of decimals."""
    largest = max((abs(value) for value in values), default=0.0)
    step = min((b - a for a, b in itertools.pairwise(values)), default=largest) or 1.0
    if largest and largest < 1e-3:
        texts = [f"{value:.0e}".replace("e-0", "e-") if value else "0" for value in values]
    elif largest >= 1e4:
        texts = [f"{value / 1000:,.{0 if step >= 1000 else 1}f}k" if value else "0" for value in values]
    else:
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        texts = [f"{value:,.{decimals}f}" for value in values]
    return [text.replace("-", MINUS, 1) if text.startswith("-") else text for text in texts]
