"""Colorization against its paper."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from selfray.encoders.conv import Conv
from selfray.errors import UserError
from selfray.objectives.colorization import Colorization, rebalanced_cross_entropy
from selfray.parts.lab import rgb_to_lab
from selfray.views.random import sample_keys

sys.path.insert(0, str(Path(__file__).parents[1]))
from workers import together

KEYS = sample_keys(torch.arange(8), 0, 0)


def made(**settings):
    torch.manual_seed(0)
    return Colorization(Conv(3, (16, 16), width=8, stages=2), **settings)


def test_the_loss_is_the_papers_double_sum():
    logits = torch.randn(2, 7, 3, 4, dtype=torch.double)
    shares = torch.rand(2, 3, 4, 2, dtype=torch.double)
    shares = (shares / shares.sum(3, keepdim=True)).sort(3, descending=True).values
    numbers = torch.rand(2, 3, 4, 7).argsort(3)[..., :2]
    weights = torch.rand(7, dtype=torch.double)
    total = 0.0
    for b in range(2):
        for y in range(3):
            for x in range(4):
                soft = torch.zeros(7, dtype=torch.double)
                soft[numbers[b, y, x]] = shares[b, y, x]
                total -= weights[soft.argmax()] * (soft * torch.log_softmax(logits[b, :, y, x], 0)).sum()
    torch.testing.assert_close(rebalanced_cross_entropy(logits, numbers, shares, weights), total / 24)


def test_the_encoder_sees_the_lightness_only():
    model, images = made().eval(), torch.rand(8, 3, 16, 16)
    lab = rgb_to_lab(images)
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.loss(images, KEYS)
    assert torch.equal(seen[0][:, 0], seen[0][:, 2])
    torch.testing.assert_close(rgb_to_lab(seen[0])[:, 0], lab[:, 0], rtol=0, atol=1e-2)


def test_colours_count_after_the_step_in_which_they_were_seen():
    model, images = made(), torch.rand(8, 3, 16, 16)
    first, _ = model.loss(images, KEYS)
    assert model.counts.sum() == 0
    model.after_step(0.1)
    assert model.counts.sum() == 8 * 4 * 4  # a quarter of the side each
    second, _ = model.loss(images, KEYS)
    assert first != second  # common colours count less now


def test_grey_corpora_are_refused_with_the_reason():
    with pytest.raises(UserError, match="predict colours, and the corpus has 1 channel instead"):
        Colorization(Conv(1, (16, 16), width=8, stages=1))


def test_the_colours_of_a_learned_batch_come_back():
    """Red pictures below mid-grey and blue ones above: after some steps the colourised ones are red and blue."""
    torch.manual_seed(0)
    model = Colorization(Conv(3, (8, 8), width=16, stages=1), shrink=2)
    images = torch.zeros(8, 3, 8, 8)
    images[:4, 0], images[4:, 2], images[4:, :2] = 0.6, 1.0, 0.6
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        loss, _ = model.loss(images, KEYS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.after_step(0.5)
    shown = model.eval().pictures({"images": images, "keys": KEYS})
    red, _, blue = shown["colourised"].mean((2, 3)).unbind(1)
    assert (red[:4] > blue[:4] + 0.2).all()
    assert (blue[4:] > red[4:] + 0.2).all()
    assert shown["grey"].shape == images.shape


def trained(rank, world):
    from selfray.parts.norm import synchronise

    model = made().double()
    if world > 1:
        synchronise(model)
    wrapped = DistributedDataParallel(model, forward_sync_buffers=False) if world > 1 else model
    losses = []
    for step in range(2):
        images = torch.rand(8, 3, 16, 16, dtype=torch.double, generator=torch.Generator().manual_seed(step))
        loss, _ = wrapped({"images": images.chunk(world)[rank], "keys": KEYS.chunk(world)[rank]})
        model.zero_grad()
        loss.backward()
        model.after_step((step + 1) / 2)
        losses.append(loss.item())
    return losses, {n: p.grad for n, p in model.named_parameters()}, model.counts


def test_two_workers_count_colours_together():
    losses, gradients, counts = trained(0, 1)
    workers = together(2, trained, 2)
    for step in range(2):
        assert sum(theirs[0][step] for theirs in workers) / 2 == pytest.approx(losses[step], rel=1e-9)
    for _, theirs, counted in workers:
        assert torch.equal(counted, counts)
        for name, gradient in gradients.items():
            torch.testing.assert_close(theirs[name], gradient, rtol=1e-7, atol=1e-10)
