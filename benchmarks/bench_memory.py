"""Memory of the driver and the workers over ten epochs of a corpus ten times larger than Ray's object store.

    python benchmarks/bench_memory.py [--epochs 10] [--out FOLDER]

The corpus is 30,000 crops of two real photographs, 96 x 96 in colour: 829 MB of pixels beside an object store of
80 MiB. Two Ray Train workers learn from it with a network that is small, so that the data moves fast. Every process
of the run is looked at twice a second. Exits with 1 if the memory of the driver, a worker or a reader drifts by more
than a tenth.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import results

ROWS, SIDE = 30_000, 96
STORE_BYTES = 80 << 20
ALLOWED = 0.1
RAYLET = "raylet"  # shown, but some 20 MiB of Ray's own bookkeeping are not judged
EVERY_SECONDS = 0.5


@dataclass
class Watched:
    """What was seen of the processes of one role, in MiB: memory of its own, without what all of them share."""

    times: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)

    def by_epoch(self, ends: list[float]) -> list[float]:
        """The median of each epoch."""
        found = []
        for start, end in zip([0.0, *ends[:-1]], ends, strict=True):
            inside = [size for at, size in zip(self.times, self.sizes, strict=True) if start <= at < end]
            found.append(median(inside) if inside else float("nan"))
        return found


def main() -> int:
    """Run, print, and judge; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where to leave the corpus and the run; a temporary folder by default")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(options.out or Path(folder), options.rows, options.epochs, options.workers)
    if options.json:
        print(json.dumps(found))
    else:
        print(
            f"corpus {found['corpus_mb']:.0f} MB, object store {found['store_mb']:.0f} MB, {found['seconds']:.0f} s\n"
        )
        header = ["memory, MiB", *(f"epoch {number}" for number in range(1, options.epochs + 1)), "drift"]
        rows = [
            [role, *(f"{size:.0f}" for size in seen["epochs"]), f"{seen['drift']:+.1%}"]
            for role, seen in found["roles"].items()
        ]
        print(results.table(header, rows))
    return int(any(abs(seen["drift"]) > ALLOWED for role, seen in found["roles"].items() if role != RAYLET))


def measured(folder: Path, rows: int, epochs: int, workers: int) -> dict[str, Any]:
    """Make the corpus, train on it, and say what the processes took in each epoch.

    The drift of a role is the largest distance of an epoch's median from that of the second epoch, as a share of it:
    in the first one everything is still being set up.
    """
    corpus = made(folder / "corpus", rows)
    start_ray(workers)
    from selfray.recipe import parse
    from selfray.train.launch import pretrain
    from selfray.train.loop import Job

    recipe = parse(_recipe(str(corpus), epochs, workers))
    watched: dict[str, Watched] = {}
    begun, stop, ends = time.monotonic(), threading.Event(), []
    watcher = threading.Thread(target=_watch, args=(watched, begun, stop), daemon=True)
    watcher.start()
    steps = rows // recipe.pretrain.batch

    def note(row: dict[str, float]) -> None:
        if len(ends) < row["step"] // steps:
            ends.append(time.monotonic() - begun)

    taken = pretrain(Job(recipe, str(corpus), str(folder / "run")), [note])
    seconds = time.monotonic() - begun
    stop.set()
    watcher.join()
    if taken != steps * epochs or len(ends) != epochs:
        raise RuntimeError(f"{taken} steps and {len(ends)} ends of epochs instead of {steps * epochs} and {epochs}")
    stored = sum(file.stat().st_size for file in (corpus / "train").iterdir())
    found: dict[str, Any] = {"corpus_mb": stored / 1e6, "store_mb": STORE_BYTES / 1e6, "seconds": seconds, "roles": {}}
    for role, seen in sorted(watched.items()):
        sizes = seen.by_epoch(ends)
        if len(sizes) > 1 and not any(np.isnan(sizes[1:])):
            drift = max((size / sizes[1] - 1 for size in sizes[1:]), key=abs)
            found["roles"][role] = {"epochs": sizes, "drift": drift}
    return found


def made(folder: Path, rows: int) -> Path:
    """A prepared corpus of crops of real photographs."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from sklearn.datasets import load_sample_images

    from selfray.corpus.ingest import prepare

    if (folder / "manifest.json").is_file():
        return folder
    photos, draw, width = load_sample_images().images, np.random.default_rng(0), SIDE * SIDE * 3
    with tempfile.TemporaryDirectory() as raw:
        schema = pa.schema([("pixels", pa.list_(pa.uint8(), width))])
        with pq.ParquetWriter(Path(raw, "crops.parquet"), schema, compression="none") as writer:
            for start in range(0, rows, 1000):
                count = min(1000, rows - start)
                crops = np.empty((count, SIDE, SIDE, 3), np.uint8)
                for at in range(count):
                    photo = photos[draw.integers(len(photos))]
                    top, left = (draw.integers(0, size - SIDE) for size in photo.shape[:2])
                    crops[at] = photo[top : top + SIDE, left : left + SIDE]
                column = pa.FixedSizeListArray.from_arrays(pa.array(crops.reshape(-1)), width)
                writer.write_table(pa.table([column], schema=schema))
        prepare(raw, folder, data_column="pixels", duplicates="ignore", ray=False)
    return folder


def start_ray(workers: int) -> None:
    """A local cluster with a small object store."""
    import ray

    from selfray import cluster

    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(
        address="local",
        num_cpus=workers + 2,
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
    )
    cluster.start()


def _recipe(corpus: str, epochs: int, workers: int) -> dict[str, Any]:
    views = {"size": 16, "blur": 0.0, "jitter": 0.0, "grey": 0.0}
    pretrain: dict[str, Any] = {
        "objective": {"name": "simclr", "width": 16},
        "encoder": {"name": "conv", "width": 8, "stages": 1},
        "views": views,
        "batch": 256,
        "epochs": epochs,
        "workers": workers,
        "threads": 1,
        "precision": "fp32",
        "compile": False,
        "log_every": 1,
        "health_every": 100,
    }
    return {"name": "memory", "corpus": {"path": corpus}, "pretrain": pretrain}


def _watch(watched: dict[str, Watched], begun: float, stop: threading.Event) -> None:
    me = psutil.Process()
    while not stop.wait(EVERY_SECONDS):
        at, sizes = time.monotonic() - begun, {"driver": _own(me)}
        for process in me.children(recursive=True):
            try:
                role = _role(process.name(), " ".join(process.cmdline()))
                if role:
                    sizes[role] = max(sizes.get(role, 0.0), _own(process))
            except psutil.Error:
                continue
        for role, size in sizes.items():
            watched.setdefault(role, Watched()).times.append(at)
            watched[role].sizes.append(size)


def _role(name: str, command: str) -> str | None:
    """What a process of Ray is for; the largest of a role counts."""
    if "RayTrainWorker" in command or "RayTrainWorker" in name:
        return "train worker, the largest"
    if command.startswith("ray::") and ("Read" in command or "IDLE" in command):
        return "reader, the largest"
    return RAYLET if name == "raylet" else None


def _own(process: psutil.Process) -> float:
    """Resident memory in MiB without what is shared, such as the object store."""
    facts = process.memory_info()
    return (facts.rss - facts.shared) / 2**20


if __name__ == "__main__":
    sys.exit(main())
