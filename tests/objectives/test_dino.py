"""DINO against its paper's algorithm 1, its schedules and its frozen layer."""

import copy

import pytest
import torch
from torch.nn.functional import normalize

from selfray.encoders.conv import Conv
from selfray.objectives.dino import DINO, centred


def made(**settings):
    torch.manual_seed(1)
    return DINO(Conv(1, (16, 16), width=8, stages=1), prototypes=10, hidden=12, width=6, **settings)


def crops(seed=0):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.rand(2, 8, 1, 16, 16, generator=generator)
    return {"first": first, "second": second, "local": torch.rand(3, 8, 1, 8, 8, generator=generator)}


def head(projector, prototypes, embedding):
    return normalize(projector(embedding), dim=1) @ normalize(prototypes.weight, dim=1).T


def test_steps_equal_a_naive_reference_of_algorithm_1():
    """Loss, centre and teacher over four steps; the centre is used before it moves, the teacher after the student."""
    model = made(momentum=0.9, momentum_end=0.9, frozen=0.0, teacher_temperature_end=0.04)
    student = [copy.deepcopy(part) for part in (model.encoder, model.projector, model.prototypes)]
    teacher = [copy.deepcopy(part) for part in student]
    centre = torch.zeros(10)
    mine = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    theirs = torch.optim.SGD([p for part in student for p in part.parameters()], lr=0.1)
    for step in range(4):
        views = crops(step)
        loss, _ = model.loss(**views)
        mine.zero_grad()
        loss.backward()
        mine.step()
        model.after_step((step + 1) / 4)

        large = torch.cat([views["first"], views["second"]])
        with torch.no_grad():
            t = head(*teacher[1:], teacher[0].embed(large))
        small = student[0].embed(views["local"].flatten(0, 1))
        s = head(*student[1:], torch.cat([student[0].embed(large), small])).split(8)
        p = [torch.softmax((scores - centre) / 0.04, dim=1) for scores in t.split(8)]
        terms = [
            -(p[i] * torch.log_softmax(s[v] / 0.1, dim=1)).sum(1).mean() for i in range(2) for v in range(5) if v != i
        ]
        expected = sum(terms) / len(terms)
        theirs.zero_grad()
        expected.backward()
        theirs.step()
        with torch.no_grad():
            centre = 0.9 * centre + 0.1 * t.mean(0)
            for slow, fast in zip(teacher, student, strict=True):
                for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
                    old.copy_(0.9 * old + 0.1 * new)
        assert len(terms) == 8
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.centre, centre, rtol=1e-4, atol=1e-5)
    for old, other in zip(model.teacher_prototypes.parameters(), teacher[2].parameters(), strict=True):
        torch.testing.assert_close(old, other, rtol=1e-4, atol=1e-5)


def test_without_small_crops_each_large_view_predicts_the_other():
    model = made()
    views = crops()
    loss, _ = model.loss(views["first"], views["second"], views["local"][:0])
    assert torch.isfinite(loss)


def test_no_gradient_reaches_the_teacher_and_prototypes_wait_for_theirs():
    model = made(frozen=0.5)
    model.loss(**crops())[0].backward()
    for part in (model.teacher_encoder, model.teacher_projector, model.teacher_prototypes):
        assert all(p.grad is None and not p.requires_grad for p in part.parameters())
    assert not model.prototypes.weight.grad.any()
    assert all(p.grad.any() for n, p in model.projector.named_parameters() if n.endswith("weight"))
    model.after_step(0.5)
    model.loss(**crops())[0].backward()
    assert model.prototypes.weight.grad.any()


def test_the_last_layer_has_directions_only():
    model = made(frozen=0.0)
    rows = normalize(torch.randn(4, 6), dim=1)
    before = model.prototypes(rows)
    with torch.no_grad():
        model.prototypes.weight.mul_(7)
    torch.testing.assert_close(model.prototypes(rows), before)


def test_the_teachers_temperature_rises_along_a_line_and_stays():
    model = made(teacher_temperature=0.04, teacher_temperature_end=0.07, teacher_warmup=0.2)
    seen = [float(model.sharpness)]
    for progress in (0.1, 0.2, 0.6, 1.0):
        model.after_step(progress)
        seen.append(float(model.sharpness))
    assert seen == pytest.approx([0.04, 0.055, 0.07, 0.07, 0.07])


def test_centring_alone_flattens_and_a_low_temperature_alone_picks():
    scores = torch.randn(50, 6)
    flat = centred(scores, scores, 0.04)
    torch.testing.assert_close(flat, torch.full_like(flat, 1 / 6))
    assert centred(scores, torch.zeros(6), 0.001).max(1).values.min() > 0.5


def test_sinkhorn_targets_use_every_prototype_alike():
    model = made(centring="sinkhorn", teacher_temperature=0.5, teacher_temperature_end=0.5, sinkhorn_iterations=50)
    targets = model._targets(torch.rand(20, 1, 16, 16))
    torch.testing.assert_close(targets.sum(1), torch.ones(20))
    torch.testing.assert_close(targets.sum(0), torch.full((10,), 2.0), rtol=1e-3, atol=1e-3)
