"""Taking rows out of shards that were written already: duplicates are only known when every shard is there."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from .duplicates import Duplicates
from .manifest import SCHEMA
from .shards import UNCOMPRESSED, ShardWriter, aside
from .work import KEPT_BYTES, QUARANTINE, QUARANTINE_SCHEMA, Job, Totals, mark, signatures

Dropped = dict[int, tuple[str, int]]
"""Row -> why, and which row has the same data."""


def by_fragment(destination: Path, count: int, found: Duplicates, which: str) -> dict[int, Dropped]:
    """What is to be dropped from each fragment."""
    dropped = found.dropped(which)
    parts: dict[int, Dropped] = {}
    for index in range(count) if dropped else ():
        file = signatures(destination, index)
        ids = pq.read_table(file, columns=["id"])["id"].to_pylist() if file.is_file() else []
        if mine := {row: dropped[row] for row in ids if row in dropped}:
            parts[index] = mine
    return parts


def drop(destination: Path, index: int, dropped: Dropped, job: Job) -> dict[str, Any]:
    """Rewrite a fragment's shards without some rows, quarantine these, and renew the fragment's mark.

    Doing it again changes nothing. Returns what the mark says.
    """
    noted: dict[str, Any] = json.loads(mark(destination, index).read_text(encoding="utf-8"))
    key = hashlib.sha256(json.dumps(sorted(dropped.items())).encode()).hexdigest()[:32]
    if noted.get("dropped") == key:
        return noted
    kind, name, totals = job.build(), f"{index:05d}.parquet", Totals()
    bad = ShardWriter(destination, QUARANTINE, name, QUARANTINE_SCHEMA, job.rows_per_group, "zstd")
    writers: dict[str, ShardWriter] = {}
    try:
        for row in _rows(destination, noted["quarantine"]):
            bad.add(row)
        for split, shard in sorted(noted["shards"].items()):
            writer = ShardWriter(destination, split, name, SCHEMA, job.rows_per_group, UNCOMPRESSED)
            for row in _rows(destination, shard):
                if row["id"] in dropped:
                    bad.add(_quarantined(row, *dropped[row["id"]]))
                    continue
                writers[split] = writer
                writer.add(row)
                label = None if row["label"] is None else job.classes[row["label"]]
                totals.add(split, kind, kind.values(row["data"]), label)
        shards = {split: writer.publish() for split, writer in writers.items()}
        quarantine = bad.publish() if bad.rows else None
    finally:
        for opened in (*writers.values(), bad):
            opened.abandon()
    for shard in noted["shards"].values():
        if shard["file"] not in {kept["file"] for kept in shards.values()}:
            (destination / shard["file"]).unlink(missing_ok=True)
    fresh = totals.noted()
    changed = {name: fresh[name] for name in ("counts", "sums", "squares", "labels")}
    reasons = dict(Counter(reason for reason, _ in dropped.values()))
    noted = {**noted, **changed, "shards": shards, "quarantine": quarantine, "dropped": key, "duplicates": reasons}
    with aside(mark(destination, index)) as path:
        path.write_text(json.dumps(noted, sort_keys=True), encoding="utf-8")
    return noted


def _rows(destination: Path, shard: dict[str, Any] | None) -> Any:
    if shard is None:
        return
    with pq.ParquetFile(destination / shard["file"], pre_buffer=False) as parquet:
        for batch in parquet.iter_batches(batch_size=64, use_threads=False):
            yield from batch.to_pylist()


def _quarantined(row: dict[str, Any], reason: str, keeper: int) -> dict[str, Any]:
    return {
        "id": row["id"],
        "source": row["source"],
        "reason": reason,
        "detail": f"as row {keeper}",
        "size": len(row["data"]),
        "bytes": row["data"][:KEPT_BYTES],
    }
