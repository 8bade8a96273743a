"""From shards to the training loop: the order's batches, read and decoded ahead of the step that needs them.

`local` reads in a background thread; `distributed` is a Ray Data pipeline for each worker, whose read tasks run
wherever the cluster has CPUs free. Both deliver the same batches, bit for bit.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import UserError
from . import read
from .manifest import Manifest, mixed
from .mixture import Component, Mixture
from .order import Layout, Order, Rows
from .place import Place
from .read import COLUMNS, decode, lengths

Block = tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int32]]
"""Ids, samples and lengths of some steps."""

BLOCK_BYTES = 16 * 2**20
"""Decoded bytes of a block on its way to a worker; Ray's default of 128 MiB doubles a worker's memory."""

CORPUS_BIT = 58
"""From this bit on, the id of a sample of a mixture says which corpus it is from."""

WINDOW_BYTES = 128 * 2**20
"""Stored bytes within which rows are mixed, over all lanes."""

TASKS_AHEAD = 512
"""Read tasks of one Ray Data execution; the next execution opens before this one ends."""


@dataclass(frozen=True)
class Batch:
    """What one worker gets for one step."""

    step: int
    epoch: int
    ids: NDArray[np.int64]
    samples: NDArray[Any]  # (batch of this worker, *shape) of the corpus
    lengths: NDArray[np.int32]  # valid entries of each sample along its first axis


@dataclass(frozen=True)
class Corpus:
    """One split of a prepared corpus, to be read by row numbers."""

    place: str
    manifest: Manifest
    split: str = "train"

    @property
    def stored_bytes(self) -> float:
        """Bytes that are read for a row."""
        if self.manifest.lake is not None:
            return self.manifest.lake.row_bytes
        return sum(shard.bytes for shard in self.manifest.shards()) / self.manifest.rows()

    @cached_property
    def groups(self) -> tuple[list[tuple[str, int]], Rows]:
        """Every row group as (file, index), and the first row of each, with the number of rows at the end."""
        places: list[tuple[str, int]] = []
        rows: list[int] = []
        for shard in self.manifest.shards(self.split):
            places += [(shard.file, i) for i in range(len(shard.row_groups))]
            rows += shard.row_groups
        return places, np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])

    def read(self, rows: Rows) -> pa.Table:
        """The given rows, in the given order; only their row groups are read."""
        places, starts = self.groups
        of_row = np.searchsorted(starts, rows, side="right") - 1
        tables, offsets, offset = [], np.zeros(len(places), dtype=np.int64), 0
        by_file: dict[str, list[int]] = {}
        for group in np.unique(of_row).tolist():
            by_file.setdefault(places[group][0], []).append(group)
        for file, groups in by_file.items():
            tables.append(read.groups(self.place, self.manifest, file, [places[g][1] for g in groups], COLUMNS))
            for group in groups:
                offsets[group] = offset
                offset += starts[group + 1] - starts[group]
        return pa.concat_tables(tables).take(pa.array(offsets[of_row] + rows - starts[of_row]))


@dataclass(frozen=True)
class Plan:
    """All that is needed to read one worker's batches of any step."""

    corpora: tuple[Corpus, ...]
    manifest: Manifest  # of the corpus, or what a mixture of several looks like
    order: Layout
    seed: int
    rank: int = 0
    world: int = 1

    @property
    def per_step(self) -> int:
        """Samples of this worker in a step."""
        return len(self.order.lanes_of(self.rank, self.world)) * self.order.per_lane

    @property
    def steps_per_block(self) -> int:
        """Steps whose decoded samples make up about `BLOCK_BYTES`."""
        return max(1, BLOCK_BYTES // (self.per_step * self.manifest.row_bytes))

    def read(self, numbers: Rows, rows: Rows) -> pa.Table:
        """Rows of corpora, in the given order; an id says in its upper bits which corpus it is from."""
        if len(self.corpora) == 1:
            return self.corpora[0].read(rows)
        tables, places, offset = [], np.empty(len(rows), np.int64), 0
        for number in np.unique(numbers).tolist():
            (here,) = np.nonzero(numbers == number)
            table = self.corpora[number].read(rows[here])
            ids = pa.array(table["id"].to_numpy() + (number << CORPUS_BIT))
            tables.append(table.set_column(0, table.schema.field("id"), ids))
            places[here] = offset + np.arange(len(here))
            offset += len(here)
        return pa.concat_tables(tables).take(pa.array(places))

    def blocks(self, first: int, last: int) -> Iterator[Block]:
        """Ids, decoded samples and lengths of steps first ... last - 1, all in one window, some steps at a time."""
        epoch, step = divmod(first, self.order.steps)
        window, begin = divmod(step, self.order.window)
        samples = self.order.window_samples(epoch, window, self.order.lanes_of(self.rank, self.world))
        numbers, rows = (part[begin : begin + last - first].reshape(-1) for part in samples)
        table = self.read(numbers, rows)
        size = self.steps_per_block * self.per_step
        for start in range(0, len(table), size):
            part = table.slice(start, size)
            yield part["id"].to_numpy(), decode(part, self.manifest), lengths(part)

    def spans(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Steps first ... last - 1 cut where windows and epochs end."""
        while first < last:
            epoch, step = divmod(first, self.order.steps)
            end = min((step // self.order.window + 1) * self.order.window, self.order.steps)
            stop = min(epoch * self.order.steps + end, last)
            yield first, stop
            first = stop

    def batches(self, first: int, block: Block) -> Iterator[Batch]:
        """The batches of a block whose first step is `first`."""
        ids, samples, valid = block
        for i in range(0, len(ids), self.per_step):
            step, own = first + i // self.per_step, slice(i, i + self.per_step)
            yield Batch(step, step // self.order.steps, ids[own], samples[own], valid[own])


def plan(
    corpus: Place | Mapping[str, float], batch: int, seed: int, lanes: int, max_samples: int | None = None
) -> Plan:
    """How to read prepared corpora in global batches of `batch`.

    Args:
        corpus: where a corpus is; or several, with the weight of each in the mixture.
        batch: samples of a step over all workers.
        seed: fixes the order.
        lanes: at least the number of workers; fixes the order too.
        max_samples: of an epoch; by default all.

    Raises:
        UserError: a corpus is missing or too small, or corpora do not fit together.
    """
    weights = {str(corpus): 1.0} if isinstance(corpus, str | Path) else dict(corpus)
    corpora = tuple(Corpus(where, Manifest.read(where)) for where in weights)
    for one in corpora:
        if not one.manifest.rows(one.split):
            raise UserError(f"corpus {one.manifest.name!r} has no samples in split {one.split!r}")
    stored = sum(
        weight / sum(weights.values()) * one.stored_bytes for one, weight in zip(corpora, weights.values(), strict=True)
    )
    window = max(1, int(WINDOW_BYTES // max(1, batch * stored)))
    chunks = [max(one.manifest.shards()[0].row_groups) for one in corpora]
    if len(corpora) == 1:
        order: Layout = Order(corpora[0].manifest.rows(), batch, seed, lanes, chunks[0], window, max_samples)
        return Plan(corpora, corpora[0].manifest, order, seed)
    manifest = mixed([one.manifest for one in corpora], list(weights.values()))
    parts = tuple(
        Component(where, one.manifest.rows(), weight, chunk)
        for (where, weight), one, chunk in zip(weights.items(), corpora, chunks, strict=True)
    )
    return Plan(corpora, manifest, Mixture(parts, batch, seed, lanes, window, max_samples), seed)


def manifest_of(corpus: Place | Mapping[str, float]) -> Manifest:
    """The manifest of a corpus, or what a mixture looks like."""
    if isinstance(corpus, str | Path):
        return Manifest.read(corpus)
    return mixed([Manifest.read(where) for where in corpus], list(corpus.values()))


def local(plan: Plan, first: int, last: int, stall_seconds: float = 120.0) -> Iterator[Batch]:
    """The batches of steps first ... last - 1, read by a thread of this process."""

    def produce() -> Iterator[Batch]:
        for begin, end in plan.spans(first, last):
            for block in plan.blocks(begin, end):
                yield from plan.batches(begin, block)
                begin += len(block[0]) // plan.per_step

    return _ahead(produce, stall_seconds, depth=2 * plan.steps_per_block)


def distributed(plan: Plan, first: int, last: int, stall_seconds: float = 120.0) -> Iterator[Batch]:
    """The batches of steps first ... last - 1, read and decoded by Ray Data tasks anywhere in the cluster."""
    spans = list(plan.spans(first, last))
    legs = [spans[i : i + TASKS_AHEAD] for i in range(0, len(spans), TASKS_AHEAD)]

    def produce() -> Iterator[Batch]:
        with ThreadPoolExecutor(1, "open-stream") as opener:
            upcoming: Future[tuple[Any, Any]] | None = None
            for number, leg in enumerate(legs):
                tables, table = (upcoming or opener.submit(_open, plan, leg)).result()
                upcoming, step, end = None, leg[0][0], leg[-1][1]
                while table is not None:
                    yield Batch(step, step // plan.order.steps, *_columns(table, plan))
                    step += 1
                    if upcoming is None and number + 1 < len(legs) and step > end - (end - leg[0][0]) // 4:
                        upcoming = opener.submit(_open, plan, legs[number + 1])
                    table = next(tables, None)
                if step != end:
                    raise RuntimeError(f"Ray Data delivered steps up to {step} of {end}; no sample may be lost")

    return _ahead(produce, stall_seconds, depth=4)


def _open(plan: Plan, spans: list[tuple[int, int]]) -> tuple[Iterator[pa.Table], pa.Table | None]:
    """Start a Ray Data execution over the spans; the first batch is already there when this returns."""
    import ray

    from .datasource import planned

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.target_max_block_size = 4 * BLOCK_BYTES  # blocks are cut by the plan, not by Ray
    context.enable_progress_bars = False
    dataset = ray.data.read_datasource(planned(plan, spans), override_num_blocks=len(spans))
    tables = iter(dataset.iter_batches(batch_size=plan.per_step, batch_format="pyarrow", prefetch_batches=2))
    return tables, next(tables, None)


def _columns(table: pa.Table, plan: Plan) -> Block:
    """Ids, samples and lengths of a table of decoded rows, without a copy."""
    column, width = table["sample"].combine_chunks(), plan.manifest.row_bytes
    flat = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width : (column.offset + len(column)) * width]
    samples = flat.view(plan.manifest.dtype).reshape(len(column), *plan.manifest.shape)
    return table["id"].to_numpy(), samples, lengths(table)


def _own(error: BaseException) -> BaseException:
    """What a Ray task raised, without Ray's wrapping, where it was meant for the user."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, UserError):
        inner = getattr(inner, "cause", None) or inner.__cause__
    return inner or error


_END = object()


def _ahead(produce: Callable[[], Iterator[Batch]], stall_seconds: float, depth: int) -> Iterator[Batch]:
    """Run a producer in a thread, a few batches ahead; its errors are raised here, its silence too."""
    ready: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Any) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def run() -> None:
        try:
            for batch in produce():
                put(batch)
                if stopped.is_set():
                    return
            put(_END)
        except BaseException as error:
            put(error)

    threading.Thread(target=run, name="stream", daemon=True).start()
    try:
        while True:
            try:
                item = ready.get(timeout=stall_seconds)
            except queue.Empty:
                raise UserError(
                    f"no data arrived for {stall_seconds:.0f} s: the corpus's storage is stalled, or no CPU of the "
                    "cluster is left for reading (lower workers or cpus_per_worker)"
                ) from None
            if item is _END:
                return
            if isinstance(item, BaseException):
                raise _own(item)
            yield item
    finally:
        stopped.set()
