"""Two workers with half the batch each equal one worker with the whole batch."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from selfray import objectives
from selfray.encoders.conv import Conv

sys.path.insert(0, str(Path(__file__).parents[1]))
from workers import together

CASES = {
    "simclr": ("simclr", {}),
    "moco-shuffled": ("moco", {"queue_size": 20, "batch_norm": "shuffle"}),
    "moco-v3": ("moco", {"queue_size": 0, "symmetric": True, "predictor": True, "projector": "mlp3",
                         "batch_norm": "synchronise"}),
}  # fmt: skip


def made(name, settings):
    torch.manual_seed(3)
    return objectives.find(name)(Conv(1, (8, 8), width=8, stages=1), width=4, **settings).double()


def batches():
    return torch.rand(3, 2, 8, 1, 8, 8, dtype=torch.double, generator=torch.Generator().manual_seed(5))


def trained(rank, world, name, settings, plain_norm):
    """Losses, gradients of the first step, and the state after three steps of this worker's share."""
    from selfray.parts.norm import synchronise

    model = made(name, settings)
    if plain_norm:
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()  # statistics are another test's matter
    if world > 1 and model.synchronised_batch_norm:
        synchronise(model)
    wrapped = DistributedDataParallel(model, forward_sync_buffers=False) if world > 1 else model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    losses, gradients = [], {}
    for step, (first, second) in enumerate(batches()):
        share = slice(rank * 8 // world, (rank + 1) * 8 // world)
        loss, _ = wrapped({"first": first[share], "second": second[share]})
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
        model.after_step((step + 1) / 3)
        losses.append(loss.item())
    return losses, gradients, copy.deepcopy(model.state_dict())


@pytest.mark.parametrize("case", CASES)
def test_two_workers_equal_one(case):
    name, settings = CASES[case]
    plain = settings.get("batch_norm") == "shuffle"
    alone = trained(0, 1, name, settings, plain)
    first, second = together(2, trained, 2, name, settings, plain)
    for step in range(3):
        assert (first[0][step] + second[0][step]) / 2 == pytest.approx(alone[0][step], rel=1e-9)
    for key, gradient in alone[1].items():
        torch.testing.assert_close(first[1][key], gradient, rtol=1e-7, atol=1e-10)
    for key, value in alone[2].items():
        torch.testing.assert_close(first[2][key], value, rtol=1e-7, atol=1e-9)
        if "queue" in key:
            assert torch.equal(first[2][key], second[2][key])


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
