"""The loss curve of the whole loop is that of one process, for any number of workers, in fp32.

Networks with ReLU drift apart, because a sum in another order turns one over now and then (docs/experiments.md). This
one is smooth: a Transformer layer with GELU, a linear projector, batch normalisation over all workers.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from workers import together

SMOOTH = {
    "objective": {"name": "simclr", "temperature": 0.2, "width": 16, "layers": 1},
    "encoder": {"name": "vit", "shape": "tiny", "patch": 8, "layers": 1},
    "optimizer": {"name": "adamw", "lr": 5e-4},
    "batch": 64,
    "log_every": 1,
    "health_every": 1000,
}


def logged(rank, jobs):
    """For each job, the loss of every step as the first worker logs it."""
    from selfray.train.loop import train

    losses = []
    for job in jobs:
        rows = []
        train(job, rows.append)
        losses.append([row["train/loss"] for row in rows])
    return losses


def curves(recipes, digits, folder, world):
    from selfray.train.loop import Job

    jobs = [Job(recipe, str(digits), str(folder / f"{world}-{i}")) for i, recipe in enumerate(recipes)]
    return together(world, logged, jobs)[0]


def test_three_workers_with_eight_lanes_log_the_losses_of_one(recipe, digits, tmp_path):
    recipes = recipe(**SMOOTH, steps=8), recipe(**SMOOTH, steps=2, accumulate=2)
    whole, parts = curves(recipes, digits, tmp_path, 3)
    (alone,) = curves(recipes[:1], digits, tmp_path, 1)
    assert len(alone) == 8
    assert whole == pytest.approx(alone, abs=1e-4)
    assert len(parts) == 2  # parts of 12, 12 and 8 samples


@pytest.mark.slow
def test_one_two_and_four_workers_agree_to_a_ten_thousandth_for_fifty_steps(recipe, digits, tmp_path):
    one, two, four = (curves([recipe(**SMOOTH, steps=50)], digits, tmp_path, world)[0] for world in (1, 2, 4))
    assert len(one) == 50
    assert one[-1] < one[0] - 0.5
    assert two == pytest.approx(one, abs=1e-4)
    assert four == pytest.approx(one, abs=1e-4)
