"""MoCo against a reference written from its algorithm 1, and its three versions."""

import copy

import pytest
import torch
from torch.nn.functional import normalize

from selfray.encoders.conv import Conv
from selfray.objectives.moco import MoCo
from selfray.parts.losses import info_nce_in_batch, info_nce_with_queue


def made(**settings):
    torch.manual_seed(1)
    return MoCo(Conv(1, (16, 16), width=8, stages=1), width=6, **settings)


def test_info_nce_with_a_queue_is_the_papers_equation_1():
    query, key = torch.randn(2, 5, 6, dtype=torch.double)
    queue = normalize(torch.randn(9, 6, dtype=torch.double), dim=1)
    total = 0.0
    for q, k in zip(normalize(query, dim=1), normalize(key, dim=1), strict=True):
        positive = torch.exp(q @ k / 0.2)
        total += -torch.log(positive / (positive + sum(torch.exp(q @ old / 0.2) for old in queue)))
    loss, _ = info_nce_with_queue(query, key, queue, 0.2)
    torch.testing.assert_close(loss, total / 5, rtol=1e-9, atol=0)


def test_info_nce_in_the_batch_is_cross_entropy_over_the_other_keys():
    query, key = torch.randn(2, 5, 6, dtype=torch.double)
    q, k = normalize(query, dim=1), normalize(key, dim=1)
    total = sum(
        -(q[i] @ k[i] / 0.3) + torch.logsumexp(torch.stack([q[i] @ other / 0.3 for other in k]), 0) for i in range(5)
    )
    torch.testing.assert_close(info_nce_in_batch(query, key, 0.3)[0], total / 5, rtol=1e-9, atol=0)


def test_steps_equal_a_naive_reference_of_algorithm_1():
    """Loss, queue and momentum encoder over four steps: momentum 0.9, a queue of 20 that batches of 8 do not divide."""
    model = made(queue_size=20, momentum=0.9)
    query_net, query_head = copy.deepcopy(model.encoder), copy.deepcopy(model.projector)
    key_net, key_head = copy.deepcopy(query_net), copy.deepcopy(query_head)
    queue, pointer = model.queue.rows.clone(), 0
    mine = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    theirs = torch.optim.SGD([*query_net.parameters(), *query_head.parameters()], lr=0.1)
    for step in range(4):
        first, second = torch.rand(2, 8, 1, 16, 16, generator=torch.Generator().manual_seed(step))
        loss, _ = model.loss(first, second)
        mine.zero_grad()
        loss.backward()
        mine.step()
        model.after_step((step + 1) / 4)

        query = normalize(query_head(query_net.embed(first)), dim=1)
        with torch.no_grad():
            key = normalize(key_head(key_net.embed(second)), dim=1)
        expected = 0.0
        for q, k in zip(query, key, strict=True):
            logits = torch.stack([q @ k, *(q @ old for old in queue)]) / 0.2
            expected = expected - torch.log_softmax(logits, 0)[0] / 8
        theirs.zero_grad()
        expected.backward()
        theirs.step()
        for row in key:
            queue[pointer] = row
            pointer = (pointer + 1) % 20
        with torch.no_grad():
            slow = [*key_net.parameters(), *key_head.parameters()]
            for old, new in zip(slow, [*query_net.parameters(), *query_head.parameters()], strict=True):
                old.mul_(0.9).add_(new, alpha=0.1)

        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(model.queue.rows, queue, rtol=1e-4, atol=1e-5)
        assert model.queue.position == pointer
    for old, other in zip(model.key_encoder.parameters(), key_net.parameters(), strict=True):
        torch.testing.assert_close(old, other, rtol=1e-4, atol=1e-5)


def test_no_gradient_reaches_the_key_encoder_or_the_queue():
    model = made(queue_size=16)
    model.loss(*torch.rand(2, 8, 1, 16, 16))[0].backward()
    for module in (model.key_encoder, model.key_projector):
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    assert not model.queue.rows.requires_grad


def test_keys_become_negatives_only_after_the_step():
    model = made(queue_size=16)
    before = model.queue.rows.clone()
    model.loss(*torch.rand(2, 8, 1, 16, 16))
    assert torch.equal(model.queue.rows, before)
    model.after_step(0.5)
    assert not torch.equal(model.queue.rows[:8], before[:8])
    assert torch.equal(model.queue.rows[8:], before[8:])


def test_key_encoders_batch_norm_keeps_statistics_of_its_own():
    model = made(queue_size=16, momentum=1.0)
    model.loss(*torch.rand(2, 8, 1, 16, 16))
    buffers = dict(model.key_encoder.named_buffers())
    assert all(b == 1 for n, b in buffers.items() if n.endswith("num_batches_tracked"))


@pytest.mark.parametrize(
    "settings",
    [
        {"projector": "linear", "temperature": 0.07},
        {"projector": "mlp", "temperature": 0.2},
        {"projector": "mlp3", "predictor": True, "queue_size": 0, "symmetric": True, "momentum_end": 1.0,
         "batch_norm": "synchronise"},
    ],
    ids=["v1", "v2", "v3"],
)  # fmt: skip
def test_all_three_versions_learn(settings):
    model = made(**{"queue_size": 32, "momentum": 0.99, **settings})
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    pictures, losses = torch.rand(16, 1, 16, 16), []
    for step in range(80):
        noise = torch.randn(2, *pictures.shape, generator=torch.Generator().manual_seed(step)) / 20
        loss, _ = model.loss(pictures + noise[0], pictures + noise[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.after_step((step + 1) / 80)
        losses.append(loss.item())
    assert sum(losses[-10:]) < sum(losses[5:15])


def test_version_3_adds_both_directions_each_times_twice_the_temperature():
    model = made(queue_size=0, symmetric=True, predictor=True, temperature=0.3, batch_norm="synchronise")
    first, second = torch.rand(2, 8, 1, 16, 16)
    loss, _ = copy.deepcopy(model).loss(first, second)
    one, _ = copy.deepcopy(model)._one_way(first, second)
    other, _ = copy.deepcopy(model)._one_way(second, first)
    torch.testing.assert_close(loss, 0.6 * (one + other), rtol=1e-4, atol=1e-5)


def test_the_momentum_schedule_ends_where_it_should():
    from selfray.parts.momentum import cosine_momentum

    assert cosine_momentum(0.99, 1.0, 0.0) == pytest.approx(0.99)
    assert cosine_momentum(0.99, 1.0, 0.5) == pytest.approx(0.995)
    assert cosine_momentum(0.99, 1.0, 1.0) == 1.0
