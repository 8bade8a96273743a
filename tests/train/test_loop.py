"""The training loop: it learns, resumes exactly, and stops with a reason."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selfray import objectives
from selfray.errors import UserError
from selfray.train.checkpoint import Checkpoints
from selfray.train.loop import Interrupted

SETTINGS = {
    "moco": {"name": "moco", "width": 16, "queue_size": 50, "momentum": 0.9},
    "simclr": {"name": "simclr", "width": 16, "temperature": 0.2},
    "byol": {"name": "byol", "hidden": 32, "width": 16},
    "barlow_twins": {"name": "barlow_twins", "hidden": 32, "width": 16},
    "vicreg": {"name": "vicreg", "hidden": 32, "width": 16},
    "dino": {"name": "dino", "prototypes": 64, "hidden": 32, "width": 16, "frozen": 0.4, "teacher_warmup": 0.5},
    "swav": {"name": "swav", "prototypes": 24, "hidden": 32, "width": 16, "queue_size": 40, "frozen": 0.4},
    "deepcluster": {"name": "deepcluster", "clusters": 10, "fit_samples": 300},
}


VIT = {"name": "vit", "shape": "tiny", "patch": 4, "layers": 1}
PIPELINES = Path(__file__).parents[2] / "pipelines" / "image"
NEED_VIT = ("mae", "ijepa")
ON_GREY_IMAGES = [
    pytest.param(n, marks=[pytest.mark.slow] if n in NEED_VIT else [])
    for n in objectives.names()
    if (PIPELINES / f"{n}.yaml").is_file() and n != "colorization"
]


def final(run: Path) -> dict[str, torch.Tensor]:
    return load_file(Checkpoints(run / "checkpoints").newest() / "objective.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_the_loss_falls(recipe, fit):
    rows = fit(recipe(steps=40, optimizer={"name": "adamw", "lr": 5e-3}, log_every=5))
    assert rows[-1]["train/loss"] < rows[0]["train/loss"] - 0.3
    assert [row["step"] for row in rows] == list(range(5, 41, 5))
    assert {"health/feature_std", "health/rankme", "health/uniformity"} <= rows[-1].keys()
    assert all(row["speed/samples_per_second"] > 0 for row in rows)


@pytest.mark.parametrize("name", ON_GREY_IMAGES)
def test_an_interrupted_run_ends_with_the_parameters_of_an_uninterrupted_one(name, recipe, fit, tmp_path):
    """The other objectives save, scramble and load in test_state.py."""
    encoder = {"encoder": VIT} if name in NEED_VIT else {}
    settings = recipe(objective=SETTINGS.get(name, {"name": name}), steps=20, **encoder)
    fit(settings, tmp_path / "whole")
    asked = iter([False] * 6 + [True])
    with pytest.raises(Interrupted):
        fit(settings, tmp_path / "cut", stop=lambda: next(asked))
    rows = fit(settings, tmp_path / "cut")
    assert rows[0]["step"] == 8
    assert same(final(tmp_path / "whole"), final(tmp_path / "cut"))


def test_the_comparison_can_fail(recipe, fit, tmp_path):
    """A negative control: without the optimizer's state the resumed run must differ."""
    settings = recipe(steps=20)
    fit(settings, tmp_path / "whole")
    asked = iter([False] * 6 + [True])
    with pytest.raises(Interrupted):
        fit(settings, tmp_path / "cut", stop=lambda: next(asked))
    original = Checkpoints.restore
    Checkpoints.restore = lambda self, folder, objective, optimizer: original(self, folder, objective, None)
    try:
        fit(settings, tmp_path / "cut")
    finally:
        Checkpoints.restore = original
    assert not same(final(tmp_path / "whole"), final(tmp_path / "cut"))


def test_a_finished_run_trains_no_further(recipe, fit, tmp_path):
    fit(recipe(steps=4), tmp_path / "run")
    before = final(tmp_path / "run")
    assert fit(recipe(steps=4), tmp_path / "run") == []
    assert same(before, final(tmp_path / "run"))


@pytest.mark.parametrize("times", [1, 3])
def test_a_run_killed_at_any_moment_ends_bit_for_bit_like_an_uninterrupted_one(times, recipe, fit, tmp_path):
    settings = recipe(steps=150, checkpoint={"every_steps": 10})
    fit(settings, tmp_path / "whole")
    (tmp_path / "recipe.yaml").write_text(settings.to_yaml())
    code = (
        "import sys, torch\nfrom selfray.recipe import load\nfrom selfray.train.loop import Job, train\n"
        "recipe = load(sys.argv[1])\n"
        "train(Job(recipe, recipe.corpus.path, sys.argv[2]), lambda row: print(row['step'], flush=True))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "recipe.yaml"), str(tmp_path / "killed")]
    for kill in range(times):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if int(line) >= 20 + 35 * kill:
                os.kill(process.pid, signal.SIGKILL)
                break
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
    fit(settings, tmp_path / "killed")
    assert same(final(tmp_path / "whole"), final(tmp_path / "killed"))


def test_gradient_accumulation_of_an_uncoupled_loss_is_the_whole_batch():
    """For a loss that is a mean over samples, parts and whole have the same gradient."""
    from selfray.train.loop import _backward

    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def forward(self, samples, keys):
            loss = (samples * self.weight).square().mean()
            return loss, {"half": loss.detach() / 2}

    samples, keys = torch.rand(8, 3), torch.arange(8)
    whole, parts = Mean(), Mean()
    loss, _ = _backward(whole, (samples, keys), 1, torch.float32)
    mean, scalars = _backward(parts, (samples, keys), 4, torch.float32)
    torch.testing.assert_close(parts.weight.grad, whole.weight.grad)
    torch.testing.assert_close(mean, loss)
    torch.testing.assert_close(scalars["half"], loss / 2)


@pytest.mark.parametrize("optimizer", [{"name": "sgd", "lr": 0.1}, {"name": "lars", "lr": 0.5}, {"name": "adamw"}])
def test_every_optimizer_trains(optimizer, recipe, fit):
    rows = fit(recipe(optimizer=optimizer, steps=12, accumulate=2, clip=1.0, warmup=0.25))
    assert all(torch.isfinite(torch.tensor(row["train/loss"])) for row in rows)


def test_a_loss_that_is_not_finite_stops_the_run_with_advice_and_is_never_saved(recipe, fit, tmp_path, monkeypatch):
    from selfray.objectives.simclr import SimCLR

    healthy = SimCLR.loss

    def loss(self, first, second):
        value, scalars = healthy(self, first, second)
        self.seen = getattr(self, "seen", 0) + 1
        return (value * float("nan") if self.seen >= 9 else value), scalars

    monkeypatch.setattr(SimCLR, "loss", loss)
    with pytest.raises(UserError, match="lower the learning rate"):
        fit(recipe(steps=40, log_every=6, checkpoint={"every_steps": 2}), tmp_path / "run")
    assert all(torch.isfinite(t).all() for t in final(tmp_path / "run").values() if t.is_floating_point())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch": 1024}, "only 500 samples"),
        ({"batch": 30}, "not a multiple of lanes"),
        ({"accumulate": 7}, "accumulate 7 does not divide"),
        ({"encoder": {"name": "vit", "patch": 5}}, "patch 5 does not divide"),
    ],
)
def test_settings_that_do_not_fit_the_corpus_are_refused(settings, said, recipe, fit):
    with pytest.raises(UserError, match=said.replace("500", r"\d+")):
        fit(recipe(**settings))


def test_a_missing_gpu_is_said_in_a_sentence(recipe, fit):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="gpu is true but this machine has no CUDA device"):
        fit(recipe(gpu=True))


def test_data_that_stops_arriving_is_an_error_and_not_a_hang():
    from selfray.corpus.stream import _ahead

    def stalled():
        yield 1
        time.sleep(30)

    batches = _ahead(stalled, stall_seconds=0.3, depth=2)
    assert next(batches) == 1
    with pytest.raises(UserError, match="no data arrived"):
        next(batches)
