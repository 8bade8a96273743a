"""Text in tables of lines: JSON objects, or comma- or tab-separated values with a header."""

import csv
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ...errors import UserError
from .. import columns, lines, location
from ..bad import BadSample
from ..location import Location
from .source import File, Fragment, Sample, Source, by_split, file_splits

_JSON = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz", ".json.gz")
_COMMA, _TAB = (".csv", ".csv.gz"), (".tsv", ".tsv.gz")
_BESIDE = (*_JSON, ".txt", ".md", "")  # README, LICENSE
_LOOKED_AT = 100  # rows that tell which columns there are

Row = dict[str, Any]


class TextTable(Source):
    """Tables of one format, at any depth, sorted by path.

    JSON has one object a line. CSV has a header and quotes as in RFC 4180; TSV has a header and no quotes. A line of
    more than 16 MiB is bad. A file or folder name that starts with `train`, `test` or `validation` makes splits.
    Other columns are kept as `meta` where they are short.

    Args:
        data_column: the column of text; by default `text`, `content` and the like, or the only one with strings.
        label_column: the column of labels; by default `label`, `class`, `target` or `category`.
        group_column: the column of groups; by default `group`.
    """

    supports = "tables of text, one row a line (.jsonl, .json.gz; with --kind text also .csv and .tsv)"
    kind = "text"

    def __init__(
        self,
        path: Location,
        files: list[File],
        data_column: str | None = None,
        label_column: str | None = None,
        group_column: str | None = None,
    ):
        super().__init__(path, files)
        self._tables = [file for file in files if _is_table(file)]
        forms = {_form(file) for file in self._tables}
        if len(forms) > 1:
            raise UserError(f"{self.root} holds {' and '.join(sorted(forms))} files; prepare them apart")
        self._form = forms.pop()
        self._headers = {file.path: self._header(file) for file in self._tables}
        texts, others = self._first_columns()
        given = (data_column, label_column, group_column)
        self._columns = columns.choose(texts, others, given, self.root / self._tables[0].path)
        for path_, header in self._headers.items():
            if header and not {name for name in self._columns if name} <= set(header):
                raise UserError(
                    f"{self.root / path_} has other columns ({', '.join(header)}) than {self._tables[0].path}; "
                    "prepare them apart"
                )
        self._splits = file_splits(self.root, self._tables)
        asked = label_column is not None
        self._columns, self.classes = columns.with_classes(self._columns, self._labels, asked, self.root)

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        shown = [file for file in files if not file.hidden]
        if kind == "text":
            return any(_is_table(file) for file in shown)
        json_lines = any(file.suffix in _JSON for file in shown)
        return kind is None and json_lines and all(file.suffix in _BESIDE for file in shown)

    def used(self) -> set[str]:
        return {file.path for file in self._tables}

    def fragments(self, rows: int) -> list[Fragment]:
        made, first = [], 0
        for split, file in by_split(self._tables, self._splits):
            header = self._headers[file.path]
            for offset, count in lines.cuts(self.root / file.path, _unit(self._form), rows, skip=1 if header else 0):
                where: dict[str, Any] = {"file": [*file], "form": self._form, "header": header, "offset": offset}
                where["columns"] = [*self._columns]
                made.append(Fragment(self.name, str(self.root), split, first, count, where))
                first += count
        return made

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        where, used = fragment.where, columns.Columns(*fragment.where["columns"])
        path = where["file"][0]
        found = lines.units(location.under(fragment.root, path), _unit(where["form"]), where["offset"])
        for id, (offset, unit) in enumerate(islice(found, fragment.rows), fragment.first):
            row, source = _parsed(unit, where["form"], where["header"]), f"{path}@{offset}"
            if isinstance(row, BadSample):
                yield Sample(id, source, row)
                continue
            label = columns.label(row.get(used.label)) if used.label else None
            group = columns.group(row.get(used.group)) if used.group else None
            data = _text(row.get(used.data), escaped=where["header"] is not None)
            yield Sample(id, source, data, label, group, columns.meta(row, used))

    def _header(self, file: File) -> list[str] | None:
        """The names of the columns that the first line gives; None for JSON, whose rows name them."""
        if self._form == "json":
            return None
        _, first = next(lines.units(self.root / file.path, _unit(self._form)), (0, BadSample("empty", "no line")))
        if isinstance(first, BadSample):
            raise UserError(f"{self.root / file.path} has no readable header: {first.detail}")
        names = [name.strip() for name in _fields(first.removeprefix(b"\xef\xbb\xbf"), self._form)]
        if len(set(names)) < len(names):
            raise UserError(f"{self.root / file.path} has several columns of one name: {', '.join(names)}"[:500])
        return names

    def _first_columns(self) -> tuple[list[str], list[str]]:
        """The columns that hold text in the first rows, and the others."""
        rows = list(islice((row for row in self._rows() if isinstance(row, dict)), _LOOKED_AT))
        names = list(dict.fromkeys(name for row in rows for name in row))
        if not names:
            raise UserError(f"{self.root / self._tables[0].path} has no readable row; look at its first lines")
        texts = [name for name in names if any(_is_text(row.get(name)) for row in rows)]
        return texts, [name for name in names if name not in texts]

    def _rows(self) -> Iterator[Row | BadSample]:
        for file in self._tables:
            header = self._headers[file.path]
            for _, unit in islice(lines.units(self.root / file.path, _unit(self._form)), 1 if header else 0, None):
                yield _parsed(unit, self._form, header)

    def _labels(self, column: str) -> Iterator[str | None]:
        for row in self._rows():
            if isinstance(row, dict):
                yield columns.label(row.get(column))


def _is_table(file: File) -> bool:
    return not file.hidden and file.suffix in (*_JSON, *_COMMA, *_TAB)


def _form(file: File) -> str:
    return "json" if file.suffix in _JSON else "csv" if file.suffix in _COMMA else "tsv"


def _unit(form: str) -> lines.Unit:
    return "record" if form == "csv" else "line"


def _parsed(unit: bytes | BadSample, form: str, header: list[str] | None) -> Row | BadSample:
    """Column -> value of a row. Text of a CSV may hold bytes that are no UTF-8, as surrogates."""
    if isinstance(unit, BadSample):
        return unit
    if header is None:
        try:
            row = json.loads(unit)
        except UnicodeDecodeError as error:
            return BadSample("wrong_encoding", str(error)[:300])
        except (ValueError, RecursionError) as error:
            return BadSample("undecodable", f"no JSON: {error}"[:300])
        return row if isinstance(row, dict) else BadSample("undecodable", f"a {type(row).__name__}, no JSON object")
    try:
        fields = _fields(unit, form)
    except csv.Error as error:
        return BadSample("undecodable", str(error)[:300])
    if len(fields) != len(header):
        return BadSample("undecodable", f"{len(fields)} columns instead of {len(header)}")
    return dict(zip(header, fields, strict=True))


def _fields(unit: bytes, form: str) -> list[str]:
    text = unit.decode("utf-8", "surrogateescape")
    if form == "tsv":
        return text.split("\t")
    csv.field_size_limit(lines.LARGEST)  # of the process; its default would refuse long documents
    return next(csv.reader([text], strict=False), [])


def _text(value: Any, escaped: bool) -> str | bytes | BadSample:
    """The text of a cell; as the original bytes if those are `escaped` in it where they are no UTF-8."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return BadSample("undecodable", f"a {type(value).__name__}, not text")
    return value.encode("utf-8", "surrogateescape") if escaped else value


def _is_text(value: Any) -> bool:
    """Whether it is a string, and not a number that a CSV holds as one."""
    try:
        float(value)
    except ValueError:
        return isinstance(value, str)
    except (TypeError, OverflowError):
        return False
    return False
