"""What every encoder of images must keep, walked over all that are found on disk."""

import pytest
import torch

from selfray import encoders

SMALL = {"vit": {"shape": "tiny", "patch": 8, "layers": 2}, "resnet": {"depth": 18}}


OF_IMAGES = [name for name in encoders.names() if encoders.find(name).kind == "image"]


@pytest.fixture(params=[(name, channels) for name in OF_IMAGES for channels in (1, 3)], ids=str)
def encoder(request):
    name, channels = request.param
    torch.manual_seed(0)
    return encoders.find(name)(channels, (32, 32), **SMALL.get(name, {}))


def test_features_and_embeddings_have_the_stated_width_and_stride(encoder):
    images = torch.rand(2, len(encoder.mean), 32, 32)
    features, embedding = encoder(images), encoder.embed(images)
    positions = (32 // encoder.stride) ** 2
    assert features.shape[0::2] == (2, encoder.width)
    assert features.shape[1] in (positions, positions + 1)
    assert embedding.shape == (2, encoder.width)
    assert torch.isfinite(embedding).all()


def test_uint8_pictures_of_any_size_and_float_pictures_give_the_same_embedding(encoder):
    encoder.eval()
    pictures = torch.randint(256, (3, 32, 32, len(encoder.mean)), dtype=torch.uint8)
    with torch.inference_mode():
        expected = encoder.embed(pictures.permute(0, 3, 1, 2) / 255)
        torch.testing.assert_close(encoder.embed(pictures), expected)
        assert encoder.embed(pictures.repeat_interleave(2, 1).repeat_interleave(2, 2)).shape == expected.shape


def test_statistics_of_the_corpus_travel_with_the_weights(encoder):
    channels = len(encoder.mean)
    encoder.set_statistics((0.25,) * channels, (0.5,) * channels)
    assert encoder.state_dict()["mean"].tolist() == [0.25] * channels
    image = torch.full((1, channels, 4, 4), 0.75)
    torch.testing.assert_close(encoder.normalise(image), torch.ones_like(image))


def test_every_weight_gets_a_gradient(encoder):
    encoder.embed(torch.rand(2, len(encoder.mean), 32, 32)).square().sum().backward()
    silent = [n for n, p in encoder.named_parameters() if p.grad is None]
    assert not silent


def test_small_pictures_get_a_stem_that_keeps_their_resolution():
    resnet = encoders.find("resnet")
    assert resnet(3, (32, 32), depth=18).stride == 8
    assert resnet(3, (224, 224), depth=18).stride == 32
    assert resnet(3, (32, 32), depth=18, stem="imagenet")(torch.rand(1, 3, 64, 64)).shape == (1, 4, 512)
