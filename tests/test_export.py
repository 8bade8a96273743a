"""The encoder as a folder."""

import json

import pytest
import torch

from selfray import export
from selfray.corpus.manifest import Manifest
from selfray.errors import UserError
from selfray.summary import export_encoder
from selfray.train.checkpoint import Checkpoints
from selfray.train.loop import Job, train


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    from selfray.recipe import parse

    run = tmp_path_factory.mktemp("run")
    plain = {
        "name": "tiny",
        "corpus": {"path": str(digits)},
        "pretrain": {
            "objective": {"name": "simclr", "width": 8},
            "encoder": {"name": "conv", "width": 16, "stages": 1},
            "batch": 32,
            "steps": 3,
            "workers": 0,
        },
    }
    recipe = parse(plain)
    train(Job(recipe, str(digits), str(run)), lambda row: None)
    export_encoder(run, recipe, Manifest.read(digits), 3, None)
    return run


def test_the_loaded_encoder_is_a_plain_module_with_the_trained_weights(trained):
    encoder = export.load(trained / "encoder")
    assert isinstance(encoder, torch.nn.Module)
    assert not encoder.training
    from safetensors.torch import load_file

    saved = load_file(Checkpoints(trained / "checkpoints").newest() / "objective.safetensors")
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, saved[f"encoder.{name}"])
    assert encoder.embed(torch.zeros(2, 16, 16, 1, dtype=torch.uint8)).shape == (2, 16)


def test_the_untrained_twin_is_the_encoder_before_training(trained, digits, recipe):

    config = export.read_config(trained / "encoder")
    twin, again = export.build(config), export.build(config)
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), again.parameters(), strict=True))
    loaded = export.load(trained / "encoder")
    assert not all(torch.equal(a, b) for a, b in zip(twin.parameters(), loaded.parameters(), strict=True))


def test_the_card_says_what_it_is_and_how_to_use_it(trained):
    card = (trained / "encoder" / "README.md").read_text()
    for expected in ("simclr", "selfray.load", "digits", "fingerprint", "3 steps"):
        assert expected in card
    assert json.loads((trained / "encoder" / "encoder.json").read_text())["size"] == [16, 16]


def test_damaged_weights_are_refused(trained, tmp_path):
    import shutil

    shutil.copytree(trained / "encoder", tmp_path / "encoder")
    file = tmp_path / "encoder" / "encoder.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        export.load(tmp_path / "encoder")


def test_a_folder_without_an_encoder_says_so(tmp_path):
    with pytest.raises(UserError, match=r"encoder\.json is missing"):
        export.load(tmp_path)
