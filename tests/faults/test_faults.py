"""Whatever is done to a run, the same command ends it in the same state."""

import os
from pathlib import Path

import pytest

from . import scenarios
from .runs import EVERY

FAST = ("flipped_bit", "damaged_shard")  # in `make test`; the others in `make test-all`, see also tests/cluster
ROOT_ONLY = ("disk_full",)
OTHER_STATE = ("drained", "node_lost", "node_added")  # another number of workers adds floats in another order


def _marked(name: str) -> object:
    marks = [] if name in FAST else [pytest.mark.slow]
    if name in ROOT_ONLY:
        marks.append(pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"))
    return pytest.param(name, marks=marks)


@pytest.mark.cluster
@pytest.mark.parametrize("name", [_marked(name) for name in scenarios.ALL])
def test_a_run_ends_as_if_nothing_had_happened(name: str, digits: Path, tmp_path: Path):
    outcome = scenarios.ALL[name](tmp_path, digits)
    assert not outcome.broken
    assert outcome.same or name in OTHER_STATE
    assert outcome.replayed <= 2 * EVERY
