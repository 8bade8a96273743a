"""The Ray Data source of a plan: one read task for each span of steps, in order."""

from collections.abc import Iterable
from functools import partial

import numpy as np
import pyarrow as pa
import ray
from ray.data.block import Block, BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from .stream import Plan


def planned(plan: Plan, spans: list[tuple[int, int]]) -> Datasource:
    """A Ray Data source whose blocks hold the plan's batches in the plan's order."""
    return _Planned(plan, spans)


class _Planned(Datasource):
    def __init__(self, plan: Plan, spans: list[tuple[int, int]]):
        super().__init__()
        self._plan, self._spans = plan, spans

    def get_name(self) -> str:
        return "SelfrayStream"

    def estimate_inmemory_data_size(self) -> int | None:
        return sum(self._bytes(*span) for span in self._spans)

    def _bytes(self, first: int, last: int) -> int:
        return (last - first) * self._plan.per_step * (self._plan.manifest.row_bytes + 12)

    def get_read_tasks(self, parallelism: int, *args: object, **kwargs: object) -> list[ReadTask]:
        shared = ray.put(self._plan)  # once, not once a task
        return [
            ReadTask(
                partial(_read, shared, first, last),
                BlockMetadata(
                    num_rows=(last - first) * self._plan.per_step,
                    size_bytes=self._bytes(first, last),
                    input_files=None,
                    exec_stats=None,
                ),
            )
            for first, last in self._spans
        ]


def _read(shared: "ray.ObjectRef[Plan]", first: int, last: int) -> Iterable[Block]:
    plan = ray.get(shared)
    width = plan.manifest.row_bytes
    for ids, samples, valid in plan.blocks(first, last):
        flat = pa.py_buffer(np.ascontiguousarray(samples).view(np.uint8))
        column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(ids), [None, flat])
        yield pa.table({"id": pa.array(ids), "sample": column, "length": pa.array(valid)})
