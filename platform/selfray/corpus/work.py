"""One fragment of a source to one shard a split: what a task of `ingest.prepare` does, on any worker."""

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ..errors import UserError
from . import images, sources
from .images import BadImage
from .manifest import IMAGE_SCHEMA
from .shards import UNCOMPRESSED, ShardWriter, aside
from .sources import Fragment, Sample
from .sources.source import printable

FORMAT = 1  # counts changes of this module that change the bytes of a shard: finished fragments are then redone
SPLITS = ("train", "val", "test")
QUARANTINE = "quarantine"
MARKS = ".prepare"  # folder of the marks of finished fragments
KEPT_BYTES = 64 << 10  # of a quarantined sample

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

    shape: tuple[int, int, int]
    encoding: Literal["raw", "file"]
    fit: images.Fit
    holdout: float
    rows_per_group: int
    classes: tuple[str, ...]


def fingerprint(fragment: Fragment, job: Job) -> str:
    """32 hex digits that change with anything that would change the fragment's shards."""
    identity = {"fragment": fragment.identity(), "job": asdict(job), "format": FORMAT}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def mark(destination: Path, index: int) -> Path:
    """Where the mark of a finished fragment is."""
    return destination / MARKS / f"{index:05d}.json"


def finished(destination: Path, index: int, expected: str) -> dict[str, Any] | None:
    """What an earlier run noted about a fragment, if it was the same fragment and its files are still there."""
    try:
        noted: dict[str, Any] = json.loads(mark(destination, index).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if noted.get("fingerprint") != expected:
        return None
    files = [*noted["shards"].values(), *([noted["quarantine"]] if noted["quarantine"] else [])]
    for file in files:
        path = destination / file["file"]
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            return None
    return noted


def run(fragment: Fragment, index: int, job: Job, destination: Path) -> dict[str, Any]:
    """Decode, check, fit and write the samples of a fragment.

    Returns:
        What the mark says: `rows` read, `shards` (split -> file, rows, bytes, sha256, row_groups), `pixels`, `sums`
        and `squares` of the train split per channel, `labels` (split -> class -> rows), `reasons` and `examples` of
        quarantined samples, and the `quarantine` file or None.

    Raises:
        UserError: the source has changed since it was listed.
    """
    name = f"{index:05d}.parquet"
    totals = _Totals(job.shape[2])
    writers: dict[str, ShardWriter] = {}
    bad = ShardWriter(destination, QUARANTINE, name, QUARANTINE_SCHEMA, job.rows_per_group, "zstd")
    labels = {label: number for number, label in enumerate(job.classes)}
    try:
        for sample in sources.find(fragment.reader).read(fragment):
            totals.rows += 1
            try:
                pixels, stored = _prepare(sample, job)
            except BadImage as error:
                bad.add(_quarantined(sample, error))
                totals.quarantine(printable(sample.source), error)
                continue
            if sample.label is not None and sample.label not in labels:
                raise UserError(f"{sample.source} has the unknown label {sample.label!r}; the source has changed")
            split = _split(fragment.split, sample, job.holdout)
            if split not in writers:
                writers[split] = ShardWriter(destination, split, name, IMAGE_SCHEMA, job.rows_per_group, UNCOMPRESSED)
            number = None if sample.label is None else labels[sample.label]
            writers[split].add(
                {"id": sample.id, "image": stored, "label": number, "group": sample.group,
                 "source": printable(sample.source)}
            )  # fmt: skip
            totals.add(split, pixels, sample.label)
        if totals.rows != fragment.rows:
            raise UserError(
                f"the source has changed while it was read: {fragment.rows} samples were listed from number "
                f"{fragment.first} on, {totals.rows} came; run it again"
            )
        shards = {split: writers[split].publish() for split in sorted(writers)}
        quarantine = bad.publish() if bad.rows else None
    finally:
        for writer in (*writers.values(), bad):
            writer.abandon()
    noted = {"fingerprint": fingerprint(fragment, job), "shards": shards, "quarantine": quarantine, **totals.noted()}
    with aside(mark(destination, index)) as path:
        path.write_text(json.dumps(noted, sort_keys=True), encoding="utf-8")
    return noted


def _prepare(sample: Sample, job: Job) -> tuple[np.ndarray, bytes]:
    """The pixels of a sample in the corpus's shape, and the bytes to store."""
    height, width, channels = job.shape
    if isinstance(sample.image, BadImage):
        raise sample.image
    if isinstance(sample.image, np.ndarray):
        pixels = images.fit(images.with_channels(sample.image, channels), height, width, job.fit)
        return pixels, pixels.tobytes() if job.encoding == "raw" else images.encode(pixels)
    # Twice the target keeps the quality of a full decode and is much faster for photos
    pixels = images.fit(images.decode(sample.image, channels, smallest=2 * max(height, width)), height, width, job.fit)
    if job.encoding == "raw":
        return pixels, pixels.tobytes()
    head = images.header(sample.image)
    if head.is_exactly(job.shape):
        return pixels, sample.image
    return pixels, images.encode(pixels, "JPEG" if head.format == "JPEG" else "PNG")


def _split(split: str, sample: Sample, holdout: float) -> str:
    """`test` for a fraction of the groups (of the samples without one), the same ones whatever the order."""
    if not holdout:
        return split
    what = f"group {sample.group}" if sample.group is not None else f"id {sample.id}"
    digest = hashlib.blake2b(what.encode("utf-8", "surrogatepass"), digest_size=8, key=b"selfray holdout").digest()
    return "test" if int.from_bytes(digest, "big") < holdout * 2**64 else split


def _quarantined(sample: Sample, error: BadImage) -> dict[str, Any]:
    data = sample.image if isinstance(sample.image, bytes) else b""
    return {
        "id": sample.id,
        "source": printable(sample.source),
        "reason": error.reason,
        "detail": printable(error.detail),
        "size": len(data),
        "bytes": data[:KEPT_BYTES],
    }


class _Totals:
    """Counts of a fragment; pixels are summed as integers, so that no order of adding changes the result."""

    def __init__(self, channels: int):
        self.rows = self.pixels = 0
        self.sums, self.squares = [0] * channels, [0] * channels
        self.labels: dict[str, Counter[str]] = {}
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def add(self, split: str, pixels_HWC: np.ndarray, label: str | None) -> None:
        if label is not None:
            self.labels.setdefault(split, Counter())[label] += 1
        if split != "train":
            return
        self.pixels += pixels_HWC.shape[0] * pixels_HWC.shape[1]
        values = np.arange(256)
        for channel in range(len(self.sums)):
            counts = np.bincount(pixels_HWC[:, :, channel].ravel(), minlength=256)
            self.sums[channel] += int(counts @ values)
            self.squares[channel] += int(counts @ values**2)

    def quarantine(self, source: str, error: BadImage) -> None:
        self.reasons[error.reason] += 1
        self.examples.setdefault(error.reason, f"{source} ({printable(error.detail)})")

    def noted(self) -> dict[str, Any]:
        return vars(self)
