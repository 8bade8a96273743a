"""Workers with parts of a batch, equal or not, equal one worker with the whole batch."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from selfray import objectives
from selfray.corpus.order import Order
from selfray.encoders.conv import Conv

sys.path.insert(0, str(Path(__file__).parents[1]))
from workers import together

CASES = {
    "simclr": ("simclr", {"width": 4}),
    "simsiam": ("simsiam", {"width": 8, "bottleneck": 4}),
    "moco-shuffled": ("moco", {"width": 4, "queue_size": 20, "batch_norm": "shuffle"}),
    "moco-v3": ("moco", {"width": 4, "queue_size": 0, "symmetric": True, "predictor": True, "projector": "mlp3",
                         "batch_norm": "synchronise"}),
    "byol": ("byol", {"hidden": 8, "width": 4, "momentum": 0.9}),
    "barlow_twins": ("barlow_twins", {"hidden": 8, "width": 6}),
    "vicreg": ("vicreg", {"hidden": 8, "width": 6}),
    "dino": ("dino", {"prototypes": 12, "hidden": 8, "width": 4, "momentum": 0.9, "frozen": 0.5}),
    "dino-sinkhorn": ("dino", {"prototypes": 12, "hidden": 8, "width": 4, "centring": "sinkhorn", "frozen": 0.0}),
    "swav": ("swav", {"prototypes": 12, "hidden": 8, "width": 4, "frozen": 0.5}),
    "swav-queue": ("swav", {"prototypes": 12, "hidden": 8, "width": 4, "queue_size": 21, "queue_after": 0.3}),
    "deepcluster": ("deepcluster", {"clusters": 5}),
}  # fmt: skip
ORDER = Order(160, 16, seed=0, lanes=8)


def made(name, settings):
    torch.manual_seed(3)
    return objectives.find(name)(Conv(1, (8, 8), width=8, stages=1), **settings).double()


def batches():
    return torch.rand(3, 2, 16, 1, 8, 8, dtype=torch.double, generator=torch.Generator().manual_seed(5))


def seen_of(model, views, rank, world):
    """What a worker's loss takes of a batch."""
    from selfray.train.build import asks_for_ids

    first, second = (view.split(sizes(world))[rank] for view in views)
    seen = {"first": first, "second": second}
    if model.views == "multi_crop":
        seen["local"] = torch.stack([first.flip(-1), second.flip(-2)])[..., 1:7, 1:7]
    return seen | ({"ids": torch.arange(16).split(sizes(world))[rank]} if asks_for_ids(model) else {})


def sizes(world):
    return [len(ORDER.lanes_of(rank, world)) * ORDER.per_lane for rank in range(world)]


def trained(rank, world):
    """What `trained_case` returns for each case."""
    return {case: trained_case(rank, world, *CASES[case]) for case in CASES}


def trained_case(rank, world, name, settings):
    """The mean loss of each step, gradients of the first step, and the state after three."""
    from selfray.parts.norm import synchronise
    from selfray.train import distributed

    model = made(name, settings)
    distributed.share(sizes(world))
    if settings.get("batch_norm") == "shuffle":
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()  # statistics are another test's matter
    if world > 1 and model.synchronised_batch_norm:
        synchronise(model)
    wrapped = DistributedDataParallel(model, forward_sync_buffers=False) if world > 1 else model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    losses, gradients = [], {}
    for step, views in enumerate(batches()):
        loss, _ = wrapped(seen_of(model, views, rank, world))
        optimizer.zero_grad()
        (loss * distributed.weight()).backward()
        if step == 0:
            gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
        model.after_step((step + 1) / 3)
        losses.append(distributed.mean(loss).item())
    return losses, gradients, copy.deepcopy(model.state_dict())


@pytest.fixture(scope="module", params=[2, 3])
def workers(request):
    """What each worker made of every case; of three workers, two have three of the eight lanes and one has two."""
    return together(request.param, trained, request.param)


@pytest.mark.parametrize("case", CASES)
def test_workers_with_equal_or_unequal_parts_of_the_batch_equal_one(case, workers):
    expected_losses, expected_gradients, expected_state = trained_case(0, 1, *CASES[case])
    for losses, gradients, state in (worker[case] for worker in workers):
        assert losses == pytest.approx(expected_losses, rel=1e-9)
        for key, gradient in expected_gradients.items():
            torch.testing.assert_close(gradients[key], gradient, rtol=1e-7, atol=1e-10)
        for key, value in expected_state.items():
            torch.testing.assert_close(state[key], value, rtol=1e-7, atol=1e-9)
            if "queue" in key:
                assert torch.equal(state[key], workers[0][case][2][key])


def shuffled(rank):
    from selfray.train.distributed import shuffle, unshuffle

    mine = torch.arange(4.0)[:, None] + 10 * rank
    mixed, restore = shuffle(mine)
    return mine, mixed, unshuffle(mixed * 2, restore)


def test_shuffling_exchanges_rows_between_workers_and_unshuffling_puts_results_back():
    (mine0, mixed0, back0), (mine1, mixed1, back1) = together(2, shuffled)
    assert sorted(torch.cat([mixed0, mixed1]).flatten().tolist()) == sorted(
        torch.cat([mine0, mine1]).flatten().tolist()
    )
    assert not torch.equal(mixed0.sort(0).values, mine0)
    assert torch.equal(back0, mine0 * 2)
    assert torch.equal(back1, mine1 * 2)


def unevenly(rank):
    from selfray.train import distributed

    distributed.share([3, 3, 2])
    mine = torch.arange([6.0, 6.0, 4.0][rank])[:, None] + 10 * rank
    mixed, restore = distributed.shuffle(mine)
    with pytest.raises(ValueError, match="not in the proportions"):
        distributed.rows_of_all(5)
    with pytest.raises(ValueError, match="3 workers need"):
        distributed.share([4, 4])
    rows = distributed.rows_before(len(mine)), distributed.gather_detached(mine).flatten().tolist()
    return mine, mixed, distributed.unshuffle(mixed * 2, restore), rows


def test_workers_with_different_batches_exchange_as_many_rows_as_they_have():
    workers = together(3, unevenly)
    everything = torch.cat([mine for mine, _, _, _ in workers])
    assert torch.equal(torch.cat([mixed for _, mixed, _, _ in workers]).sort(0).values, everything)
    for rank, (mine, mixed, back, rows) in enumerate(workers):
        assert mixed.shape == mine.shape
        assert torch.equal(back, mine * 2)
        assert rows == (6 * rank, everything.flatten().tolist())
