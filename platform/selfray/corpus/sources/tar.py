"""Tar files of images or sounds as WebDataset writes them: members with one key are one sample."""

import json
import zlib
from collections.abc import Iterator
from itertools import groupby
from typing import IO, Any

from ...errors import UserError
from .. import columns, location, tars
from ..bad import BadSample
from ..location import Location
from ..tars import Member
from . import audio, folder
from .source import File, Fragment, Sample, Source, by_split, file_splits, pieces, printable

SUFFIXES = (".tar", ".tar.gz", ".tgz")
KINDS = {"image": folder.SUFFIXES, "audio": audio.SUFFIXES}
MAX_BYTES = {"image": folder.MAX_FILE_BYTES, "audio": audio.MAX_FILE_BYTES}
MAX_SIDE_BYTES = 64 << 10  # of a label or JSON; a longer text is left out
FILES = {"image": 2048, "audio": audio.FILES}  # of a fragment at most


class Tar(Source):
    """Tar files, sorted by path; consecutive members whose names agree up to the first dot are one sample.

    The member with an image's or sound's extension is the data, the first one if there are several. `.cls` holds the
    label, else `label` of `.json` does; `.json` and `.txt` travel along. A file that starts with `train`, `test` or
    `validation` makes splits. Links, devices, and names that are absolute or leave the folder are quarantined as
    `unsafe_member`, and what is missing at the end of a damaged tar is one `truncated` sample.

    Args:
        kind: the data type that is taken from tars of several; by default the one there is.
    """

    supports = "WebDataset tars of images or sounds (.tar, .tar.gz)"

    def __init__(self, path: Location, files: list[File], kind: str | None = None):
        super().__init__(path, files)
        self._tars = [file for file in files if _is_tar(file)]
        found: dict[str, dict[File, list[dict[str, Any]]]] = {}
        ends: dict[File, list[dict[str, Any]]] = {}
        for file in self._tars:
            for sample in _samples(self.root / file.path):
                for name in sample.pop("kinds"):
                    found.setdefault(name, {}).setdefault(file, []).append(sample)
                if sample["bad"]:
                    ends.setdefault(file, []).append(sample)
        if kind is None and len(found) > 1:
            raise UserError(f"{path} holds tars of {' and '.join(sorted(found))}; say which with kind")
        self.kind = kind or next(iter(found), "image")
        if not found:
            why = "".join(f"; {bad[-1]['bad'][1]}" for bad in list(ends.values())[:1])
            raise UserError(f"{path} has no image or sound in its tars{why}")
        if self.kind not in found:
            raise UserError(f"{path} holds tars of {', '.join(sorted(found))}, not of {self.kind}")
        listed = found[self.kind]
        self._samples = {file: [*listed.get(file, []), *ends.get(file, [])] for file in self._tars}
        labels = {s["label"] for samples in self._samples.values() for s in samples if s["label"] is not None}
        classes = columns.classes(labels, "label", False, path)
        if classes is None:  # texts and no classes
            for sample in (sample for samples in self._samples.values() for sample in samples):
                sample["label"] = None
        self.classes = classes or ()
        self._splits = file_splits(self.root, self._tars)

    @staticmethod
    def accepts(files: list[File], kind: str | None) -> bool:
        return kind in (None, *KINDS) and any(_is_tar(file) for file in files)

    def used(self) -> set[str]:
        return {file.path for file in self._tars}

    def fragments(self, rows: int) -> list[Fragment]:
        made, first = [], 0
        for split, file in by_split(self._tars, self._splits):
            samples = self._samples[file]
            packed = file.suffix != ".tar"  # only a whole pass unpacks it
            for start, count in pieces(len(samples), len(samples) if packed else min(rows, FILES[self.kind])):
                where = {"file": [*file], "kind": self.kind, "samples": samples[start : start + count]}
                made.append(Fragment(self.name, str(self.root), split, first + start, count, where))
            first += len(samples)
        return made

    @staticmethod
    def read(fragment: Fragment) -> Iterator[Sample]:
        path, kind = fragment.where["file"][0], fragment.where["kind"]
        try:
            file = tars.opened(location.under(fragment.root, path))
        except OSError as error:
            bad = BadSample("unreadable", f"{type(error).__name__}: {error.strerror}")
            for id, sample in enumerate(fragment.where["samples"], fragment.first):
                yield Sample(id, f"{path}/{sample['key']}", bad)
            return
        with file:
            for id, sample in enumerate(fragment.where["samples"], fragment.first):
                data, meta = _read(file, sample, kind)
                yield Sample(id, f"{path}/{sample['key']}", data, sample["label"], sample["group"], meta)


def _is_tar(file: File) -> bool:
    return file.path.lower().endswith(SUFFIXES) and not file.hidden


def _samples(path: Location) -> Iterator[dict[str, Any]]:
    """Plain values of each sample of a tar: `key`, `members` [suffix, offset, size], `label`, `group`, `bad`, `kinds`.

    Members of one key that are apart are two samples. `bad` is the reason and detail of what cannot be read; `kinds`
    are the data types among the members.
    """
    end: list[str] = []
    with tars.opened(path) as file:
        shown = (member for member in _until_damage(file, end) if not member.name.rpartition("/")[2].startswith("."))
        for key, group in groupby(shown, key=lambda member: _split(member.name)[0]):
            members = list(group)
            for odd in (member for member in members if member.unsafe):
                yield _plain(odd.name, bad=["unsafe_member", odd.unsafe])
            good = [(_split(member.name)[1], member) for member in members if not member.unsafe]
            data = {kind: [m for m in good if _last(m[0]) in suffixes] for kind, suffixes in KINDS.items()}
            present = [kind for kind, there in data.items() if there]
            if not present:
                continue
            sides = {suffix: m for suffix, m in good if suffix in (".cls", ".json", ".txt")}
            listed = [min(data[kind], key=lambda m: m[0].count(".")) for kind in present] + [*sides.items()]
            label, group_name, bad = _label(sides)
            plain = _plain(key, [[s, m.offset, m.size] for s, m in listed], label, group_name, bad)
            yield {**plain, "kinds": [] if bad else present}
    if end:
        yield _plain("end", bad=["truncated", end[0]])


def _until_damage(file: IO[bytes], end: list[str]) -> Iterator[Member]:
    """The members, and in `end` why there are no more of them."""
    try:
        yield from tars.members(file, (".cls", ".json"), MAX_SIDE_BYTES)
    except tars.Damaged as error:
        end.append(str(error))


def _plain(
    key: str,
    members: list[list[Any]] | None = None,
    label: str | None = None,
    group: str | None = None,
    bad: list[str] | None = None,
) -> dict[str, Any]:
    named = {"key": printable(key), "label": label, "group": group}
    return {**named, "members": members or [], "bad": bad, "kinds": []}


def _split(name: str) -> tuple[str, str]:
    """A member's key and lower-case suffix: its name up to and from the first dot of its last part."""
    _, dot, suffix = name.rpartition("/")[2].partition(".")
    return name[: len(name) - len(suffix) - len(dot)], (dot + suffix).lower()


def _last(suffix: str) -> str:
    return "." + suffix.rpartition(".")[2]


def _label(sides: dict[str, Member]) -> tuple[str | None, str | None, list[str] | None]:
    """Label, group and what is wrong with them."""
    label = group = None
    try:
        if ".json" in sides:
            said = _object(_content(sides[".json"]))
            label, group = (_scalar(said.get(name)) for name in ("label", "group"))
        if ".cls" in sides:
            label = printable(_content(sides[".cls"]).decode("utf-8", "replace").strip()) or None
    except BadSample as error:
        return None, None, [error.reason, error.detail]
    return label, group, None


def _content(member: Member) -> bytes:
    if member.content is None and member.size:
        raise BadSample("too_large", f"{member.name} has {member.size:,} bytes, more than {MAX_SIDE_BYTES:,}")
    return member.content or b""


def _scalar(value: Any) -> str | None:
    return printable(str(value)) if isinstance(value, str | int) and value != "" else None


def _read(file: IO[bytes], sample: dict[str, Any], kind: str) -> tuple[bytes | BadSample, str | None]:
    """The data of a sample, and its texts as JSON."""
    if sample["bad"]:
        return BadSample(*sample["bad"]), None
    data: bytes | BadSample = b""
    meta: dict[str, Any] = {}
    try:
        # In the order of the tar: going back in a packed one would unpack it again
        for suffix, offset, size in sorted(sample["members"], key=lambda member: member[1]):
            if _last(suffix) in KINDS[kind]:
                if size > MAX_BYTES[kind]:
                    raise BadSample("too_large", f"a member of {size:,} bytes, more than {MAX_BYTES[kind]:,}")
                data = _bytes(file, offset, size)
            elif suffix == ".json":
                meta |= _object(_bytes(file, offset, size))
            elif suffix == ".txt" and size <= MAX_SIDE_BYTES:
                meta["text"] = _bytes(file, offset, size).decode("utf-8", "replace").strip()
    except BadSample as error:
        return error, None
    return data, json.dumps(meta, sort_keys=True) if meta else None


def _bytes(file: IO[bytes], offset: int, size: int) -> bytes:
    try:
        file.seek(offset)
        data = file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise BadSample("unreadable", f"{type(error).__name__}: {error}"[:300]) from None
    if len(data) < size:
        raise BadSample("truncated", f"{len(data):,} bytes instead of {size:,}")
    return data


def _object(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadSample("undecodable", f"its JSON cannot be read: {type(error).__name__}: {error}"[:300]) from None
    return said if isinstance(said, dict) else {"json": said}
