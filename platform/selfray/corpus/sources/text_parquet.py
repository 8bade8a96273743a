"""Text in a column of Parquet files, as Hugging Face and many lakes store it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import UserError
from .. import columns, lines
from ..bad import BadSample
from .parquet import _class_names, _columns, _cut, _footer, _is_parquet, _label_name
from .source import File, Fragment, Sample, Source, file_splits, printable

BATCH = 64  # rows that are decoded at once


class TextParquet(Source):
    """One Parquet file, or a folder of them sorted by path; needs `--kind text`, since Parquet can hold anything.

    The names of classes that Hugging Face writes into the schema are used. A file or folder name that starts with
    `train`, `test` or `validation` makes splits. Other columns are kept as `meta` where they are short.

    Args:
        data_column: the column of text; by default `text`, `content` and the like, or the only one with strings.
        label_column: the column of labels; by default `label`, `class`, `target` or `category`.
        group_column: the column of groups; by default `group`.
    """

    supports = "Parquet files with a column of text (with --kind text)"
    kind = "text"

    def __init__(
        self,
        path: Path,
        files: list[File],
        data_column: str | None = None,
        label_column: str | None = None,
        group_column: str | None = None,
    ):
        super().__init__(path, files)
        self._parts = [file for file in files if _is_parquet(file)]
        schema = _footer(self.root, self._parts[0]).schema_arrow
        texts = [field.name for field in schema if _is_text(field.type)]
        others = [field.name for field in schema if not _is_text(field.type)]
        first = self.root / self._parts[0].path
        self._columns = columns.choose(texts, others, (data_column, label_column, group_column), first)
        label, group = self._columns.label, self._columns.group
        for key, name, asked in (("label", label, label_column), ("group", group, group_column)):
            if name is not None and not _is_name(schema.field(name).type):
                if asked is not None:
                    raise UserError(
                        f"{first}: column {name!r} holds {schema.field(name).type}, not integers, booleans or text; "
                        f"name another with {key}_column=NAME"
                    )
                self._columns = self._columns.without(key)
        needed = [name for name in self._columns if name]
        for file in self._parts:
            other = _footer(self.root, file).schema_arrow
            if any(name not in other.names or other.field(name).type != schema.field(name).type for name in needed):
                raise UserError(
                    f"{self.root / file.path} has other columns ({_columns(other)}) than {self._parts[0].path} "
                    f"({_columns(schema)}); prepare them apart"
                )
        # Small ones alone: a column of embeddings would be read in vain
        self._kept = [f.name for f in schema if f.name not in needed and (_is_plain(f.type) or _is_text(f.type))]
        self._splits = file_splits(self.root, self._parts)
        self._names = _class_names(schema).get(self._columns.label) if self._columns.label else None
        self.classes = self._names or ()
        if self._columns.label is not None and not self.classes:
            found = columns.classes(self._labels(), self._columns.label, label_column is not None, self.root)
            self._columns = self._columns if found is not None else self._columns.without("label")
            self.classes = found or ()

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        from .text_table import TextTable

        return kind == "text" and any(_is_parquet(file) for file in files) and not TextTable.accepts(files, kind)

    def used(self) -> set[str]:
        return {file.path for file in self._parts}

    def fragments(self, rows: int) -> list[Fragment]:
        made, first = [], 0
        for split in ("train", "val", "test"):
            for file in self._parts:
                if self._splits.get(file.path, "train") != split:
                    continue
                footer = _footer(self.root, file).metadata
                sizes = [footer.row_group(index).num_rows for index in range(footer.num_row_groups)]
                before = 0  # rows of this file that earlier fragments read
                for groups, skip, count in _cut(sizes, rows):
                    where = {"file": [*file], "groups": groups, "skip": skip, "row": before}
                    where |= {"columns": [*self._columns], "kept": self._kept}
                    where["names"] = list(self._names) if self._names else None
                    made.append(Fragment(self.name, str(self.root), split, first, count, where))
                    first, before = first + count, before + count
        return made

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        done = 0
        try:
            for sample in _rows(fragment):
                yield sample
                done += 1
        except (pa.ArrowException, OSError) as error:  # a damaged page takes the rest of the fragment with it
            bad = BadSample("unreadable", f"{type(error).__name__}: {error}"[:300])
            for number in range(done, fragment.rows):
                yield Sample(fragment.first + number, _address(fragment, number), bad)

    def _labels(self) -> Iterator[str | None]:
        for file in self._parts:
            try:
                with pq.ParquetFile(self.root / file.path) as parquet:
                    for batch in parquet.iter_batches(columns=[self._columns.label]):
                        yield from (columns.label(value) for value in _values(batch.column(0).unique()))
            except (pa.ArrowException, OSError) as error:
                raise UserError(f"the labels of {self.root / file.path} cannot be read: {error}") from None


def _rows(fragment: Fragment) -> Iterator[Sample]:
    where, number = fragment.where, -fragment.where["skip"]
    used = columns.Columns(*where["columns"])
    names = [*(name for name in used if name), *where["kept"]]
    with pq.ParquetFile(Path(fragment.root, where["file"][0]), pre_buffer=False) as parquet:
        for batch in parquet.iter_batches(BATCH, row_groups=where["groups"], columns=names, use_threads=False):
            skip = min(max(-number, 0), len(batch))
            number += skip
            wanted = batch.slice(skip, fragment.rows - number)
            texts = _bytes(wanted.column(used.data))
            others = {name: _values(wanted.column(name)) for name in names if name != used.data}
            for at, text in enumerate(texts):
                row = {name: values[at] for name, values in others.items()}
                yield Sample(
                    fragment.first + number,
                    _address(fragment, number),
                    text,
                    _label(row[used.label], where["names"]) if used.label else None,
                    columns.group(row[used.group]) if used.group else None,
                    columns.meta(row, used),
                )
                number += 1
            if number == fragment.rows:
                return


def _label(value: Any, names: list[str] | None) -> str | None:
    return _label_name(value, names) if names else columns.label(value)


def _address(fragment: Fragment, number: int) -> str:
    return f"{fragment.where['file'][0]}#{fragment.where['row'] + number}"


def _bytes(column: pa.Array) -> list[bytes | BadSample]:
    """Texts as they are stored: a column of strings may hold bytes that are no UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    found = []
    for text in column.cast(pa.large_binary()):
        size = text.as_buffer().size if text.is_valid else 0
        large = BadSample("too_long", f"more than {lines.LARGEST >> 20} MiB of text")
        found.append(large if size > lines.LARGEST else text.as_py() or b"")
    return found


def _values(column: pa.Array) -> list[Any]:
    """Plain values; what is no UTF-8 in a text is escaped."""
    if not _is_text(column.type):
        return list(column.to_pylist())
    texts = _bytes(column)
    return [
        None if not valid or isinstance(text, BadSample) else printable(text.decode("utf-8", "surrogateescape"))
        for text, valid in zip(texts, column.is_valid().to_pylist(), strict=True)
    ]


def _is_text(type: pa.DataType) -> bool:
    if pa.types.is_dictionary(type):
        return _is_text(type.value_type)
    return pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)


def _is_plain(type: pa.DataType) -> bool:
    return pa.types.is_integer(type) or pa.types.is_boolean(type) or pa.types.is_floating(type)


def _is_name(type: pa.DataType) -> bool:
    return pa.types.is_integer(type) or pa.types.is_boolean(type) or _is_text(type)
