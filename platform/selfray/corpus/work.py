"""One fragment of a source to one shard a split: what a task of `ingest.prepare` does, on any worker."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import UserError
from . import duplicates, kinds, sources
from .bad import BadSample
from .kinds import Kind, Row
from .manifest import SCHEMA
from .shards import UNCOMPRESSED, ShardWriter, aside
from .sources import Fragment, Sample
from .sources.source import printable

FORMAT = 3  # counts changes of this module that change the bytes of a shard: finished fragments are then redone
SPLITS = ("train", "val", "test")
QUARANTINE = "quarantine"
MARKS = ".prepare"  # folder of the marks of finished fragments
KEPT_BYTES = 64 << 10  # of a quarantined sample
SIGNED_AT_ONCE = 4096  # rows of a row group of signatures

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),  # bytes of the sample, of which `bytes` holds the first 64 KiB
        pa.field("bytes", pa.binary(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Job:
    """The settings that decide, with a fragment, every byte of its shards."""

    kind: str
    settings: dict[str, Any]  # of the kind
    settled: dict[str, Any]  # what the kind decided from the source
    holdout: float
    rows_per_group: int
    classes: tuple[str, ...]

    def build(self) -> Kind:
        """The kind, ready to encode one split of one fragment."""
        return kinds.build(self.kind, self.settings, self.settled)


def fingerprint(fragment: Fragment, job: Job) -> str:
    """32 hex digits that change with anything that would change the fragment's shards."""
    identity = {"fragment": fragment.identity(), "job": asdict(job), "format": FORMAT}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def mark(destination: Path, index: int) -> Path:
    """Where the mark of a finished fragment is."""
    return destination / MARKS / f"{index:05d}.json"


def signatures(destination: Path, index: int) -> Path:
    """Where a finished fragment's bytes for finding duplicates are."""
    return destination / MARKS / f"{index:05d}.parquet"


def finished(destination: Path, index: int, expected: str) -> dict[str, Any] | None:
    """What an earlier run noted about a fragment, if it was the same fragment and its files are still there."""
    try:
        noted: dict[str, Any] = json.loads(mark(destination, index).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if noted.get("fingerprint") != expected:
        return None
    if noted["shards"] and not signatures(destination, index).is_file():
        return None
    files = [*noted["shards"].values(), *([noted["quarantine"]] if noted["quarantine"] else [])]
    for file in files:
        path = destination / file["file"]
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            return None
    return noted


def run(fragment: Fragment, index: int, job: Job, destination: Path) -> dict[str, Any]:
    """Check, encode and write the samples of a fragment.

    Returns:
        What the mark says: `samples` read, `shards` (split -> file, rows, bytes, sha256, row_groups), `counts`, `sums`
        and `squares` of the train split per channel, `labels` (split -> class -> rows), `reasons` and `examples` of
        quarantined samples, and the `quarantine` file or None.

    Raises:
        UserError: the source has changed since it was listed.
    """
    name = f"{index:05d}.parquet"
    totals = Totals()
    writers: dict[str, ShardWriter] = {}
    encoders: dict[str, Kind] = {}
    bad = ShardWriter(destination, QUARANTINE, name, QUARANTINE_SCHEMA, job.rows_per_group, "zstd")
    labels = {label: number for number, label in enumerate(job.classes)}
    signed = ShardWriter(destination, MARKS, name, duplicates.SCHEMA, SIGNED_AT_ONCE, "zstd")

    def write(split: str, rows: list[Row]) -> None:
        for row in rows:
            if split not in writers:
                writers[split] = ShardWriter(destination, split, name, SCHEMA, job.rows_per_group, UNCOMPRESSED)
            number = None if row.label is None else labels[row.label]
            writers[split].add(
                {"id": row.id, "data": row.data, "length": row.length, "label": number, "group": row.group,
                 "meta": row.meta, "source": printable(row.source)}
            )  # fmt: skip
            totals.add(split, encoders[split], row.values, row.label)
            near, look = encoders[split].near(row.values)
            exact = duplicates.exact(row.data)
            signed.add({"id": row.id, "split": split, "exact": exact, "near": near, "look": look})

    try:
        for sample in sources.find(fragment.reader).read(fragment):
            totals.samples += 1
            split = _split(fragment.split, sample, job.holdout)
            if split not in encoders:
                encoders[split] = job.build()
            try:
                if isinstance(sample.data, BadSample):
                    raise sample.data
                rows = encoders[split].encode(sample)
            except BadSample as error:
                bad.add(_quarantined(sample, error))
                totals.quarantine(printable(sample.source), error)
                continue
            if sample.label is not None and sample.label not in labels:
                raise UserError(f"{sample.source} has the unknown label {sample.label!r}; the source has changed")
            write(split, rows)
        for split, encoder in encoders.items():
            write(split, encoder.finish())
        if totals.samples != fragment.rows:
            raise UserError(
                f"the source has changed while it was read: {fragment.rows} samples were listed from number "
                f"{fragment.first} on, {totals.samples} came; run it again"
            )
        shards = {split: writers[split].publish() for split in sorted(writers)}
        quarantine = bad.publish() if bad.rows else None
        if signed.rows:
            signed.publish()
    finally:
        for writer in (*writers.values(), bad, signed):
            writer.abandon()
    noted = {"fingerprint": fingerprint(fragment, job), "shards": shards, "quarantine": quarantine, **totals.noted()}
    with aside(mark(destination, index)) as path:
        path.write_text(json.dumps(noted, sort_keys=True), encoding="utf-8")
    return noted


def _split(split: str, sample: Sample, holdout: float) -> str:
    """`test` for a fraction of the groups (of the samples without one), the same ones whatever the order."""
    if not holdout:
        return split
    what = f"group {sample.group}" if sample.group is not None else f"id {sample.id}"
    digest = hashlib.blake2b(what.encode("utf-8", "surrogatepass"), digest_size=8, key=b"selfray holdout").digest()
    return "test" if int.from_bytes(digest, "big") < holdout * 2**64 else split


def _quarantined(sample: Sample, error: BadSample) -> dict[str, Any]:
    data = _bytes(sample.data)
    return {
        "id": sample.id,
        "source": printable(sample.source),
        "reason": error.reason,
        "detail": printable(error.detail),
        "size": len(data),
        "bytes": bytes(data[:KEPT_BYTES]),
    }


def _bytes(data: Any) -> Any:
    """What is kept of a sample for whoever looks into the quarantine."""
    if isinstance(data, str):
        return data.encode("utf-8", "surrogatepass")
    if isinstance(data, np.ndarray):
        return data.tobytes()
    return data if isinstance(data, bytes) else b""


class Totals:
    """Counts of a fragment."""

    def __init__(self) -> None:
        self.samples = 0
        self.counts: list[int] = []
        self.sums: list[float] = []
        self.squares: list[float] = []
        self.labels: dict[str, Counter[str]] = {}
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def add(self, split: str, kind: Kind, values: np.ndarray, label: str | None) -> None:
        """Count a row that was written."""
        if label is not None:
            self.labels.setdefault(split, Counter())[label] += 1
        if split == "train":
            counts, sums, squares = kind.moments(values)
            self.counts, self.sums = _added(self.counts, counts), _added(self.sums, sums)
            self.squares = _added(self.squares, squares)

    def quarantine(self, source: str, error: BadSample) -> None:
        """Count a sample that was not."""
        self.reasons[error.reason] += 1
        self.examples.setdefault(error.reason, f"{source} ({printable(error.detail)})")

    def noted(self) -> dict[str, Any]:
        """What the fragment's mark says."""
        return vars(self)


def _added(before: list[Any], more: list[Any]) -> list[Any]:
    return [a + b for a, b in zip(before, more, strict=True)] if before else more
