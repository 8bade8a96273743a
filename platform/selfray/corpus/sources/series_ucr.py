"""Files of the UCR and UEA time-series archives: `.ts` with its header, and `.tsv` with the label first."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .. import location, offsets
from ..bad import BadSample
from ..location import Location
from .source import File, Fragment, Sample, Source, completed, printable

_PART = re.compile(r"(?P<name>.*)_(?P<split>train|test)", re.IGNORECASE)
_MISSING = ("?", "nan", "")
MAX_HEADER_LINES = 10_000


class SeriesUcr(Source):
    """One data set: `NAME_TRAIN` and `NAME_TEST` are its splits; another name is a train split. Of several data sets
    in a folder the one with the folder's name is taken.

    Dimensions of a `.ts` line are separated by colons, `?` is a missing value, and the last field is the label if the
    header says `@classLabel true`; a number after `@targetLabel true` goes to the sample's meta. Missing values at the
    end of a `.tsv` line, which make lines of one length, are cut off.
    """

    supports = "UCR/UEA time series (NAME_TRAIN.ts or .tsv, NAME_TEST.ts or .tsv)"
    kind = "series"

    def __init__(self, path: Location, files: list[File]):
        super().__init__(path, files)
        parts = [file for file in files if is_archive(file, "series")]
        suffix = ".ts" if any(file.suffix == ".ts" for file in parts) else ".tsv"  # an archive may hold both
        self._parts = [file for file in parts if file.suffix == suffix]
        names = {_name(file) for file in self._parts}
        if path.name in names:  # an archive has copies beside it, such as one of equal lengths
            self._parts, names = [file for file in self._parts if _name(file) == path.name], {path.name}
        if len(names) > 1:
            raise UserError(f"{path} holds the data sets {', '.join(sorted(names)[:3])}; point at one of them")
        self._headers = {file: _header(self.root / file.path) for file in self._parts}
        self._starts = {file: _starts(self.root / file.path, self._headers[file]["offset"]) for file in self._parts}
        self.classes = self._classes()

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        return kind in (None, "series") and any(is_archive(file, kind) for file in files)

    def used(self) -> set[str]:
        return {file.path for file in self._parts}

    def fragments(self, rows: int) -> list[Fragment]:
        made, first = [], 0
        for split in ("train", "test"):
            for file in self._parts:
                if _split(file) != split:
                    continue
                starts = self._starts[file]
                for row in range(0, len(starts), rows):
                    count = min(rows, len(starts) - row)
                    where = {"file": [*file], "row": row, "offset": starts[row], "header": self._headers[file]}
                    made.append(Fragment(self.name, str(self.root), split, first + row, count, where))
                first += len(starts)
        return made

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        where, path = fragment.where, fragment.where["file"][0]

        def found() -> Iterator[Sample]:
            lines = _data_lines(location.under(fragment.root, path), where["offset"])
            for number, (_, line) in enumerate(islice(lines, fragment.rows)):
                data, label, meta = _parsed(line, where["header"])
                yield Sample(fragment.first + number, f"{path}#{where['row'] + number}", data, label, None, meta)

        return completed(fragment, found(), lambda number: f"{path}#{where['row'] + number}", (OSError,))

    def _classes(self) -> tuple[str, ...]:
        """The header's classes, else the labels that are there."""
        named = {tuple(header["classes"]) for header in self._headers.values() if header["classes"]}
        found = set().union(*named)
        for file, header in self._headers.items():
            if header["label"]:
                lines = _data_lines(self.root / file.path, header["offset"])
                found |= {label for _, line in lines if (label := _label(line, header)) is not None}
        if len(named) == 1 and found == set(*named):
            return next(iter(named))
        try:
            return tuple(sorted(found, key=float))
        except ValueError:
            return tuple(sorted(found))


def is_archive(file: File, kind: str | None) -> bool:
    """Whether a file is of an archive; `.ts` is a programming language's too, and `.tsv` any table's."""
    named = _PART.fullmatch(Path(file.path).stem) is not None
    return not file.hidden and file.suffix in (".ts", ".tsv") and (named or (kind == "series" and file.suffix == ".ts"))


def _name(file: File) -> str:
    stem = Path(file.path).stem
    part = _PART.fullmatch(stem)
    return part["name"] if part else stem


def _split(file: File) -> str:
    part = _PART.fullmatch(Path(file.path).stem)
    return part["split"].lower() if part else "train"


def _header(path: Location) -> dict[str, Any]:
    """Plain values: `offset` of the data, `separator` of values, whether lines have a `label`, its `classes`."""
    if path.suffix.lower() == ".tsv":
        return {"offset": 0, "separator": "\t", "label": True, "target": False, "classes": []}
    said: dict[str, str] = {}
    for number, (at, line) in enumerate(offsets.numbered(path)):
        text = (line or b"").decode("utf-8", "replace").strip()
        if not text or text.startswith(("#", "%")):
            continue
        if not text.startswith("@") or number > MAX_HEADER_LINES:
            break
        key, _, value = text[1:].partition(" ")
        if key.lower() == "data":
            return _understood(said, at + len(line or b"") + 1, path)
        said[key.lower()] = value.strip()
    raise UserError(f"{path} is not a .ts file of the UCR/UEA archive: its header has no @data")


def _understood(said: dict[str, str], offset: int, path: Location) -> dict[str, Any]:
    if said.get("timestamps", "false").lower() == "true":
        raise UserError(f"{path} has time stamps beside its values (@timeStamps true), which are not read; remove them")
    labels = said.get("classlabel", "false").split()
    target = said.get("targetlabel", "false").lower() == "true"
    has_label = labels[:1] != [] and labels[0].lower() == "true"
    classes = [printable(label) for label in labels[1:]] if has_label else []
    return {"offset": offset, "separator": ",", "label": has_label, "target": target, "classes": classes}


def _data_lines(path: Location, offset: int) -> Iterator[tuple[int, bytes | None]]:
    """The lines that are series."""
    for at, line in offsets.numbered(path, offset):
        if line is None or (line.strip() and not line.startswith((b"#", b"%"))):
            yield at, line


def _starts(path: Location, offset: int) -> list[int]:
    return [at for at, _ in _data_lines(path, offset)]


def _label(line: bytes | None, header: dict[str, Any]) -> str | None:
    if line is None or not header["label"]:
        return None
    cut = line.split(b"\t", 1)[0] if header["separator"] == "\t" else line.rpartition(b":")[2]
    return printable(cut.decode("utf-8", "replace").strip()) or None


def _parsed(line: bytes | None, header: dict[str, Any]) -> tuple[np.ndarray | BadSample, str | None, str | None]:
    """A line's values (time, channels), its label and its meta."""
    if line is None:
        return BadSample("too_long", f"a line of more than {offsets.MAX_BYTES >> 20} MiB"), None, None
    text, label, meta = line.decode("utf-8", "replace").strip(), _label(line, header), None
    if header["separator"] == "\t":
        dimensions = [text.partition("\t")[2]]
    else:
        dimensions = text.split(":")
        if header["label"] or header["target"]:
            last = dimensions.pop()
            meta = f'{{"target": {float(last)}}}' if header["target"] and _is_number(last) else None
    try:
        channels = [_values(dimension, header["separator"]) for dimension in dimensions]
    except ValueError as error:
        return BadSample("undecodable", str(error)[:300]), label, meta
    if not channels or len({len(channel) for channel in channels}) > 1:
        sizes = ", ".join(str(len(channel)) for channel in channels[:8])
        return BadSample("ragged", f"its dimensions have {sizes or 'no'} steps"), label, meta
    return np.stack(channels, axis=1), label, meta


def _values(text: str, separator: str) -> np.ndarray:
    fields = [field.strip() for field in text.split(separator)]
    with np.errstate(over="ignore"):
        return np.array([np.nan if f.lower() in _MISSING else float(f) for f in fields]).astype(np.float32)


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text)).item()
    except ValueError:
        return False
