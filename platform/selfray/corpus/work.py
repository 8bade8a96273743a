"""One fragment of a source to one shard a split: what a task of `ingest.prepare` does, on any worker."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import UserError
from ..storage import Storage
from . import duplicates, in_place, kinds, sources
from .bad import BadSample
from .kinds import Kind, Row
from .manifest import SCHEMA
from .shards import UNCOMPRESSED, ShardWriter
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
    in_place: dict[str, str] = field(default_factory=dict)  # root and column of a lake whose samples stay there

    def build(self) -> Kind:
        """The kind, ready to encode one split of one fragment."""
        return kinds.build(self.kind, self.settings, self.settled)


def fingerprint(fragment: Fragment, job: Job) -> str:
    """32 hex digits that change with anything that would change the fragment's shards."""
    settings = {key: value for key, value in asdict(job).items() if value or key != "in_place"}
    identity = {"fragment": fragment.identity(), "job": settings, "format": FORMAT}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def mark(index: int) -> str:
    """The mark of a finished fragment."""
    return f"{MARKS}/{index:05d}.json"


def signatures(index: int) -> str:
    """A finished fragment's bytes for finding duplicates."""
    return f"{MARKS}/{index:05d}.parquet"


def finished(there: Storage, sizes: dict[str, int], index: int, expected: str) -> dict[str, Any] | None:
    """What an earlier run noted about a fragment, if it was the same fragment and its files are still there.

    Args:
        sizes: name -> bytes of what is there.
    """
    if mark(index) not in sizes:
        return None
    try:
        noted: dict[str, Any] = json.loads(there.read(mark(index)))
    except (OSError, ValueError):
        return None
    if noted.get("fingerprint") != expected or "signed" not in noted:
        return None
    if noted["signed"] and signatures(index) not in sizes:
        return None
    files = [*noted["shards"].values(), *([noted["quarantine"]] if noted["quarantine"] else [])]
    return noted if all(sizes.get(file["file"]) == file["bytes"] for file in files) else None


def note(there: Storage, index: int, noted: dict[str, Any]) -> None:
    """Write the mark of a finished fragment."""
    there.write(mark(index), json.dumps(noted, sort_keys=True).encode())


def run(
    fragment: Fragment, index: int, job: Job, there: Storage, dropped: Mapping[int, tuple[str, int]] | None = None
) -> dict[str, Any]:
    """Check, encode and write the samples of a fragment.

    Args:
        dropped: duplicates that are to be quarantined: sample -> why, and which sample it is like.

    Returns:
        What the mark says: `samples` read, `shards` (split -> file, rows, bytes, sha256, row_groups), `counts`, `sums`
        and `squares` of the train split per channel, `labels` (split -> class -> rows), `reasons` and `examples` of
        quarantined samples, rows `signed` for finding duplicates, and the `quarantine` file or None; of a lake also
        `lake` (split -> where its rows are).

    Raises:
        UserError: the source has changed since it was listed.
    """
    name = f"{index:05d}.parquet"
    totals = Totals()
    writers: dict[str, ShardWriter] = {}
    encoders: dict[str, Kind] = {}
    bad = ShardWriter(there, f"{QUARANTINE}/{name}", QUARANTINE_SCHEMA, job.rows_per_group, "zstd")
    labels = {label: number for number, label in enumerate(job.classes)}
    pointer = in_place.Pointer(fragment) if job.in_place else None
    schema = in_place.without_data(SCHEMA) if pointer else SCHEMA
    signed = ShardWriter(there, signatures(index), duplicates.SCHEMA, SIGNED_AT_ONCE, "zstd")

    def write(split: str, rows: list[Row], number: int = 0) -> None:
        for row in rows:
            if split not in writers:
                writers[split] = ShardWriter(there, f"{split}/{name}", schema, job.rows_per_group, UNCOMPRESSED)
            sample = {"row": pointer.row(split, number, writers[split])} if pointer else {"data": row.data}
            label = None if row.label is None else labels[row.label]
            writers[split].add(
                {**sample, "id": row.id, "length": row.length, "label": label, "group": row.group,
                 "meta": row.meta, "source": printable(row.source)}
            )  # fmt: skip
            totals.add(split, encoders[split], row.values, row.label)
            if not encoders[split].by_sample:
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
                if dropped and sample.id in dropped:
                    rows = []
                    reason, keeper = dropped[sample.id]
                    bad.add(_quarantined(sample, BadSample(reason, f"as sample {keeper}")))
                else:
                    rows = encoders[split].encode(sample)
                if encoders[split].by_sample:
                    content, near = encoders[split].signed(sample)
                    exact = duplicates.exact(content)
                    signed.add({"id": sample.id, "split": split, "exact": exact, "near": near, "look": b""})
                if pointer:
                    in_place.check(encoders[split], sample.data, rows)
            except BadSample as error:
                bad.add(_quarantined(sample, error))
                totals.quarantine(printable(sample.source), error)
                continue
            if sample.label is not None and sample.label not in labels:
                raise UserError(f"{sample.source} has the unknown label {sample.label!r}; the source has changed")
            write(split, rows, sample.id - fragment.first)
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
    noted["signed"] = signed.rows
    if pointer:
        noted["lake"] = pointer.noted()
    note(there, index, noted)
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
