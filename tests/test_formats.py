"""Encoders in the form of other libraries give the same features."""

import numpy as np
import pytest
import torch

from selfray import encoders, export, formats
from selfray.corpus import tokens
from selfray.errors import UserError

TEXT = ["the cat sat on the mat", "a dog ran", "the dog sat"] * 8
PT2 = [
    ("conv", 3, (16, 16), {"width": 16, "stages": 1}, {}),
    ("vit", 3, (16, 16), {"shape": "tiny", "patch": 4, "layers": 1}, {}),
    ("dilated", 2, (24,), {"width": 16, "hidden": 8, "depth": 3}, {}),
    ("melconv", 1, (4000,), {"width": 16, "channels_inside": 8, "rate": 8000}, {"rate": 8000}),
]


def written(folder, name, channels, size, settings, facts):
    """An untrained encoder's folder, as a run leaves it."""
    torch.manual_seed(0)
    encoder = encoders.find(name)(channels, size, **settings)
    encoder.facts = dict(facts)
    count = len(encoder.mean)
    encoder.set_statistics((0.4,) * count, (0.2,) * count)
    config = {"name": name, "settings": settings, "channels": channels, "size": list(size), "kind": encoder.kind}
    config |= {"facts": facts, "mean": encoder.mean.tolist(), "std": encoder.std.tolist()}
    export.save(folder, encoder.eval(), config, "# test\n")
    return export.load(folder)


@pytest.fixture
def bert(tmp_path):
    """A small BERT and its tokenizer."""
    tokenizer = tokens.train(TEXT, "wordpiece", 300, lower=True)
    facts = tokens.facts(tokens.load(tokenizer)) | {"pack": False}
    settings = {"shape": "tiny", "layers": 1}
    encoder = written(tmp_path / "bert", "bert", facts["vocabulary"], (24,), settings, facts)
    (tmp_path / "bert" / "tokenizer.json").write_text(tokenizer)
    return encoder


def test_a_text_encoder_loads_with_from_pretrained_and_says_the_same(bert, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    out = formats.export(tmp_path / "bert", tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(out)
    model = AutoModel.from_pretrained(out, add_pooling_layer=False).eval()
    rows = [f"[CLS] {text} [SEP]" for text in TEXT[:2]]
    given = tokenizer(rows, add_special_tokens=False, padding=True, return_tensors="pt")
    with torch.inference_mode():
        theirs = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state
        ours = bert(given["input_ids"])
    real = given["attention_mask"].bool()
    assert not real.all()
    torch.testing.assert_close(theirs[real], ours[real], rtol=1e-4, atol=1e-5)


def test_an_image_encoder_comes_with_a_processor_that_normalises_as_it_does(tmp_path):
    from transformers import AutoImageProcessor, AutoModel

    ours = written(tmp_path / "vit", "vit", 3, (16, 16), PT2[1][3], {})
    out = formats.export(tmp_path / "vit", tmp_path / "out")
    images = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    pixels = AutoImageProcessor.from_pretrained(out, use_fast=False)(list(images), return_tensors="pt")
    with torch.inference_mode():
        theirs = AutoModel.from_pretrained(out, add_pooling_layer=False).eval()(**pixels).last_hidden_state
        plain = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        torch.testing.assert_close(theirs, ours(plain), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", PT2, ids=[one[0] for one in PT2])
def test_a_program_gives_the_features_of_the_encoder_for_a_batch_of_any_size(family, tmp_path):
    encoder = written(tmp_path / "encoder", *family)
    out = formats.export(tmp_path / "encoder", tmp_path / "out", "pt2")
    program = torch.export.load(out / "encoder.pt2").module()
    config = export.read_config(tmp_path / "encoder")
    for size in (1, 5):
        inputs = formats.example(encoder, config, size)
        torch.testing.assert_close(program(inputs), encoder.embed(inputs), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_written_is_refused_in_a_sentence(tmp_path):
    written(tmp_path / "conv", *PT2[0])
    with pytest.raises(UserError, match="--format pt2"):
        formats.export(tmp_path / "conv", tmp_path / "out")
    with pytest.raises(UserError, match="transformers, pt2"):
        formats.export(tmp_path / "conv", tmp_path / "out2", "onnx")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="not empty"):
        formats.export(tmp_path / "conv", tmp_path / "full")


def test_a_stem_for_small_images_that_transformers_does_not_know_is_refused(tmp_path):
    written(tmp_path / "resnet", "resnet", 3, (32, 32), {"depth": 18}, {})
    with pytest.raises(UserError, match="comes back changed"):
        formats.export(tmp_path / "resnet", tmp_path / "out")
