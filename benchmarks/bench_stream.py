"""Ways to read a prepared corpus of images for training: how fast, how much memory, and how exact.

    python benchmarks/bench_stream.py [--quick]

selfray's own streams, which training uses, beside what the documentation of Ray Data and of torch would have a user
write: `read_parquet` with a local shuffle, `streaming_split`, and a `DataLoader` over the same Parquet files. Each way
runs twice, in a process of its own: the first run is timed, the second is watched and compared with the first. The
tables go into docs/experiments.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import machine
import numpy as np
import psutil
import pyarrow.parquet as pq
import results
from numpy.typing import NDArray

from selfray.corpus import catalogue, read, stream
from selfray.corpus.manifest import Manifest, Shard

DOCUMENT = results.HERE.parent / "docs" / "experiments.md"
BEGIN, END = "<!-- stream: begin -->", "<!-- stream: end -->"
LANES, SEED = 8, 7
LOADER_WORKERS = 2
ORDER_EPOCHS = 2  # what the second run compares with the first
SECONDS_OF_A_RUN = 300
WATCH_SECONDS = 0.25

Batch = tuple[int, NDArray[np.int64], NDArray[np.uint8]]
"""Epoch, ids, and images (of this worker, height, width, channels)."""

Source = Callable[[stream.Plan, int, int], Iterator[stream.Batch]]


@dataclass(frozen=True)
class Setting:
    """What all ways read."""

    corpus: str
    batch: int  # over all workers
    buffer: int  # rows within which Ray Data and the loader shuffle

    @property
    def manifest(self) -> Manifest:
        """Of the corpus."""
        return Manifest.read(self.corpus)

    @property
    def files(self) -> list[str]:
        """The Parquet files of the training split."""
        return [str(Path(self.corpus, shard.file)) for shard in self.manifest.shards()]


@dataclass(frozen=True)
class Part:
    """Which batches are wanted: the epochs, batches left out at the first one's beginning, and the worker's share."""

    epochs: range
    skip: int = 0
    rank: int = 0
    world: int = 1


def own(source: Source, setting: Setting, part: Part) -> Iterator[Batch]:
    """selfray's stream; it goes to a step without reading what comes before."""
    whole = stream.plan(setting.corpus, setting.batch, SEED, LANES)
    plan, steps = replace(whole, rank=part.rank, world=part.world), whole.order.steps
    for batch in source(plan, part.epochs.start * steps + part.skip, part.epochs.stop * steps):
        yield batch.epoch, batch.ids, batch.samples


def dataset(setting: Setting, kept: bool, seed: int = SEED) -> Any:
    """The corpus as Ray Data reads it; `kept` keeps the order and seeds the files' shuffle, so that it can repeat."""
    import ray

    ray.data.DataContext.get_current().execution_options.preserve_order = kept
    shuffle: Any = ray.data.FileShuffleConfig(seed=seed) if kept else "files"
    rows = ray.data.read_parquet(setting.files, columns=["id", "data"], shuffle=shuffle)
    return rows.map_batches(_decoded, batch_format="pyarrow", fn_kwargs={"manifest": setting.manifest})


def _decoded(table: Any, manifest: Manifest) -> dict[str, Any]:
    return {"id": table["id"].to_numpy(), "image": read.decode(table, manifest)}


def ray_data(kept: bool, setting: Setting, part: Part) -> Iterator[Batch]:
    """Ray Data with a local shuffle; a file shuffle that can be begun at any epoch needs a dataset for each."""
    once = None if kept else dataset(setting, kept)
    for epoch in part.epochs:
        rows = once or dataset(setting, kept, SEED + epoch)
        yield from islice(_epoch(rows, setting, part, epoch), part.skip * (epoch == part.epochs.start), None)


def split(shard: Any, setting: Setting, part: Part) -> Iterator[Batch]:
    """One of the iterators of a `streaming_split`, which begins with the first epoch whatever is wanted."""
    rest = part.skip
    for epoch in range(part.epochs.stop):
        for batch in _epoch(shard, setting, part, epoch):
            if epoch < part.epochs.start:
                continue
            if rest:
                rest -= 1
            else:
                yield batch


def _epoch(rows: Any, setting: Setting, part: Part, epoch: int) -> Iterator[Batch]:
    batches = rows.iter_batches(
        batch_size=setting.batch // part.world,
        drop_last=True,
        local_shuffle_buffer_size=setting.buffer // part.world,
        local_shuffle_seed=SEED + epoch,
    )
    for batch in batches:
        yield epoch, batch["id"], batch["image"]


def loader(setting: Setting, part: Part) -> Iterator[Batch]:
    """A torch DataLoader; its workers share the row groups, and shuffle within a buffer. All is seeded."""
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    manifest, files, size = setting.manifest, setting.files, setting.batch // part.world
    groups = [(file, n) for file in files for n in range(pq.ParquetFile(file).num_row_groups)]

    class Shards(IterableDataset):
        epoch = part.epochs.start

        def __iter__(self) -> Iterator[Batch]:
            me, epoch = part.rank * LOADER_WORKERS + get_worker_info().id, self.epoch
            self.epoch += 1  # the workers stay, and so does their copy of this object
            order = np.random.default_rng((SEED, epoch)).permutation(len(groups))[me :: part.world * LOADER_WORKERS]
            draw, waiting = np.random.default_rng((SEED, epoch, me)), []
            for count, (file, number) in enumerate((groups[place] for place in order), 1):
                table = pq.ParquetFile(file).read_row_group(number, columns=["id", "data"])
                waiting.append((table["id"].to_numpy(), read.decode(table, manifest)))
                if count < len(order) and sum(len(ids) for ids, _ in waiting) < setting.buffer // LOADER_WORKERS:
                    continue
                ids, images = (np.concatenate(column) for column in zip(*waiting, strict=True))
                places = draw.permutation(len(ids))
                whole = len(ids) // size * size
                for start in range(0, whole, size):
                    yield epoch, ids[places[start : start + size]], images[places[start : start + size]]
                waiting = [(ids[places[whole:]], images[places[whole:]])]

    batches = DataLoader(Shards(), batch_size=None, num_workers=LOADER_WORKERS, persistent_workers=True)
    for number, _ in enumerate(part.epochs):
        for epoch, ids, images in islice(batches, 0 if number else part.skip, None):
            yield epoch, ids.numpy(), images.numpy()


@dataclass(frozen=True)
class Way:
    """A way to read; `make` gives the batches of a part."""

    make: Callable[[Setting, Part], Iterator[Batch]] | None  # None: iterators of a `streaming_split`
    workers: int = 1
    kept: bool = False  # of a `streaming_split`: its order
    ray: bool = True
    own: bool = False
    longer: int = 1  # so many times the epochs are timed, where they are too short to say anything
    twin: str = ""  # the way that reads the same for two workers; without one, two workers are tried one by one


WAYS = {
    "selfray, a thread": Way(partial(own, stream.local), ray=False, own=True, longer=25),
    "selfray, Ray Data": Way(
        partial(own, stream.distributed), own=True, longer=25, twin="selfray, Ray Data, two workers"
    ),
    "selfray, Ray Data, two workers": Way(partial(own, stream.distributed), 2, own=True, longer=25),
    "`read_parquet`": Way(partial(ray_data, False), twin="`streaming_split(2)`"),
    "`read_parquet`, order kept": Way(partial(ray_data, True), twin="`streaming_split(2)`, order kept"),
    "`streaming_split(2)`": Way(None, 2),
    "`streaming_split(2)`, order kept": Way(None, 2, kept=True),
    "`DataLoader`": Way(loader, ray=False, longer=5),
}


def main() -> None:
    """Measure every way and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--corpus", type=Path, help="a prepared corpus of images; mnist-5k by default")
    parser.add_argument("--copies", type=int, default=8, help="how often the corpus's rows are repeated")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--buffer", type=int, default=4096, help="rows of the others' shuffle buffers")
    parser.add_argument("--epochs", type=int, default=4, help="that are timed; more where they are short")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--quick", action="store_true", help="two copies and epochs; nothing is written")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # way, file of the setting, file of the answer
    asked = parser.parse_args()
    if asked.one:
        way, given, answer = asked.one
        measure(WAYS[way], answer=Path(answer), **json.loads(Path(given).read_text(encoding="utf-8")))
        return
    if asked.quick:
        asked.copies, asked.epochs = 2, 2
    if asked.epochs < ORDER_EPOCHS:
        parser.error(f"--epochs {asked.epochs} is too few to see a change of epoch; give {ORDER_EPOCHS} or more")
    source = asked.corpus or catalogue.fetch("mnist-5k")
    manifest, facts = Manifest.read(source), machine.facts()
    if manifest.kind != "image" or manifest.lake is not None:
        parser.error(f"{source} has no images in its own shards; name a corpus made by `selfray corpus prepare`")
    with tempfile.TemporaryDirectory(prefix="selfray-bench-") as folder:
        corpus = repeated(source.resolve(), asked.copies, Path(folder, "corpus"))
        setting = Setting(str(corpus), asked.batch, asked.buffer)
        found = {name: both(name, setting, asked.epochs, Path(folder)) for name in asked.ways}
        tables = [speeds(found), exactness(found, setting)]
        about = _about(setting, asked.copies)
    facts["load_after"] = [round(load, 2) for load in os.getloadavg()]
    for title, (header, rows) in zip(("speed and memory", "exactness"), tables, strict=True):
        results.show(title, header, rows)
    if asked.quick:
        print(f"a quick run shows that everything runs; {asked.document.name} is as it was")
        return
    results.append(results.LINES, [{"benchmark": "stream", **facts, "tables": tables}])
    text = "\n\n".join([results.provenance(facts), about, *(results.table(*table) for table in tables)])
    before, rest = asked.document.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    asked.document.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    print(f"written to {asked.document}")


def repeated(corpus: Path, copies: int, folder: Path) -> Path:
    """The training split of a corpus so many times, every row of every copy with an id of its own."""
    manifest, shards = Manifest.read(corpus), []
    (folder / "train").mkdir(parents=True)
    tables = [pq.ParquetFile(corpus / shard.file) for shard in manifest.shards()]
    apart = 1 + max(int(np.max(table.read(["id"])["id"].to_numpy())) for table in tables)
    for copy in range(copies):
        for shard, table in zip(manifest.shards(), tables, strict=True):
            file = f"train/{copy:03d}-{Path(shard.file).name}"
            with pq.ParquetWriter(folder / file, table.schema_arrow, compression="none") as writer:
                for number in range(table.num_row_groups):
                    group = table.read_row_group(number)
                    ids = np.asarray(group["id"]) + copy * apart
                    writer.write_table(group.set_column(0, group.schema.field("id"), [ids]))
            size = (folder / file).stat().st_size
            shards.append(Shard(file, shard.rows, size, "not read here", shard.row_groups))
    replace(manifest, splits={"train": tuple(shards)}).write(folder)
    return folder


# What a process of its own measures


def measure(way: Way, setting: dict[str, Any], epochs: int, first: bool, answer: Path) -> None:
    """The first run, or all that the second one finds."""
    import torch.utils.data  # noqa: F401  # every process that trains has it; it is no part of a way's figures

    given = Setting(**setting)
    if way.ray:
        from selfray import cluster

        cluster.start()
    read_by = Readers(way, given)
    if first:
        np.savez(answer, **read_by.batches(Part(range(epochs * way.longer))))
        return
    before = Memory()
    with before:
        time.sleep(2 * WATCH_SECONDS)
    with Memory() as during:
        found = read_by.batches(Part(range(ORDER_EPOCHS)), check=True)
    half = int((found["epochs"] == 1).sum()) // 2
    again = read_by.batches(Part(range(1, 2), skip=half), only=1)
    found |= {"memory": during.peak, "memory_before": before.peak, "half": half, "went_on": again["ids"][0]}
    found |= {"seconds_to_go_on": again["times"][0], "rows_again": _rows_again(way, given, half)}
    if not way.twin and way.workers == 1:
        parts = [consume(way.make, given, Part(range(1), rank=rank, world=2)) for rank in range(2)]
        steps = min(len(part["ids"]) for part in parts)
        found["two"] = np.concatenate([part["ids"][:steps] for part in parts], axis=1)
    np.savez(answer, **found)


class Readers:
    """What reads in one way: this process, or two actors whose batches make up one."""

    def __init__(self, way: Way, setting: Setting):
        self.way, self.setting = way, setting
        if way.workers > 1:
            import ray

            actor = ray.remote(num_cpus=0)(Consumer)
            self.actors = [actor.remote() for _ in range(way.workers)]
            ray.get([one.ready.remote() for one in self.actors])

    def batches(self, part: Part, check: bool = False, only: int | None = None) -> dict[str, Any]:
        """What was seen of the batches of a part, times in seconds from this call."""
        begun = time.monotonic()
        if self.way.workers == 1:
            found = consume(self.way.make, self.setting, part, check, only)
        else:
            found = self._merged(part, check, only)
        return {**found, "times": found["times"] - begun}

    def _merged(self, part: Part, check: bool, only: int | None) -> dict[str, Any]:
        import ray

        workers = len(self.actors)
        makes: list[Any] = [self.way.make] * workers
        if self.way.make is None:
            shards = dataset(self.setting, self.way.kept).streaming_split(workers, equal=True)
            makes = [partial(split, shard) for shard in shards]
        shares = [replace(part, rank=rank, world=workers) for rank in range(workers)]
        jobs = zip(self.actors, makes, shares, strict=True)
        seen = ray.get([actor.consume.remote(make, self.setting, share, check, only) for actor, make, share in jobs])
        if len({len(one["times"]) for one in seen}) > 1:
            raise RuntimeError(f"workers got {[len(one['times']) for one in seen]} batches")
        joined = {key: np.concatenate([one[key] for one in seen], axis=1) for key in ("ids", "sums")}
        return {**joined, "epochs": seen[0]["epochs"], "times": np.max([one["times"] for one in seen], axis=0)}


class Consumer:
    """A worker of its own process."""

    def ready(self) -> None:
        """Answer once the process is there, and has what a worker that trains has."""
        import torch.utils.data  # noqa: F401

    def consume(self, *given: Any) -> dict[str, Any]:
        """As the function of that name."""
        return consume(*given)


def consume(
    make: Any, setting: Setting, part: Part, check: bool = False, only: int | None = None
) -> dict[str, NDArray[Any]]:
    """Take the batches of a part, or only so many, as fast as they come, and touch every pixel.

    Returns:
        For each batch the `times` when it was there (of the machine's monotonic clock) and its `epochs`; `ids`, and
        with `check` the checksums of the images as `sums`, both (batches, rows of a batch).
    """
    times, epochs, ids, sums = [], [], [], []
    for epoch, of_batch, images in islice(make(setting, part), only):
        times.append(time.monotonic())
        images.max()
        epochs.append(int(epoch))
        ids.append(np.array(of_batch))
        sums.append([zlib.crc32(np.ascontiguousarray(image)) if check else 0 for image in images])
    return {"times": np.array(times), "epochs": np.array(epochs), "ids": np.array(ids), "sums": np.array(sums)}


class Memory:
    """Watches what this process and all that it started take: MiB, what they share counted once (PSS)."""

    def __init__(self) -> None:
        self.peak, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._over.wait(WATCH_SECONDS):
            taken = 0
            for process in (me, *me.children(recursive=True)):
                with suppress(psutil.Error):
                    taken += process.memory_full_info().pss
            self.peak = max(self.peak, taken / 2**20)


def _rows_again(way: Way, setting: Setting, skip: int) -> int:
    """Rows that are read to go on after `skip` batches of the second epoch, beyond those that are then delivered."""
    if not way.own:
        behind = 0 if way.make else setting.manifest.rows()  # a split begins with the first epoch
        return behind + skip * setting.batch
    taken, groups = [], read.groups

    def counted(*given: Any) -> Any:
        table = groups(*given)
        taken.append(len(table))
        return table

    with patch.object(read, "groups", counted):
        delivered = 0
        for rank in range(way.workers):
            part = Part(range(1, 2), skip, rank, way.workers)
            delivered += sum(len(ids) for _, ids, _ in own(stream.local, setting, part))
    return sum(taken) - delivered


# What the processes found, as tables


def both(name: str, setting: Setting, epochs: int, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both runs of a way."""
    found = []
    for first in (True, False):
        given, answer = folder / "given.json", folder / "answer.npz"
        asked = {"setting": asdict(setting), "epochs": epochs, "first": first}
        given.write_text(json.dumps(asked), encoding="utf-8")
        command = [sys.executable, __file__, "--one", name, str(given), str(answer)]
        begun = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_OF_A_RUN, check=False)
        if done.returncode:
            sys.exit(f"{done.stdout}{done.stderr}{name} failed")
        found.append(dict(np.load(answer)))
        print(f"  {name:<34} run {len(found)} of 2 took {time.monotonic() - begun:.0f} s", flush=True)
    return found[0], found[1]


Found = dict[str, tuple[dict[str, Any], dict[str, Any]]]


def speeds(found: Found) -> tuple[list[str], list[list[str]]]:
    """Figures of the timed runs, and the memory of the watched ones."""
    rows = []
    for name, (timed, watched) in found.items():
        times = timed["times"]
        rate = timed["ids"][1:].size / (times[-1] - times[0])
        epochs = len(np.unique(timed["epochs"]))
        figures = [f"{times[0]:.2f}", f"{rate:,.0f}", str(epochs), f"{np.diff(times).max():.2f}"]
        rows.append([name, *figures, f"{watched['memory']:,.0f}", f"{watched['memory_before']:,.0f}"])
    return ["", "first batch, s", "rows/s", "epochs", "longest gap, s", "peak memory, MiB", "before reading"], rows


def exactness(found: Found, setting: Setting) -> tuple[list[str], list[list[str]]]:
    """What can be said of the order; the images are checked on the way."""
    corpus = read.read_rows(setting.corpus, "train", slice(None))
    sums = dict(zip(corpus["id"].tolist(), map(zlib.crc32, corpus["data"]), strict=True))
    rows = []
    for name, (first, second) in found.items():
        if [sums[one] for one in second["ids"].flat] != second["sums"].ravel().tolist():
            raise RuntimeError(f"{name} delivered images that are not those of the ids")
        order = first["ids"][: len(second["ids"])]
        place = int(np.flatnonzero(second["epochs"] == 1)[0] + second["half"])
        same = np.array_equal(order, second["ids"])
        goes_on = np.array_equal(first["ids"][place], second["went_on"])
        cost = f"{int(second['rows_again']):,} rows read again, {float(second['seconds_to_go_on']):.2f} s"
        answers = [_once(second, setting), "yes" if same else "no", _with_two(name, found)]
        rows.append([name, *answers, cost if goes_on else "impossible"])
    head = ["", "every row once an epoch", "same order in a second run", "same steps with two workers"]
    return [*head, "to go on in the middle of the second epoch"], rows


def _once(run: dict[str, Any], setting: Setting) -> str:
    """Whether an epoch has every row once, but for a rest that fills no batch."""
    total = setting.manifest.rows() // setting.batch * setting.batch
    epochs = [run["ids"][run["epochs"] == epoch].ravel() for epoch in range(ORDER_EPOCHS)]
    twice = max(ids.size - len(np.unique(ids)) for ids in epochs)
    missing = max(total - len(np.unique(ids)) for ids in epochs)
    said = [f"{missing:,} missing"] * (missing > 0) + [f"{twice:,} twice"] * (twice > 0)
    return "no, " + ", ".join(said) if said else "yes"


def _with_two(name: str, found: Found) -> str:
    """Whether the ids of each step of the first epoch are the same set for one worker and for two."""
    alone = next((other for other, way in WAYS.items() if way.twin == name), name)
    pair = WAYS[alone].twin
    if not {alone, pair or alone} <= set(found):
        return "not measured"
    one, two = (found[which][0] for which in (alone, pair or alone))
    of_one = one["ids"][one["epochs"] == 0]
    of_two = two["ids"][two["epochs"] == 0] if pair else found[alone][1]["two"]
    return "yes" if np.array_equal(np.sort(of_one, axis=1), np.sort(of_two, axis=1)) else "no"


def _about(setting: Setting, copies: int) -> str:
    """What was read, as a sentence."""
    manifest = setting.manifest
    shape = " x ".join(map(str, manifest.shape))
    return (
        f"`{manifest.name}` {copies} times, with ids of their own: {manifest.rows():,} images of {shape} in "
        f"{len(manifest.shards())} files. Batches of {setting.batch}; shuffle buffers of {setting.buffer:,} rows."
    )


if __name__ == "__main__":
    main()
