"""Sources that are Parquet files: which there are, how they are cut into work, and reading rows of one piece."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from ..errors import UserError
from . import location
from .location import Location
from .sources.source import File, Fragment, Sample, by_split, completed, pieces

MAX_CUTS = 8  # of one row group: its beginning is read again for every later piece
DAMAGE = (pa.ArrowException, OSError)


def is_parquet(file: File) -> bool:
    """Whether a file is called like one and is not hidden."""
    return file.suffix in (".parquet", ".pq") and not file.hidden


def schema_of(root: Location, file: File) -> pa.Schema:
    """The columns of a file.

    Raises:
        UserError: it is no readable Parquet file.
    """
    return _footer(root, file)[0]


def group_sizes(root: Location, file: File) -> list[int]:
    """Rows of each row group."""
    return _footer(root, file)[1]


def _footer(root: Location, file: File) -> tuple[pa.Schema, list[int]]:
    try:
        with location.parquet(root / file.path) as parquet:
            facts = parquet.metadata
            return parquet.schema_arrow, [facts.row_group(group).num_rows for group in range(facts.num_row_groups)]
    except DAMAGE as error:
        raise UserError(f"{root / file.path} is not a readable Parquet file: {error}") from None


def check_alike(root: Location, files: list[File], columns: list[str]) -> None:
    """Raise a UserError unless all files have the columns of the first one, with the same types."""
    schema = schema_of(root, files[0])
    for file in files[1:]:
        other = schema_of(root, file)
        if any(name not in other.names or other.field(name).type != schema.field(name).type for name in columns):
            raise UserError(
                f"{root / file.path} has other columns ({described(other)}) than {files[0].path} "
                f"({described(schema)}); prepare them apart"
            )


def described(schema: pa.Schema) -> str:
    """Names and types, for messages."""
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def distinct(root: Location, files: list[File], column: str) -> Iterator[pa.Array]:
    """The values of a column, those of a batch once each.

    Raises:
        UserError: they cannot be read.
    """
    for file in files:
        try:
            with location.parquet(root / file.path) as parquet:
                for batch in parquet.iter_batches(columns=[column]):
                    yield batch.column(0).unique()
        except DAMAGE as error:
            raise UserError(f"the labels of {root / file.path} cannot be read: {error}") from None


def class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Column -> class names that Hugging Face's `datasets` left in the schema's metadata."""
    try:
        raw = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = raw["info"]["features"].items()
        return {key: tuple(f["names"]) for key, f in features if f.get("_type") == "ClassLabel" and f.get("names")}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # metadata is a convenience; without it labels keep their numbers


def class_name(value: Any, names: list[str] | None) -> str | None:
    """The class that a value stands for, if there is a list of names."""
    if value is None or (names and value == -1):  # -1: Hugging Face's mark of a hidden label
        return None
    if names is None:
        return str(value)
    if not 0 <= value < len(names):
        raise UserError(f"label {value} has no name; the schema names {len(names)} classes")
    return names[value]


def fragments(
    reader: str,
    root: Location,
    files: list[File],
    splits: dict[str, str],
    rows: int,
    where: dict[str, Any],
    whole: bool = False,
) -> list[Fragment]:
    """The files cut into pieces of about `rows`; `where` is what every piece is told besides.

    Args:
        whole: leave row groups whole, however large they are.
    """
    made, first = [], 0
    for split, file in by_split(files, splits):
        before = 0  # rows of this file that earlier fragments read
        for groups, skip, count in cut(group_sizes(root, file), rows, whole):
            here = {"file": [*file], "groups": groups, "skip": skip, "row": before, **where}
            made.append(Fragment(reader, str(root), split, first, count, here))
            first, before = first + count, before + count
    return made


def cut(sizes: list[int], rows: int, whole: bool = False) -> Iterator[tuple[list[int], int, int]]:
    """(row groups, rows to skip in them, rows) of pieces of about `rows`: small groups together, large ones cut unless
    they are to stay whole.
    """
    together: list[int] = []
    for group, size in enumerate(sizes):
        if size > rows:
            if together:
                yield together, 0, sum(sizes[g] for g in together)
                together = []
            for skip, count in pieces(size, size if whole else max(rows, -(-size // MAX_CUTS))):
                yield [group], skip, count
            continue
        if sum(sizes[g] for g in together) + size > rows:
            yield together, 0, sum(sizes[g] for g in together)
            together = []
        if size:
            together = [*together, group]
    if together:
        yield together, 0, sum(sizes[g] for g in together)


def read(
    fragment: Fragment, columns: list[str], batch: int, made: Callable[[pa.RecordBatch, int], Iterable[Sample]]
) -> Iterator[Sample]:
    """The samples of a piece; a damaged page takes the rest of it with it.

    Args:
        batch: rows that are decoded at once.
        made: makes the samples of a batch and of the number that its first row has in the piece.
    """

    def rows() -> Iterator[Sample]:
        number = -fragment.where["skip"]
        with location.parquet(location.under(fragment.root, fragment.where["file"][0])) as parquet:
            found = parquet.iter_batches(batch, row_groups=fragment.where["groups"], columns=columns, use_threads=False)
            for part in found:
                skip = min(max(-number, 0), len(part))
                number += skip
                wanted = part.slice(skip, fragment.rows - number)
                yield from made(wanted, number)
                number += len(wanted)
                if number == fragment.rows:
                    return

    return completed(fragment, rows(), lambda number: address(fragment, number), DAMAGE)


def address(fragment: Fragment, number: int) -> str:
    """What a row of a piece is called."""
    return f"{fragment.where['file'][0]}#{fragment.where['row'] + number}"
