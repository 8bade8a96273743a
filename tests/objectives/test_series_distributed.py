"""Objectives of series that couple samples: two workers equal one, in loss and gradient."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from selfray import objectives
from selfray.encoders.cpc1d import CPC1d
from selfray.encoders.dilated import Dilated
from selfray.encoders.tst import TST
from selfray.views.random import sample_keys

sys.path.insert(0, str(Path(__file__).parents[1]))
from workers import together

CASES = {
    "ts2vec": (Dilated, {}),
    "triplet": (Dilated, {"negatives": 3}),
    "masked": (TST, {"ratio": 0.3}),
    "cpc": (CPC1d, {"ahead": 3, "negatives": 20}),
    "ts_tcc": (Dilated, {"ahead": 3, "width": 8, "layers": 1}),
}
SETTINGS = {
    Dilated: {"hidden": 4, "depth": 2},
    TST: {"heads": 2, "hidden": 8, "layers": 1},
    CPC1d: {"inner": 8, "stages": 1},
}


def learned(rank, world):
    """The mean loss, and the gradients that workers agree on, of every case."""
    found = {}
    for name, (encoder, settings) in CASES.items():
        torch.manual_seed(3)
        model = objectives.find(name)(encoder(2, (12,), width=8, dropout=0.0, **SETTINGS[encoder]), **settings).double()
        if world > 1:
            from selfray.parts.norm import synchronise

            synchronise(model)
        rows = torch.randn(8, 12, 2, dtype=torch.double, generator=torch.Generator().manual_seed(5))
        rows[1, 7:], rows[6, 3:5, 0] = torch.nan, torch.nan  # workers have different numbers of values
        mine = slice(rank * 8 // world, (rank + 1) * 8 // world)
        seen = {"images": rows[mine], "keys": sample_keys(torch.arange(8), 0, 0)[mine]}
        if model.views == "pair":
            seen = {"first": rows[mine], "second": rows.flip(1)[mine].nan_to_num()}
        wrapped = DistributedDataParallel(model) if world > 1 else model  # its hooks live as long as it does
        loss, _ = wrapped(seen)
        loss.backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found[name] = {"loss": loss.detach(), "gradients": gradients}
    return found


@pytest.fixture(scope="module")
def both():
    return learned(0, 1), together(2, learned, 2)


@pytest.mark.parametrize("name", CASES)
def test_two_workers_equal_one(name, both):
    alone, workers = both
    mean = sum(worker[name]["loss"] for worker in workers) / 2
    torch.testing.assert_close(mean, alone[name]["loss"], rtol=1e-5, atol=1e-7)
    for worker in workers:
        torch.testing.assert_close(worker[name]["gradients"], alone[name]["gradients"], rtol=1e-4, atol=1e-6)
