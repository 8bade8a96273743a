"""One sentence for people who read no table: whether pretraining taught the encoder anything, and the best number."""

from typing import Any

Row = dict[str, Any]


def verdict(rows: list[Row], labelled: bool, unfit: list[str]) -> str:
    """What probes say together.

    Args:
        rows: of `results.json`; for several numbers of one probe the first speaks.
        labelled: Whether the corpus has labels.
        unfit: A sentence for each probe that did not apply.
    """
    first = _said([row for row in rows if "/" not in row["probe"]], labelled, bool(unfit))
    return " ".join(f"{sentence}." for sentence in (first, *unfit))


def gained(row: Row) -> bool:
    """Whether the pretrained interval is better than those of both baselines, and than every other simple answer."""
    sign, worse = (1, 0) if row["higher_is_better"] else (-1, 1)
    own = sign * row["pretrained_interval"][worse]
    beside = all(own > sign * value for value in row.get("beside", {}).values())
    return beside and all(_clear(row, who) for who in ("untrained", "raw"))


def _clear(row: Row, who: str) -> bool:
    """Whether the pretrained interval is better than a baseline's, without touching it."""
    sign, worse = (1, 0) if row["higher_is_better"] else (-1, 1)
    return bool(sign * row["pretrained_interval"][worse] > sign * row[f"{who}_interval"][1 - worse])


def number(row: Row, value: float) -> str:
    """A value of a row as people read it: a percentage of accuracies, else three digits."""
    return f"{value:.1%}" if row["metric"] == "accuracy" else f"{value:.3g}"


def _said(rows: list[Row], labelled: bool, unfit: bool) -> str:
    if not rows:
        if not labelled:
            return "The corpus has no labels, so only label-free scores are shown"
        return "No probe that was asked for applies" if unfit else "No probe was asked for"
    better = [row for row in rows if gained(row)]
    alike = [row for row in rows if row["metric"] == rows[0]["metric"]]
    best = (max if rows[0]["higher_is_better"] else min)(alike, key=lambda row: float(row["pretrained"]))
    numbers = (
        f"{best['probe']} {best['metric']} {number(best, best['pretrained'])} on held-out samples, "
        f"{number(best, best['untrained'])} untrained, {number(best, best['raw'])} {best['raw_name']}"
    )
    numbers += "".join(f", {number(best, value)} {name}" for name, value in best.get("beside", {}).items())
    if len(better) == len(rows):
        return f"Pretraining taught the encoder something on every probe: {numbers}"
    if better:
        return f"Pretraining helps on {', '.join(row['probe'] for row in better)} but not on every probe: {numbers}"
    if learned := [row for row in rows if _clear(row, "untrained")]:
        names = ", ".join(row["probe"] for row in learned)
        return f"The encoder learned something by {names}, but no probe shows it beyond every simple answer: {numbers}"
    return f"No probe shows a gain from pretraining beyond chance: {numbers}"
