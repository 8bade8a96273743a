"""SwAV against its paper: assignments, swapped prediction, queue and frozen prototypes."""

import torch
from torch.nn.functional import normalize

from selfray.encoders.conv import Conv
from selfray.objectives.swav import SwAV
from selfray.parts.losses import swapped_cross_entropy


def made(**settings):
    torch.manual_seed(1)
    return SwAV(Conv(1, (16, 16), width=8, stages=1), prototypes=5, hidden=12, width=6, **settings)


def crops(seed=0):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.rand(2, 8, 1, 16, 16, generator=generator)
    return {"first": first, "second": second, "local": torch.rand(3, 8, 1, 8, 8, generator=generator)}


def naive_sinkhorn(scores, epsilon, iterations):
    """The paper's listing: rows of Q are prototypes, columns are samples."""
    q = torch.exp(scores / epsilon).T
    q = q / q.sum()
    k, b = q.shape
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / k
        q = q / q.sum(dim=0, keepdim=True) / b
    return (q * b).T


def test_the_loss_equals_a_naive_reference_of_the_papers_algorithm():
    model = made(frozen=0.0).double()
    views = {name: view.double() for name, view in crops().items()}
    loss, _ = model.loss(**views)
    large = model.encoder.embed(torch.cat([views["first"], views["second"]]))
    small = model.encoder.embed(views["local"].flatten(0, 1))
    z = normalize(model.projector(torch.cat([large, small])), dim=1)
    scores = (z @ normalize(model.prototypes.weight, dim=1).T).split(8)
    expected = 0.0
    for i in range(2):
        q = naive_sinkhorn(scores[i].detach(), 0.05, 3)
        others = [v for v in range(5) if v != i]
        expected += sum(-(q * torch.log_softmax(scores[v] / 0.1, 1)).sum(1).mean() for v in others) / 4 / 2
    torch.testing.assert_close(loss, expected, rtol=1e-7, atol=0)


def test_targets_carry_no_gradient():
    targets = torch.softmax(torch.randn(2, 4, 3, requires_grad=True), -1)
    logits = torch.randn(2, 4, 3, requires_grad=True)
    swapped_cross_entropy(targets, logits).backward()
    assert logits.grad.any()
    assert not targets.requires_grad or targets.grad_fn is not None
    expected = -((targets[0] * logits[1].log_softmax(-1)).sum(-1) + (targets[1] * logits[0].log_softmax(-1)).sum(-1))
    (gradient,) = torch.autograd.grad(expected.mean() / 2, logits)
    torch.testing.assert_close(logits.grad, gradient)


def test_prototypes_are_held_at_first():
    model = made(frozen=0.5)
    model.loss(**crops())[0].backward()
    assert not model.prototypes.weight.grad.any()
    model.after_step(0.5)
    model.loss(**crops())[0].backward()
    assert model.prototypes.weight.grad.any()


def test_the_queue_changes_assignments_only_when_it_is_due():
    with_queue, without = made(queue_size=20, queue_after=0.5), made()
    without.load_state_dict({k: v for k, v in with_queue.state_dict().items() if not k.startswith("queue.")})
    early = with_queue.loss(**crops())[0]
    torch.testing.assert_close(early, without.loss(**crops())[0])
    with_queue.after_step(0.4)
    assert with_queue.queue.position == 8
    torch.testing.assert_close(with_queue.loss(**crops())[0], early)
    with_queue.after_step(0.5)
    assert (with_queue.loss(**crops())[0] - early).abs() > 1e-4


def test_a_full_queue_counts_like_a_larger_batch():
    model = made(queue_size=24, queue_after=0.0)
    older = normalize(torch.randn(24, 6), dim=1)
    model.queue.push(torch.cat([older, older], dim=1))
    model.after_step(0.1)
    scores = torch.randn(8, 5)
    together = torch.cat([scores, older @ normalize(model.prototypes.weight, dim=1).T.detach()])
    expected = naive_sinkhorn(together.double(), 0.05, 3)[:8]
    torch.testing.assert_close(model._assigned(0, scores).double(), expected, rtol=1e-3, atol=1e-5)


def test_few_samples_for_many_prototypes_are_advised_against():
    assert "set queue_size" in made().advice(1000, 1)[0]
    assert made().advice(1000, 64) == []
