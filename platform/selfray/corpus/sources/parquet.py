"""Parquet files with a column of encoded images or sounds, as Hugging Face and many lakes store them."""

import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ...errors import UserError
from .. import in_place, lakes
from ..bad import BadSample
from ..location import Location
from .source import File, Fragment, Sample, Source, file_splits

_NAMES = {
    "image": ("image", "img", "picture", "photo", "jpg", "png", "bytes", "content"),
    "audio": ("audio", "sound", "wav", "flac", "mp3", "bytes", "content"),
    "series": ("series", "values"),
}
_LABELS = ("label", "labels", "class", "target", "category")
BATCH = 64  # rows that are decoded at once


class Parquet(Source):
    """One Parquet file, or a folder of them sorted by path.

    Images, or sounds with kind audio, are encoded bytes in a binary column, or in the `bytes` field of a struct; a
    column of lists of numbers is taken if it is named, or if a kind is given and no column has bytes. Labels are
    integers, booleans or strings; the names that Hugging Face writes into the schema are used. A `group` column becomes
    the group. A file or folder name that starts with `train`, `test` or `validation` makes splits.

    Args:
        data_column: the column of samples; found by type and name if None.
        label_column: the column of labels; found by name if None.
        kind: the data type; images if None.
    """

    supports = "Parquet files with a column of encoded images, or sounds with kind audio"

    def __init__(
        self,
        path: Location,
        files: list[File],
        data_column: str | None = None,
        label_column: str | None = None,
        kind: str | None = None,
    ):
        super().__init__(path, files)
        self.kind = kind or "image"
        self._parts = [file for file in files if lakes.is_parquet(file)]
        schema = lakes.schema_of(self.root, self._parts[0])
        self.column = _data_column(schema, data_column, kind, self.root)
        self.type = schema.field(self.column).type
        names = lakes.class_names(schema)
        self._label = _label_column(schema, names, label_column, self.root)
        self._group = "group" if "group" in schema.names and _label_type(schema.field("group").type) else None
        self._names = names.get(self._label) if self._label else None
        lakes.check_alike(self.root, self._parts, [name for name in (self.column, self._label, self._group) if name])
        self.classes = self._names or self._distinct_labels()
        self._splits = file_splits(self.root, self._parts)

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        return kind in (None, "image", "audio") and any(map(lakes.is_parquet, files))

    def used(self) -> set[str]:
        return {file.path for file in self._parts}

    def fragments(self, rows: int, whole: bool = False) -> list[Fragment]:
        """As of every reader; with whole row groups if they are to be read in place."""
        columns = {"data": self.column, "label": self._label, "group": self._group}
        where = {"columns": columns, "names": list(self._names) if self._names else None}
        return lakes.fragments(self.name, self.root, self._parts, self._splits, rows, where, whole)

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        data, label, group = (fragment.where["columns"][key] for key in ("data", "label", "group"))

        def made(batch: pa.RecordBatch, first: int) -> Iterator[Sample]:
            lists = in_place.is_list(batch.schema.field(data).type)
            cells = in_place.cells(batch.column(data)) if lists else [*map(_bytes, batch.column(data).to_pylist())]
            rest = batch.drop_columns([data]).to_pylist()
            for number, cell, row in zip(itertools.count(first), cells, rest, strict=False):
                yield Sample(
                    fragment.first + number,
                    lakes.address(fragment, number),
                    BadSample("empty", "the row holds no values") if cell is None else cell,
                    lakes.class_name(row[label], fragment.where["names"]) if label else None,
                    None if group is None or row[group] is None else str(row[group]),
                )

        return lakes.read(fragment, [name for name in (data, label, group) if name], BATCH, made)

    def _distinct_labels(self) -> tuple[str, ...]:
        if self._label is None:
            return ()
        found = {value for part in lakes.distinct(self.root, self._parts, self._label) for value in part.to_pylist()}
        return tuple(str(label) for label in sorted(found - {None}))


def _bytes(value: Any) -> bytes | BadSample:
    if isinstance(value, dict):
        if value["bytes"] is None and value.get("path"):
            return BadSample("empty", f"the row holds no bytes, only the path {value['path']}")
        value = value["bytes"]
    return b"" if value is None else value


def _image_type(type: pa.DataType) -> bool:
    if pa.types.is_struct(type):
        return any(field.name == "bytes" and _image_type(field.type) for field in type)
    return pa.types.is_binary(type) or pa.types.is_large_binary(type) or pa.types.is_binary_view(type)


def _label_type(type: pa.DataType) -> bool:
    if pa.types.is_dictionary(type):
        return _label_type(type.value_type)
    is_text = pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)
    return pa.types.is_integer(type) or pa.types.is_boolean(type) or is_text


def _pick(candidates: list[str], preferred: tuple[str, ...]) -> list[str]:
    """The candidates with a telling name if there are any, else all."""
    return [name for name in candidates if name.lower() in preferred] or candidates


def _data_column(schema: pa.Schema, given: str | None, kind: str | None, root: Location) -> str:
    fitting = [field.name for field in schema if _image_type(field.type)]
    if given is not None or (kind and (kind == "series" or not fitting)):
        lists = [field.name for field in schema if in_place.is_list(field.type)]
        fitting = lists if kind == "series" else [*fitting, *lists]
    noun = {"audio": "sounds", "series": "series"}.get(kind or "", "images")
    found = [given] if given is not None else _pick(fitting, _NAMES[kind or "image"])
    if len(found) != 1 or found[0] not in fitting:
        listed = lakes.described(schema)
        problem = f"no column {given!r} of {noun}" if given is not None else f"{len(found)} columns could be the {noun}"
        raise UserError(f"{root} has {problem}; its columns are {listed}; name one with data_column=NAME")
    return found[0]


def _label_column(
    schema: pa.Schema, names: dict[str, tuple[str, ...]], given: str | None, root: Location
) -> str | None:
    fitting = [field.name for field in schema if _label_type(field.type)]
    found = [given] if given is not None else [n for n in fitting if n in names or n.lower() in _LABELS]
    if len(found) > 1 or any(name not in fitting for name in found):
        listed = lakes.described(schema)
        problem = f"no column {given!r} of labels" if given is not None else f"several labels ({', '.join(found)})"
        raise UserError(f"{root} has {problem}; its columns are {listed}; name one with label_column=NAME")
    return found[0] if found else None
