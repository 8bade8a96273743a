"""Tables of text: which column is the text, which the label, and what is kept of the others."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..errors import UserError
from .location import Location
from .sources.source import printable

TEXTS = ("text", "content", "document", "article", "body", "sentence", "review", "comment", "message")
LABELS = ("label", "labels", "class", "target", "category")
GROUP = "group"
MOST_CLASSES = 10_000
LONGEST_LABEL, LONGEST_META = 256, 1024  # characters


class Columns(NamedTuple):
    """The names of the columns that are read; None where there is none."""

    data: str
    label: str | None
    group: str | None

    def without(self, role: str) -> "Columns":
        """The same without labels or groups."""
        return Columns(self.data, None if role == "label" else self.label, None if role == "group" else self.group)


def choose(
    texts: list[str], others: list[str], given: tuple[str | None, str | None, str | None], where: Location
) -> Columns:
    """The columns as given, else by name.

    Args:
        texts: the columns that hold text.
        others: the remaining ones.
        given: the columns of text, labels and groups that were asked for.

    Raises:
        UserError: a given column is missing or holds no text, or no column can be told to be the text.
    """
    data, label, group = given
    every = [*texts, *others]
    listed = f"its columns are {', '.join(every)}"
    for key, name in (("label_column", label), ("group_column", group)):
        if name is not None and name not in every:
            raise UserError(f"{where} has no column {name!r}; {listed}; name one of them with {key}=NAME")
    if data is None:
        free = [name for name in texts if name not in (label, group) and name.lower() not in (*LABELS, GROUP)]
        named = sorted((TEXTS.index(name.lower()), name) for name in free if name.lower() in TEXTS)
        found = [named[0][1]] if named else free
        if len(found) != 1:
            raise UserError(
                f"{where}: {len(found)} columns could be the text; {listed}; name one with data_column=NAME"
            )
        data = found[0]
    elif data not in texts:
        raise UserError(f"{where} has no column {data!r} of text; {listed}; name one with data_column=NAME")
    if label is None:
        label = next((name for name in every if name.lower() in LABELS and name != data), None)
    if group is None:
        group = next((name for name in every if name.lower() == GROUP and name != data), None)
    return Columns(data, label, group)


def label(value: Any) -> str | None:
    """The class that a value names; None for what is no integer, boolean or short string."""
    if isinstance(value, str):
        return printable(value) if 0 < len(value) <= LONGEST_LABEL else None
    return str(value) if isinstance(value, int) else None


def group(value: Any) -> str | None:
    """The group that a value names; None for none."""
    return None if value is None else printable(str(value))


def classes(labels: Iterable[str | None], column: str, asked: bool, where: Location) -> tuple[str, ...] | None:
    """The distinct labels, numbers by their value; None if a column that only looked like labels has too many.

    Raises:
        UserError: a column that was asked for has more than 10,000 of them.
    """
    distinct: set[str] = set()
    for value in labels:
        if value is not None:
            distinct.add(value)
        if len(distinct) > MOST_CLASSES:
            if asked:
                raise UserError(
                    f"{where}: column {column!r} has more than {MOST_CLASSES:,} values, which are no classes; name "
                    "another with label_column=NAME"
                )
            return None
    if all(re.fullmatch(r"-?\d{1,18}", value) for value in distinct):
        return tuple(sorted(distinct, key=lambda value: (int(value), value)))
    return tuple(sorted(distinct))


def with_classes(
    used: Columns, labels: Callable[[str], Iterable[str | None]], asked: bool, where: Location
) -> tuple[Columns, tuple[str, ...]]:
    """The columns and the classes; without labels where a column only looked like them.

    Args:
        labels: the labels in a column of that name.
        asked: whether the column was asked for; errors as of `classes`.
    """
    if used.label is None:
        return used, ()
    found = classes(labels(used.label), used.label, asked, where)
    return (used, found) if found is not None else (used.without("label"), ())


def meta(row: Mapping[str, Any], without: Columns) -> str | None:
    """The other columns as JSON, as far as they are numbers, truth values or short strings."""
    kept: dict[str, Any] = {}
    for key, value in row.items():
        fits = isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
        if key not in without and fits and len(str(value)) <= LONGEST_LABEL:
            kept[key] = value
    text = json.dumps(kept, sort_keys=True)
    return text if kept and len(text) <= LONGEST_META else None
