"""Text in a column of Parquet files, as Hugging Face and many lakes store it."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ...errors import UserError
from .. import columns, lakes, lines
from ..bad import BadSample
from ..location import Location
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
        path: Location,
        files: list[File],
        data_column: str | None = None,
        label_column: str | None = None,
        group_column: str | None = None,
    ):
        super().__init__(path, files)
        self._parts = [file for file in files if lakes.is_parquet(file)]
        schema = lakes.schema_of(self.root, self._parts[0])
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
        lakes.check_alike(self.root, self._parts, needed)
        # Small ones alone: a column of embeddings would be read in vain
        self._kept = [f.name for f in schema if f.name not in needed and (_is_plain(f.type) or _is_text(f.type))]
        self._splits = file_splits(self.root, self._parts)
        self._names = lakes.class_names(schema).get(self._columns.label) if self._columns.label else None
        self.classes = self._names or ()
        if not self.classes:
            named = label_column is not None
            self._columns, self.classes = columns.with_classes(self._columns, self._labels, named, self.root)

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        from .text_table import TextTable

        return kind == "text" and any(map(lakes.is_parquet, files)) and not TextTable.accepts(files, kind)

    def used(self) -> set[str]:
        return {file.path for file in self._parts}

    def fragments(self, rows: int) -> list[Fragment]:
        where = {"columns": [*self._columns], "kept": self._kept, "names": list(self._names) if self._names else None}
        return lakes.fragments(self.name, self.root, self._parts, self._splits, rows, where)

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        used, classes = columns.Columns(*fragment.where["columns"]), fragment.where["names"]
        names = [*(name for name in used if name), *fragment.where["kept"]]

        def made(batch: pa.RecordBatch, first: int) -> Iterator[Sample]:
            others = {name: _values(batch.column(name)) for name in names if name != used.data}
            for at, text in enumerate(_bytes(batch.column(used.data))):
                row = {name: values[at] for name, values in others.items()}
                yield Sample(
                    fragment.first + first + at,
                    lakes.address(fragment, first + at),
                    text,
                    _label(row[used.label], classes) if used.label else None,
                    columns.group(row[used.group]) if used.group else None,
                    columns.meta(row, used),
                )

        return lakes.read(fragment, names, BATCH, made)

    def _labels(self, column: str) -> Iterator[str | None]:
        for values in lakes.distinct(self.root, self._parts, column):
            yield from (columns.label(value) for value in _values(values))


def _label(value: Any, names: list[str] | None) -> str | None:
    return lakes.class_name(value, names) if names else columns.label(value)


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
