"""Raw data to a prepared corpus: a Ray Data job of one task a fragment, which can be interrupted and repeated."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from .. import cluster
from ..errors import UserError
from . import destination as folder
from . import images, work
from .images import BadImage
from .manifest import FILE, Manifest, Shard
from .sources import Fragment, Source, find, open_source

HEADERS = 1000  # read to choose a shape
LARGEST_KEPT = 512  # pixels a side that are kept without being asked
RAW_BYTES = 96 * 96 * 3  # of one sample that is stored as pixels
Progress = Callable[[int, int], None]


def prepare(
    source: str | Path | Source,
    destination: str | Path,
    *,
    name: str | None = None,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    fit: images.Fit = "crop",
    store: Literal["auto", "raw", "file"] = "auto",
    holdout: float = 0.0,
    max_bad_rate: float = 0.01,
    rows_per_group: int | None = None,
    rows_per_fragment: int = 2048,
    image_column: str | None = None,
    label_column: str | None = None,
    ray: bool = True,
    progress: Progress | None = None,
    about: dict[str, str] | None = None,
) -> Manifest:
    """Check every sample, bring it to one shape, and write shards with a manifest.

    The same source and settings give the same bytes, with or without Ray. A run that was interrupted is continued by
    the same call; fragments that are finished are not redone, and a finished corpus is returned at once.

    Args:
        source: a folder of images, Parquet files, IDX files, a CSV file of pixels, or a `Source`.
        destination: the corpus's own folder; with a Ray cluster, on a file system that all nodes share.
        name: the corpus's name; by default the source's.
        size: pixels, one side of a square or (height, width). By default the size of the source if the headers of
            1,000 samples agree on one up to 512, else 224 x 224.
        channels: 1 or 3; by default 1 if all those headers are grey, else 3.
        fit: how an image of another size is brought to it, see `images.fit`.
        store: `raw` pixels or `file` (the original PNG or JPEG where it has the shape already, else encoded anew);
            `auto` is raw up to 96 x 96 x 3.
        holdout: the fraction of groups, or of samples without a group, that becomes the test split.
        max_bad_rate: the fraction of bad samples above which the corpus is refused.
        rows_per_group: rows of a Parquet row group; by default about 1 MiB of them, 64 to 1,024.
        rows_per_fragment: samples a task reads, and so the rows of a shard.
        image_column: the column of images in Parquet files; found by itself if there is only one.
        label_column: the column of labels in Parquet files; found by its name if None.
        ray: run on the Ray cluster (`cluster.start`); otherwise in this process.
        progress: called with the samples done and the samples in all.
        about: what to say in the manifest, such as licence and citation.

    Raises:
        UserError: the source cannot be read or has too many bad samples, a setting is impossible, or the destination
            holds something else.
    """
    _check(size, channels, fit, store, holdout, max_bad_rate, rows_per_group, rows_per_fragment)
    if not isinstance(source, Source):
        folder.check_apart(Path(source).resolve(), Path(destination).resolve())
        source = open_source(source, image_column=image_column, label_column=label_column)
    destination = Path(destination).resolve()
    fragments = source.fragments(rows_per_fragment)
    if not fragments:
        raise UserError(f"{source.path} has no samples")
    if holdout and any(fragment.split != "train" for fragment in fragments):
        raise UserError(f"{source.path} has a test split of its own; leave out holdout")
    title, said = name or source.title, {"source": source.title, "reader": source.name, **_ignored(source)}
    said |= about or {}
    request = {
        "source": hashlib.sha256(json.dumps([f.identity() for f in fragments]).encode()).hexdigest(),
        **{"name": title, "size": size, "channels": channels, "fit": fit, "store": store},
        **{"holdout": holdout, "rows_per_group": rows_per_group, "rows_per_fragment": rows_per_fragment},
        **{"about": said, "format": work.FORMAT},
    }
    with folder.alone(destination):
        job = folder.resume(destination, json.loads(json.dumps(request)))
        if job is None:
            shape = _shape(fragments, size, channels)
            raw = store == "raw" or (store == "auto" and math.prod(shape) <= RAW_BYTES)
            # An encoded image takes about an eighth of its pixels
            rows = rows_per_group or min(1024, max(64, (1 << 20) // (math.prod(shape) // (1 if raw else 8) or 1)))
            job = work.Job(shape, "raw" if raw else "file", fit, holdout, rows, source.classes)
            folder.start(destination, request, job)
        noted = _work(fragments, job, destination, ray, progress)
        manifest = _manifest(title, said, job, noted)
        _gate(manifest, noted, destination, max_bad_rate)
        folder.sweep(destination, noted)
        file = destination / FILE
        if not file.is_file() or file.read_text(encoding="utf-8") != manifest.to_json():
            manifest.write(destination)
    return manifest


def _work(
    fragments: list[Fragment], job: work.Job, destination: Path, ray: bool, progress: Progress | None
) -> list[dict[str, Any]]:
    """What each fragment's mark says, after doing those that are not finished."""
    noted = [work.finished(destination, i, work.fingerprint(f, job)) for i, f in enumerate(fragments)]
    pending = [index for index, mark in enumerate(noted) if mark is None]
    total, done = sum(f.rows for f in fragments), sum(mark["rows"] for mark in noted if mark)
    if pending:
        (destination / FILE).unlink(missing_ok=True)  # shards are missing: it is not a corpus until they are back
    if progress:
        progress(done, total)
    items = [{"index": index, "fragment": json.dumps(asdict(fragments[index]))} for index in pending]
    task = partial(_task, job=job, destination=str(destination))
    for row in _on_ray(items, task) if ray and items else map(task, items):
        if row["error"]:
            raise UserError(row["error"])
        noted[row["index"]] = json.loads(row["noted"])
        done += fragments[row["index"]].rows
        if progress:
            progress(done, total)
    complete = [mark for mark in noted if mark is not None]
    if len(complete) != len(fragments) or sum(mark["rows"] for mark in complete) != total:
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
        noted = json.dumps(work.run(fragment, item["index"], job, Path(destination)))
    except (UserError, OSError) as problem:
        error = str(problem) or type(problem).__name__
    return {"index": item["index"], "noted": noted, "error": error}


def _shape(fragments: list[Fragment], size: int | tuple[int, int] | None, channels: int | None) -> tuple[int, int, int]:
    """Height, width, channels: as asked, else what the headers of samples spread over the source say."""
    heads: list[tuple[int, int, bool]] = []
    if size is None or channels is None:
        some = fragments[:: max(1, len(fragments) // 8)]
        for fragment in some:
            for sample in islice(find(fragment.reader).read(fragment), -(-HEADERS // len(some))):
                if isinstance(sample.image, np.ndarray):
                    heads.append((*sample.image.shape[:2], sample.image.ndim == 2))
                elif isinstance(sample.image, bytes):
                    with suppress(BadImage):  # counted when its fragment is done
                        head = images.header(sample.image)
                        heads.append((head.height, head.width, head.grey))
    sizes = {(height, width) for height, width, _ in heads}
    if size is None:
        agreed = next(iter(sizes)) if len(sizes) == 1 else (LARGEST_KEPT + 1,) * 2
        height, width = agreed if max(agreed) <= LARGEST_KEPT else (224, 224)
    else:
        height, width = (size, size) if isinstance(size, int) else size
    if channels is None:
        channels = 1 if heads and all(grey for *_, grey in heads) else 3
    return height, width, channels


def _manifest(name: str, about: dict[str, str], job: work.Job, noted: list[dict[str, Any]]) -> Manifest:
    shards: dict[str, list[Shard]] = {}
    labels: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    for mark in noted:
        reasons.update(mark["reasons"])
        for split, shard in mark["shards"].items():
            shards.setdefault(split, []).append(Shard(**{**shard, "row_groups": tuple(shard["row_groups"])}))
            labels.setdefault(split, Counter(dict.fromkeys(job.classes, 0))).update(mark["labels"].get(split, {}))
    pixels = sum(mark["pixels"] for mark in noted) or 1
    columns = range(job.shape[2])
    means = [sum(mark["sums"][c] for mark in noted) / pixels for c in columns]
    squares = [sum(mark["squares"][c] for mark in noted) / pixels for c in columns]
    return Manifest(
        name=name,
        kind="image",
        shape=job.shape,
        encoding=job.encoding,
        splits={split: tuple(shards[split]) for split in work.SPLITS if split in shards},
        mean=tuple(mean / 255 for mean in means),
        std=tuple(math.sqrt(max(square - mean**2, 0)) / 255 for mean, square in zip(means, squares, strict=True)),
        classes=job.classes,
        label_counts={split: dict(labels[split]) for split in labels} if job.classes else {},
        quarantined=dict(sorted(reasons.items())),
        about=about,
    )


def _gate(manifest: Manifest, noted: list[dict[str, Any]], destination: Path, max_bad_rate: float) -> None:
    """Refuse a corpus without good train samples, or with too many bad ones."""
    bad = sum(manifest.quarantined.values())
    total = bad + sum(manifest.rows(split) for split in manifest.splits)
    lacking = "" if "train" in manifest.splits else "no good sample is left for the train split; "
    if not lacking and bad <= max_bad_rate * total:
        return
    worst = Counter(manifest.quarantined).most_common(5)
    examples = {reason: example for mark in reversed(noted) for reason, example in mark["examples"].items()}
    listed = "".join(f"\n  - {count} {reason}, such as {examples[reason]}" for reason, count in worst)
    raise UserError(
        f"{lacking}{bad} of {total} samples are bad ({bad / total:.1%}, allowed are {max_bad_rate:.1%}):{listed}\n"
        f"They are in {destination / work.QUARANTINE}. Mend or remove them and run this again, or allow more with "
        "--max-bad-rate."
    )


def _ignored(source: Source) -> dict[str, str]:
    counts = source.ignored()
    return {"ignored": ", ".join(f"{n} files {suffix}" for suffix, n in sorted(counts.items()))} if counts else {}


def _check(
    size: Any, channels: Any, fit: str, store: str, holdout: float, max_bad_rate: float, group: Any, fragment: int
) -> None:
    sides = (size, size) if isinstance(size, int) else size
    if sides is not None and (len(sides) != 2 or not all(images.MIN_SIDE <= side <= 4096 for side in sides)):
        raise UserError(f"size is {size}; it must be {images.MIN_SIDE} to 4096 pixels, or (height, width)")
    if channels not in (None, 1, 3):
        raise UserError(f"channels is {channels}; it must be 1 or 3")
    if fit not in get_args(images.Fit):
        raise UserError(f"fit is {fit!r}; it must be {', '.join(get_args(images.Fit))}")
    if store not in ("auto", "raw", "file"):
        raise UserError(f"store is {store!r}; it must be auto, raw or file")
    if not 0 <= holdout < 1 or not 0 <= max_bad_rate <= 1:
        raise UserError(f"holdout is {holdout} and max_bad_rate {max_bad_rate}; they are fractions from 0 to 1")
    if fragment < 1 or (group is not None and group < 1):
        raise UserError("rows_per_group and rows_per_fragment must be at least 1")
