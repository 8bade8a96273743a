"""Raw data to a prepared corpus: a Ray Data job of one task a fragment, which can be interrupted and repeated."""

import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any, Literal

from .. import cluster, signature
from ..errors import UserError
from ..storage import Storage
from . import destination as folder
from . import drop, kinds, location, place, quality, work
from .duplicates import Duplicates
from .duplicates import find as find_duplicates
from .in_place import Lake
from .location import Location
from .manifest import FILE, Manifest, Shard
from .place import Place
from .sources import Fragment, Sample, Source, find, open_source, reader_of, reader_settings
from .sources.parquet import Parquet

DROPPED = {"ignore": "", "report": "", "drop": "exact", "drop_near": "near"}
Progress = Callable[[int, int], None]


def prepare(
    source: str | Location | Source,
    destination: Place,
    *,
    kind: str | None = None,
    name: str | None = None,
    holdout: float = 0.0,
    max_bad_rate: float = 0.01,
    duplicates: Literal["ignore", "report", "drop", "drop_near"] = "report",
    rows_per_group: int | None = None,
    rows_per_fragment: int = 2048,
    in_place: bool = False,
    ray: bool = True,
    progress: Progress | None = None,
    about: dict[str, str] | None = None,
    **settings: Any,
) -> Manifest:
    """Check every sample, bring it to one shape, and write shards with a manifest.

    The same source and settings give the same bytes, with or without Ray. A run that was interrupted is continued by
    the same call; fragments that are finished are not redone, and a finished corpus is returned at once.

    Args:
        source: raw data of any format of `sources/`, local or in an object store (`s3://bucket/raw`), or a `Source`.
        destination: the corpus's own folder or prefix of an object store; with a Ray cluster of several machines, one
            that all of them reach.
        kind: the data type; by default what the source's files look like.
        name: the corpus's name; by default the source's.
        holdout: the fraction of groups, or of samples without a group, that becomes the test split.
        max_bad_rate: the fraction of bad samples above which the corpus is refused.
        duplicates: `report` counts exact and near duplicates; `drop` takes exact ones out and `drop_near` both. Of
            duplicates in several splits the held-out one is kept. Memory of this process grows by 300 bytes a row
            unless they are ignored.
        rows_per_group: rows of a Parquet row group; by default about 1 MiB of them, 16 to 1,024.
        rows_per_fragment: samples a task reads.
        in_place: leave the samples where they are and write only what is known of them; see `indexing.index`.
        ray: run on the Ray cluster (`cluster.start`); otherwise in this process.
        progress: called with the samples done and the samples in all.
        about: what to say in the manifest, such as licence and citation.
        settings: of the source's reader (`sources/`), such as `label_column` of tables, and of the data type
            (`kinds/`), such as `size` of images.

    Raises:
        UserError: the source cannot be read or has too many bad samples, a setting is impossible, or the destination
            holds something else.
    """
    _check(holdout, max_bad_rate, rows_per_group, rows_per_fragment)
    if not isinstance(source, Source):
        source = location.at(source)
        folder.check_apart(source, place.absolute(destination))
        known = reader_settings(reader_of(source, kind)[0])
        reading = {key: settings.pop(key) for key in list(settings) if key in known}
        source = open_source(source, kind, **reading)
    settings = checked(source.kind, settings)
    there = Storage.at(place.absolute(destination))
    lake: dict[str, str] = {}
    if in_place and isinstance(source, Parquet):
        lake, fragments = {"root": str(source.root), "column": source.column}, source.fragments(rows_per_fragment, True)
    else:
        fragments = source.fragments(rows_per_fragment)
    if not fragments:
        raise UserError(f"{source.path} has no samples")
    if holdout and any(fragment.split != "train" for fragment in fragments):
        raise UserError(f"{source.path} has a test split of its own; leave out holdout")
    title, said = name or source.title, {"source": source.title, "reader": source.name, **_ignored(source)}
    said |= about or {}
    request = {
        "source": hashlib.sha256(json.dumps([f.identity() for f in fragments]).encode()).hexdigest(),
        **{"kind": source.kind, "name": title, **settings},
        **{"holdout": holdout, "rows_per_group": rows_per_group, "rows_per_fragment": rows_per_fragment},
        **{"duplicates": duplicates.removeprefix("report").removeprefix("ignore")},  # neither changes a shard
        **{"about": said, "format": work.FORMAT, **({"in_place": lake} if lake else {})},
    }
    with folder.alone(there):
        job = folder.resume(there, json.loads(json.dumps(request)))
        if job is None:
            decider = kinds.find(source.kind)(**settings)
            settled = decider.settle(_spread(fragments, decider.wanted, decider.wanted_bytes))
            decider.use(settled)
            rows = rows_per_group or min(1024, max(16, (1 << 20) // decider.row_bytes()))
            job = work.Job(source.kind, settings, settled, holdout, sys.maxsize if lake else rows, source.classes, lake)
            folder.start(there, request, job)
        noted = _work(fragments, job, there, ray, progress)
        found = _duplicates(there, noted) if duplicates != "ignore" else None
        for index, rows_out in drop.by_fragment(there, noted, found, DROPPED[duplicates]).items() if found else ():
            noted[index] = drop.drop(there, index, fragments[index], rows_out, job)
        manifest = _manifest(title, said, job, noted)
        quality.write(there, manifest, noted, found, max_bad_rate, duplicates)
        _gate(manifest, noted, there, max_bad_rate)
        folder.sweep(there, noted)
        quality.put(there, job.build().files())
        quality.put(there, {FILE: manifest.to_json().encode()})  # last: without it nothing is a corpus
    return manifest


def _work(
    fragments: list[Fragment], job: work.Job, there: Storage, ray: bool, progress: Progress | None
) -> list[dict[str, Any]]:
    """What each fragment's mark says, after doing those that are not finished."""
    sizes = there.sizes()
    noted = [work.finished(there, sizes, i, work.fingerprint(f, job)) for i, f in enumerate(fragments)]
    pending = [index for index, mark in enumerate(noted) if mark is None]
    total, done = sum(f.rows for f in fragments), sum(mark["samples"] for mark in noted if mark)
    if pending:
        there.delete(FILE)  # shards are missing: it is not a corpus until they are back
    if progress:
        progress(done, total)
    items = [{"index": index, "fragment": json.dumps(asdict(fragments[index]))} for index in pending]
    task = partial(_task, job=job, destination=there.uri)
    for row in _on_ray(items, task) if ray and items else map(task, items):
        if row["error"]:
            raise UserError(row["error"])
        noted[row["index"]] = json.loads(row["noted"])
        done += fragments[row["index"]].rows
        if progress:
            progress(done, total)
    complete = [mark for mark in noted if mark is not None]
    if len(complete) != len(fragments) or sum(mark["samples"] for mark in complete) != total:
        raise RuntimeError(f"{len(fragments) - len(complete)} of {len(fragments)} fragments were lost")
    return complete


def _on_ray(items: list[dict[str, Any]], task: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The results of the tasks as they finish; one fragment a block, so that one task has one fragment."""
    cluster.start()
    import ray.data

    yield from ray.data.from_items(items, override_num_blocks=len(items)).map(task).iter_rows()


def _task(item: dict[str, Any], job: work.Job, destination: str) -> dict[str, Any]:
    """One fragment on a worker; what the user can mend comes back as text, for Ray would wrap an exception."""
    noted, error = "", ""
    try:
        fragment = Fragment(**json.loads(item["fragment"]))
        noted = json.dumps(work.run(fragment, item["index"], job, place.storage(destination)))
    except (UserError, OSError) as problem:
        error = str(problem) or type(problem).__name__
    return {"index": item["index"], "noted": noted, "error": error}


def _duplicates(there: Storage, noted: list[dict[str, Any]]) -> Duplicates:
    tables = []
    for index, mark in enumerate(noted):
        if mark["signed"]:
            with place.shard(there.uri, work.signatures(index)) as file:
                tables.append(file.read())
    return find_duplicates(tables)


def checked(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a data type with every default filled in.

    Raises:
        UserError: with everything that is wrong with them.
    """
    full, wrong = signature.check(kinds.find(kind), settings, "")
    if wrong:
        raise UserError(f"settings of {kind} corpora: " + "; ".join(wrong))
    return full


def _spread(fragments: list[Fragment], wanted: int, wanted_bytes: int) -> Iterator[Sample]:
    """About so many samples and bytes from all over the source; of the train split where there is one."""
    listed = [fragment for fragment in fragments if fragment.split == "train"] or fragments
    some = listed[:: max(1, len(listed) // max(8, wanted // 1000))]
    for fragment in some:
        taken = 0
        for sample in islice(find(fragment.reader).read(fragment), -(-wanted // len(some))):
            yield sample
            taken += len(sample.data) if isinstance(sample.data, bytes | str) else getattr(sample.data, "nbytes", 0)
            if taken * len(some) >= wanted_bytes:
                break


def _manifest(name: str, about: dict[str, str], job: work.Job, noted: list[dict[str, Any]]) -> Manifest:
    shards: dict[str, list[Shard]] = {}
    labels: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    for mark in noted:
        reasons.update(mark["reasons"])
        reasons.update(mark.get("duplicates", {}))
        for split, shard in mark["shards"].items():
            shards.setdefault(split, []).append(Shard(**{**shard, "row_groups": tuple(shard["row_groups"])}))
            labels.setdefault(split, Counter(dict.fromkeys(job.classes, 0))).update(mark["labels"].get(split, {}))
    kind = job.build()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in kind.files().items()}
    classes = job.classes if any(mark["labels"] for mark in noted) else ()  # a kind may leave the labels out
    mean, std = [], []
    for channel in range(kind.channels):
        count, total, squares = (
            sum(mark[key][channel] for mark in noted if mark[key]) for key in ("counts", "sums", "squares")
        )
        mean.append(total / (count or 1))
        std.append(math.sqrt(max(squares / (count or 1) - mean[-1] ** 2, 0)))
    return Manifest(
        name=name,
        kind=job.kind,
        shape=kind.shape,
        dtype=kind.dtype,
        encoding="lake" if job.in_place else kind.encoding,
        splits={split: tuple(shards[split]) for split in work.SPLITS if split in shards},
        mean=tuple(value / kind.scale for value in mean),
        std=tuple(value / kind.scale for value in std),
        facts={**kind.facts, **({"files": hashes} if hashes else {})},
        classes=classes,
        label_counts={split: dict(labels[split]) for split in labels} if classes else {},
        quarantined=dict(sorted(reasons.items())),
        about=about,
        lake=_lake(job, noted),
    )


def _lake(job: work.Job, noted: list[dict[str, Any]]) -> Lake | None:
    if not job.in_place:
        return None
    parts = {mark["shards"][split]["file"]: part for mark in noted for split, part in mark["lake"].items()}
    return Lake.of({**job.in_place, "settings": job.settings, "settled": job.settled, "parts": parts})


def _gate(manifest: Manifest, noted: list[dict[str, Any]], there: Storage, max_bad_rate: float) -> None:
    """Refuse a corpus without good train samples, or with too many bad ones."""
    bad = sum(sum(mark["reasons"].values()) for mark in noted)
    total = sum(mark["samples"] for mark in noted)
    lacking = "" if "train" in manifest.splits else "no good sample is left for the train split; "
    if not lacking and bad <= max_bad_rate * total:
        return
    worst = sum((Counter(mark["reasons"]) for mark in noted), Counter()).most_common(5)
    examples = {reason: example for mark in reversed(noted) for reason, example in mark["examples"].items()}
    listed = "".join(f"\n  - {count} {reason}, such as {examples[reason]}" for reason, count in worst)
    raise UserError(
        f"{lacking}{bad} of {total} samples are bad ({bad / total:.1%}, allowed are {max_bad_rate:.1%}):{listed}\n"
        f"They are in {there}/{work.QUARANTINE}, and shown in {there}/{quality.PAGE}. Mend or remove them "
        "and run this again, or allow more with --max-bad-rate."
    )


def _ignored(source: Source) -> dict[str, str]:
    counts = source.ignored()
    return {"ignored": ", ".join(f"{n} files {suffix}" for suffix, n in sorted(counts.items()))} if counts else {}


def _check(holdout: float, max_bad_rate: float, group: int | None, fragment: int) -> None:
    if not 0 <= holdout < 1 or not 0 <= max_bad_rate <= 1:
        raise UserError(f"holdout is {holdout} and max_bad_rate {max_bad_rate}; they are fractions from 0 to 1")
    if fragment < 1 or (group is not None and group < 1):
        raise UserError("rows_per_group and rows_per_fragment must be at least 1")
