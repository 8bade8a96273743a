"""Taking rows out of shards that were written already: duplicates are only known when every shard is there."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..storage import Storage
from . import place
from .duplicates import Duplicates
from .manifest import SCHEMA
from .shards import UNCOMPRESSED, ShardWriter
from .sources import Fragment
from .work import KEPT_BYTES, QUARANTINE, QUARANTINE_SCHEMA, Job, Totals, mark, note, run, signatures

Dropped = dict[int, tuple[str, int]]
"""Row -> why, and which row has the same data."""


def by_fragment(there: Storage, noted: list[dict[str, Any]], found: Duplicates, which: str) -> dict[int, Dropped]:
    """What is to be dropped from each fragment."""
    dropped = found.dropped(which)
    parts: dict[int, Dropped] = {}
    for index, said in enumerate(noted) if dropped else ():
        if not said["signed"]:
            continue
        with place.shard(there.uri, signatures(index)) as file:
            ids = file.read(["id"])["id"].to_pylist()
        if mine := {row: dropped[row] for row in ids if row in dropped}:
            parts[index] = mine
    return parts


def drop(there: Storage, index: int, fragment: Fragment, dropped: Dropped, job: Job) -> dict[str, Any]:
    """Rewrite a fragment's shards without some rows, quarantine these, and renew the fragment's mark.

    Where samples are compared and not rows (`Kind.by_sample`), the fragment is done again without some samples. Doing
    it again changes nothing. Returns what the mark says.
    """
    noted: dict[str, Any] = json.loads(there.read(mark(index)))
    key = hashlib.sha256(json.dumps(sorted(dropped.items())).encode()).hexdigest()[:32]
    if noted.get("dropped") == key:
        return noted
    reasons = dict(Counter(reason for reason, _ in dropped.values()))
    if job.build().by_sample:
        noted = {**run(fragment, index, job, there, dropped), "dropped": key, "duplicates": reasons}
        note(there, index, noted)
        return noted
    kind, name, totals = job.build(), f"{index:05d}.parquet", Totals()
    bad = ShardWriter(there, f"{QUARANTINE}/{name}", QUARANTINE_SCHEMA, job.rows_per_group, "zstd")
    writers: dict[str, ShardWriter] = {}
    try:
        for row in _rows(there, noted["quarantine"]):
            bad.add(row)
        for split, shard in sorted(noted["shards"].items()):
            writer = ShardWriter(there, f"{split}/{name}", SCHEMA, job.rows_per_group, UNCOMPRESSED)
            for row in _rows(there, shard):
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
            there.delete(shard["file"])
    fresh = totals.noted()
    changed = {name: fresh[name] for name in ("counts", "sums", "squares", "labels")}
    noted = {**noted, **changed, "shards": shards, "quarantine": quarantine, "dropped": key, "duplicates": reasons}
    note(there, index, noted)
    return noted


def _rows(there: Storage, shard: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if shard is None:
        return
    with place.shard(there.uri, shard["file"]) as parquet:
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
