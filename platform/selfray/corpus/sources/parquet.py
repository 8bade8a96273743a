"""Parquet files with a column of encoded images, as Hugging Face and many lakes store them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import UserError
from ..bad import BadSample
from .source import File, Fragment, Sample, Source, file_splits, pieces

_IMAGES = ("image", "img", "picture", "photo", "jpg", "png", "bytes", "content")
_LABELS = ("label", "labels", "class", "target", "category")
MAX_CUTS = 8  # of one row group: its beginning is read again for every later piece


class Parquet(Source):
    """One Parquet file, or a folder of them sorted by path.

    Images are encoded bytes in a binary column, or in the `bytes` field of a struct. Labels are integers, booleans or
    strings; the names that Hugging Face writes into the schema are used. A `group` column becomes the group. A file
    or folder name that starts with `train`, `test` or `validation` makes splits.

    Args:
        data_column: the column of images; found by type and name if None.
        label_column: the column of labels; found by name if None.
    """

    supports = "Parquet files with a column of encoded images"

    def __init__(self, path: Path, files: list[File], data_column: str | None = None, label_column: str | None = None):
        super().__init__(path, files)
        self._parts = [file for file in files if _is_parquet(file)]
        schema = _footer(self.root, self._parts[0]).schema_arrow
        self._image = _data_column(schema, data_column, self.root)
        names = _class_names(schema)
        self._label = _label_column(schema, names, label_column, self.root)
        self._group = "group" if "group" in schema.names and _label_type(schema.field("group").type) else None
        self._names = names.get(self._label) if self._label else None
        needed = [name for name in (self._image, self._label, self._group) if name]
        for file in self._parts:
            other = _footer(self.root, file).schema_arrow
            if any(name not in other.names or other.field(name).type != schema.field(name).type for name in needed):
                raise UserError(
                    f"{self.root / file.path} has other columns ({_columns(other)}) than {self._parts[0].path} "
                    f"({_columns(schema)}); prepare them apart"
                )
        self.classes = self._names or self._distinct_labels()
        self._splits = file_splits(self.root, self._parts)

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        return kind in (None, "image") and any(_is_parquet(file) for file in files)

    def used(self) -> set[str]:
        return {file.path for file in self._parts}

    def fragments(self, rows: int) -> list[Fragment]:
        made, first = [], 0
        columns = {"data": self._image, "label": self._label, "group": self._group}
        for split in ("train", "val", "test"):
            for file in self._parts:
                if self._splits.get(file.path, "train") != split:
                    continue
                footer = _footer(self.root, file).metadata
                sizes = [footer.row_group(index).num_rows for index in range(footer.num_row_groups)]
                before = 0  # rows of this file that earlier fragments read
                for groups, skip, count in _cut(sizes, rows):
                    where = {"file": [*file], "groups": groups, "skip": skip, "row": before, "columns": columns}
                    where["names"] = list(self._names) if self._names else None
                    made.append(Fragment(self.name, str(self.root), split, first, count, where))
                    first, before = first + count, before + count
        return made

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        done = 0
        try:
            for row in _rows(fragment):
                yield row
                done += 1
        except (pa.ArrowException, OSError) as error:  # a damaged page takes the rest of the fragment with it
            bad = BadSample("unreadable", f"{type(error).__name__}: {error}"[:300])
            for row_number in range(done, fragment.rows):
                yield Sample(fragment.first + row_number, _address(fragment, row_number), bad)

    def _distinct_labels(self) -> tuple[str, ...]:
        if self._label is None:
            return ()
        distinct: set[Any] = set()
        for file in self._parts:
            try:
                with pq.ParquetFile(self.root / file.path) as parquet:
                    for batch in parquet.iter_batches(columns=[self._label]):
                        distinct.update(batch.column(0).unique().to_pylist())
            except (pa.ArrowException, OSError) as error:
                raise UserError(f"the labels of {self.root / file.path} cannot be read: {error}") from None
        distinct.discard(None)
        return tuple(str(label) for label in sorted(distinct))


def _is_parquet(file: File) -> bool:
    return file.suffix in (".parquet", ".pq") and not any(part.startswith(".") for part in file.path.split("/"))


def _footer(root: Path, file: File) -> pq.ParquetFile:
    try:
        with pq.ParquetFile(root / file.path) as parquet:
            return parquet
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{root / file.path} is not a readable Parquet file: {error}") from None


def _cut(sizes: list[int], rows: int) -> Iterator[tuple[list[int], int, int]]:
    """(row groups, rows to skip in them, rows) of pieces of about `rows`: small groups together, large ones cut."""
    together: list[int] = []
    for group, size in enumerate(sizes):
        if size > rows:
            if together:
                yield together, 0, sum(sizes[g] for g in together)
                together = []
            for skip, count in pieces(size, max(rows, -(-size // MAX_CUTS))):
                yield [group], skip, count
            continue
        if sum(sizes[g] for g in together) + size > rows:
            yield together, 0, sum(sizes[g] for g in together)
            together = []
        if size:
            together = [*together, group]
    if together:
        yield together, 0, sum(sizes[g] for g in together)


def _rows(fragment: Fragment) -> Iterator[Sample]:
    where, number = fragment.where, -fragment.where["skip"]
    image, label, group = (where["columns"][key] for key in ("data", "label", "group"))
    with pq.ParquetFile(Path(fragment.root, where["file"][0]), pre_buffer=False) as parquet:
        names = [name for name in (image, label, group) if name]
        for batch in parquet.iter_batches(batch_size=64, row_groups=where["groups"], columns=names, use_threads=False):
            skip = min(max(-number, 0), len(batch))
            number += skip
            for row in batch.slice(skip).to_pylist():
                if number == fragment.rows:
                    return
                yield Sample(
                    fragment.first + number,
                    _address(fragment, number),
                    _image_bytes(row[image]),
                    _label_name(row[label], where["names"]) if label else None,
                    None if group is None or row[group] is None else str(row[group]),
                )
                number += 1


def _address(fragment: Fragment, number: int) -> str:
    return f"{fragment.where['file'][0]}#{fragment.where['row'] + number}"


def _image_bytes(value: Any) -> bytes | BadSample:
    if isinstance(value, dict):
        if value["bytes"] is None and value.get("path"):
            return BadSample("empty", f"the row holds no bytes, only the path {value['path']}")
        value = value["bytes"]
    return b"" if value is None else value


def _label_name(value: Any, names: list[str] | None) -> str | None:
    if value is None or (names and value == -1):  # -1: Hugging Face's mark of a hidden label
        return None
    if names is None:
        return str(value)
    if not 0 <= value < len(names):
        raise UserError(f"label {value} has no name; the schema names {len(names)} classes")
    return names[value]


def _image_type(type: pa.DataType) -> bool:
    if pa.types.is_struct(type):
        return any(field.name == "bytes" and _image_type(field.type) for field in type)
    return pa.types.is_binary(type) or pa.types.is_large_binary(type) or pa.types.is_binary_view(type)


def _label_type(type: pa.DataType) -> bool:
    if pa.types.is_dictionary(type):
        return _label_type(type.value_type)
    is_text = pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)
    return pa.types.is_integer(type) or pa.types.is_boolean(type) or is_text


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def _pick(candidates: list[str], preferred: tuple[str, ...]) -> list[str]:
    """The candidates with a telling name if there are any, else all."""
    return [name for name in candidates if name.lower() in preferred] or candidates


def _data_column(schema: pa.Schema, given: str | None, root: Path) -> str:
    fitting = [field.name for field in schema if _image_type(field.type)]
    found = [given] if given is not None else _pick(fitting, _IMAGES)
    if len(found) != 1 or found[0] not in fitting:
        problem = f"no column {given!r} of images" if given is not None else f"{len(found)} columns could be the images"
        raise UserError(f"{root} has {problem}; its columns are {_columns(schema)}; name one with data_column=NAME")
    return found[0]


def _label_column(schema: pa.Schema, names: dict[str, tuple[str, ...]], given: str | None, root: Path) -> str | None:
    fitting = [field.name for field in schema if _label_type(field.type)]
    found = [given] if given is not None else [n for n in fitting if n in names or n.lower() in _LABELS]
    if len(found) > 1 or any(name not in fitting for name in found):
        problem = f"no column {given!r} of labels" if given is not None else f"several labels ({', '.join(found)})"
        raise UserError(f"{root} has {problem}; its columns are {_columns(schema)}; name one with label_column=NAME")
    return found[0] if found else None


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Column -> class names that Hugging Face's `datasets` left in the schema's metadata."""
    try:
        raw = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = raw["info"]["features"].items()
        return {key: tuple(f["names"]) for key, f in features if f.get("_type") == "ClassLabel" and f.get("names")}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # metadata is a convenience; without it labels keep their numbers
