"""Training that begins with an encoder that was trained before."""

import pytest
import torch

from selfray.corpus.manifest import Manifest
from selfray.errors import UserError
from selfray.summary import export_encoder
from selfray.train import build, start
from selfray.train.loop import Job, train

MOCO = {"name": "moco", "width": 16, "queue_size": 64}


@pytest.fixture
def earlier(digits, recipe, tmp_path):
    """The folder of an encoder after four steps."""
    run, settings = tmp_path / "earlier", recipe(steps=4)
    train(Job(settings, str(digits), str(run)), lambda row: None)
    export_encoder(run, settings, Manifest.read(digits), 4, None)
    return run / "encoder"


def test_the_encoder_and_its_momentum_copy_begin_with_the_weights(digits, recipe, earlier):
    from selfray import load

    settings, manifest = recipe(objective=MOCO, start_from="champion").pretrain, Manifest.read(digits)
    begun = build.objective(settings, manifest, seed=5, begin=earlier)
    wanted = dict(load(earlier).named_parameters())
    assert len(wanted) > 4
    for name, weights in begun.encoder.named_parameters():
        assert torch.equal(weights, wanted[name]), name
    state = begun.state_dict()
    copies = [key for key in state if key.endswith(next(iter(wanted))) and not key.startswith("encoder.")]
    assert copies  # of the momentum encoder
    assert all(torch.equal(state[key], wanted[next(iter(wanted))]) for key in copies)
    fresh = build.objective(settings, manifest, seed=5)
    assert not torch.equal(next(fresh.encoder.parameters()), next(begun.encoder.parameters()))


def test_the_statistics_are_those_of_the_corpus_that_will_be_seen(digits, recipe, earlier):
    from dataclasses import replace

    manifest = replace(Manifest.read(digits), mean=(0.1,), std=(0.9,))
    begun = build.objective(recipe(start_from="champion").pretrain, manifest, 0, earlier)
    assert begun.encoder.mean.flatten().tolist() == pytest.approx([0.1])


def test_a_resumed_run_goes_on_from_its_checkpoint_and_not_from_the_start(digits, recipe, earlier, tmp_path):
    import shutil

    run, settings = tmp_path / "run", recipe(steps=2, start_from="champion")
    shutil.copytree(earlier, run / start.FOLDER)
    assert start.begins_with(settings.pretrain, str(run)) == run / start.FOLDER
    train(Job(settings, str(digits), str(run)), lambda row: None)
    rows = []
    train(Job(recipe(steps=4, start_from="champion"), str(digits), str(run)), rows.append)
    assert [row["step"] for row in rows] == [4]
    assert start.begins_with(recipe().pretrain, str(run)) is None


def test_another_network_is_refused(digits, recipe, earlier):
    settings = recipe(encoder={"name": "conv", "width": 32, "stages": 1}, start_from="champion").pretrain
    with pytest.raises(UserError, match=r"is another network .* give pretrain\.encoder the settings"):
        build.objective(settings, Manifest.read(digits), 0, earlier)
