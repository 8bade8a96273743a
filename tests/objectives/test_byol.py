"""BYOL against its paper, its stopped gradient and its schedule."""

import copy

import torch
from torch.nn.functional import normalize

from selfray.encoders.conv import Conv
from selfray.objectives.byol import BYOL, squared_distance


def made(**settings):
    torch.manual_seed(1)
    return BYOL(Conv(1, (16, 16), width=8, stages=1), hidden=12, width=6, **settings)


def test_the_loss_is_the_papers_equation_2_and_stops_the_gradient():
    prediction = torch.randn(6, 4, dtype=torch.double, requires_grad=True)
    target = torch.randn(6, 4, dtype=torch.double, requires_grad=True)
    pairs = zip(prediction, target, strict=True)
    expected = sum((p / p.norm() - z.detach() / z.detach().norm()).square().sum() for p, z in pairs) / 6
    loss = squared_distance(prediction, target)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    loss.backward()
    assert target.grad is None
    torch.testing.assert_close(prediction.grad, torch.autograd.grad(expected, prediction)[0])


def test_steps_equal_a_naive_reference_of_algorithm_1():
    """Loss and target network over four steps, with the target moved after the online network."""
    model = made(momentum=0.9, momentum_end=0.9)
    online = [copy.deepcopy(part) for part in (model.encoder, model.projector, model.predictor)]
    target = [copy.deepcopy(part) for part in online[:2]]
    mine = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    theirs = torch.optim.SGD([p for part in online for p in part.parameters()], lr=0.1)
    for step in range(4):
        views = torch.rand(2, 8, 1, 16, 16, generator=torch.Generator().manual_seed(step))
        loss, _ = model.loss(*views)
        mine.zero_grad()
        loss.backward()
        mine.step()
        model.after_step((step + 1) / 4)

        q = [normalize(online[2](online[1](online[0].embed(view))), dim=1) for view in views]
        with torch.no_grad():
            z = [normalize(target[1](target[0].embed(view)), dim=1) for view in views]
        expected = ((q[0] - z[1]).square().sum(1) + (q[1] - z[0]).square().sum(1)).mean()
        theirs.zero_grad()
        expected.backward()
        theirs.step()
        with torch.no_grad():
            for slow, fast in zip(target, online[:2], strict=True):
                for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
                    old.copy_(0.9 * old + 0.1 * new)
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    for old, other in zip(model.target_encoder.parameters(), target[0].parameters(), strict=True):
        torch.testing.assert_close(old, other, rtol=1e-4, atol=1e-5)


def test_no_gradient_reaches_the_target_network():
    model = made()
    model.loss(*torch.rand(2, 8, 1, 16, 16))[0].backward()
    for part in (model.target_encoder, model.target_projector):
        assert all(p.grad is None and not p.requires_grad for p in part.parameters())
    for part in (model.encoder, model.projector, model.predictor):
        assert all(p.grad is not None for p in part.parameters())


def test_the_target_network_stands_still_at_the_end_of_the_schedule():
    model = made(momentum=0.5)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(1.0)
    before = copy.deepcopy(model.target_encoder.state_dict())
    model.after_step(1.0)
    assert all(torch.equal(before[key], value) for key, value in model.target_encoder.state_dict().items())
    model.after_step(0.5)
    assert any(not torch.equal(before[key], value) for key, value in model.target_encoder.state_dict().items())


def test_two_views_that_agree_cost_nothing_and_opposite_ones_8():
    rows = torch.randn(5, 3)
    assert abs(2 * squared_distance(rows, 3 * rows).item()) < 1e-6
    assert abs(2 * squared_distance(rows, -rows).item() - 8) < 1e-5
