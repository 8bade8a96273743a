"""Sobel edges, by themselves and in front of encoders."""

import pytest
import torch

from selfray import encoders
from selfray.parts.sobel import sobel


def test_a_ramp_has_its_slope_in_one_direction_and_none_in_the_other():
    ramp = torch.arange(6.0).expand(1, 3, 6, 6)
    along, down = sobel(ramp)[0]
    assert torch.equal(along[:, 1:-1], torch.full((6, 4), -8.0))  # eight times the slope, as the kernel's weights add
    assert torch.equal(down, torch.zeros(6, 6))
    assert torch.equal(sobel(ramp.transpose(2, 3))[0, 1], along.T)


def test_a_flat_picture_has_no_edges_not_even_at_its_border():
    assert not sobel(torch.full((2, 1, 5, 7), 0.3)).any()


@pytest.mark.parametrize(("name", "settings"), [("conv", {"width": 8}), ("resnet", {"depth": 18})])
def test_an_encoder_of_edges_does_not_see_which_colour_they_have(name, settings):
    torch.manual_seed(0)
    encoder = encoders.find(name)(3, (16, 16), sobel=True, **settings).eval()
    picture = torch.rand(2, 3, 16, 16) / 2
    with torch.inference_mode():
        torch.testing.assert_close(encoder.embed(picture), encoder.embed(picture.flip(1) + 0.25), rtol=1e-4, atol=1e-5)
