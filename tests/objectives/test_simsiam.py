"""SimSiam against its paper."""

import torch

from selfray.encoders.conv import Conv
from selfray.objectives.simsiam import SimSiam, negative_cosine


def test_the_loss_is_the_papers_equation_and_stops_the_gradient():
    prediction = torch.randn(6, 4, dtype=torch.double, requires_grad=True)
    target = torch.randn(6, 4, dtype=torch.double, requires_grad=True)
    expected = -sum(p @ z / p.norm() / z.norm() for p, z in zip(prediction, target, strict=True)) / 6
    loss = negative_cosine(prediction, target)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    loss.backward()
    assert target.grad is None
    torch.testing.assert_close(prediction.grad, torch.autograd.grad(expected, prediction)[0])


def test_both_directions_count_half():
    torch.manual_seed(0)
    model = SimSiam(Conv(1, (8, 8), width=8, stages=1), width=16, bottleneck=4).eval()
    first, second = torch.rand(2, 5, 1, 8, 8)
    with torch.no_grad():
        z = [model.projector(model.encoder.embed(view)) for view in (first, second)]
        p = [model.predictor(projection) for projection in z]
        expected = (negative_cosine(p[0], z[1]) + negative_cosine(p[1], z[0])) / 2
    torch.testing.assert_close(model.loss(first, second)[0], expected)
