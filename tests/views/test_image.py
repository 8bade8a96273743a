"""Fused views against Pillow, sample by sample, and their parameters against torchvision's definitions."""

import colorsys
import inspect
import math
import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy.stats import ks_2samp, kstest
from sklearn.datasets import load_sample_images
from torch.utils._python_dispatch import TorchDispatchMode

from selfray.errors import UserError
from selfray.parts.colour import colour_matrix
from selfray.parts.resample import blurring_matrix
from selfray.views.image import ImageViews
from selfray.views.random import sample_keys

NOTHING = {"flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0}
WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), **NOTHING}  # on a square picture
STEP = 1 / 255


def keys(count: int, seed: int = 0) -> torch.Tensor:
    return sample_keys(torch.arange(count), seed, 0)


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    """Eight photographs, (8, 48, 72, 3), parts of the two that come with scikit-learn."""
    parts = [
        Image.fromarray(image).crop((x, y, x + 288, y + 192)).resize((72, 48), Image.Resampling.LANCZOS)
        for image in load_sample_images().images
        for x, y in ((0, 0), (320, 0), (0, 220), (320, 220))
    ]
    return torch.from_numpy(np.stack([np.asarray(part) for part in parts]))


@pytest.fixture(scope="module")
def squares(photographs) -> torch.Tensor:
    return photographs[:, 8:40, 20:52].contiguous()


def test_crop_resize_and_flip_are_pillows(photographs):
    """Pillow rounds to eight bits after the rows and again after the columns; the views do not."""
    for size in (20, 96):  # smaller and larger than most crops
        views = ImageViews(size=size, **{**NOTHING, "flip": 0.5})
        drawn = views.parameters(keys(8), 0, 48, 72)
        made = views.pair(photographs, keys(8))["first"]
        assert 0 < drawn.flip.sum() < 8
        for i, sample in enumerate(photographs.numpy()):
            top, left, height, width = (int(edge[i]) for edge in drawn.boxes)
            crop = Image.fromarray(sample).crop((left, top, left + width, top + height))
            expected = crop.resize((size, size), Image.Resampling.BILINEAR)
            if drawn.flip[i]:
                expected = ImageOps.mirror(expected)
            difference = np.abs(made[i].permute(1, 2, 0).numpy() - np.asarray(expected) / 255)
            assert difference.max() < 1.5 * STEP
            assert difference.mean() < 0.4 * STEP


@pytest.mark.parametrize(
    ("setting", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_colour_factors_are_those_of_pillows_enhancers(squares, setting, enhance):
    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    views = ImageViews(**{**WHOLE, **off, "jitter": 1.0, setting: 0.8})
    factors = getattr(views.parameters(keys(8), 0, 32, 32), setting)
    assert factors.std() > 0.2
    for made, sample, factor in zip(views.pair(squares, keys(8))["first"], squares.numpy(), factors, strict=True):
        expected = np.asarray(enhance(Image.fromarray(sample)).enhance(factor.item())) / 255
        assert np.abs(made.permute(1, 2, 0).numpy() - expected).max() < 1.5 * STEP


def test_grey_is_the_luma_of_bt_601(squares):
    made = ImageViews(**{**WHOLE, "grey": 1.0}).pair(squares, keys(8))["first"]
    for view, sample in zip(made, squares.numpy(), strict=True):
        expected = np.asarray(Image.fromarray(sample).convert("L")) / 255
        assert np.abs(view.numpy() - expected).max() < STEP


def test_hue_turns_as_in_hsv():
    """A circle round the axis of the greys and the hexagon of HSV meet at thirds of a turn and differ between."""
    generator = np.random.default_rng(0)
    colours = np.array([colorsys.hsv_to_rgb(*generator.uniform((0, 0.1, 0.4), (1, 0.6, 0.8))) for _ in range(500)])
    for hue, error in ((1 / 3, 1e-6), (-1 / 3, 1e-6), (0.1, 0.035), (-0.1, 0.035), (0.03, 0.015)):
        hsv = [colorsys.rgb_to_hsv(*colour) for colour in colours]
        expected = np.array([colorsys.hsv_to_rgb((h + hue) % 1, s, v) for h, s, v in hsv])
        turned = colours @ colour_matrix(torch.ones(1), torch.tensor([hue]))[0].numpy().T
        assert np.abs(turned - expected).mean() < error
        assert np.corrcoef((turned - colours).ravel(), (expected - colours).ravel())[0, 1] > 0.75


def test_hue_and_saturation_leave_greys_alone():
    matrix = colour_matrix(torch.tensor([0.3, 1.7]), torch.tensor([0.4, -0.2]))
    torch.testing.assert_close(matrix.sum(2), torch.ones(2, 3))


def test_saturation_comes_before_hue_and_grey_after(squares):
    matrix = colour_matrix(torch.tensor([0.5]), torch.tensor([0.2]))
    saturation = colour_matrix(torch.tensor([0.5]), torch.zeros(1))
    hue = colour_matrix(torch.ones(1), torch.tensor([0.2]))
    torch.testing.assert_close(matrix, hue @ saturation)

    strong = {**WHOLE, "jitter": 1.0, "brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.3}
    dim = squares // 3 + 60  # nothing reaches the clamp, after which grey would be another
    coloured = ImageViews(**strong).pair(dim, keys(8))["first"]
    grey = ImageViews(**{**strong, "grey": 1.0}).pair(dim, keys(8))["first"]
    luma = torch.einsum("bchw,c->bhw", coloured, torch.tensor([0.299, 0.587, 0.114]))
    torch.testing.assert_close(grey, luma[:, None].expand(-1, 3, -1, -1), atol=1e-5, rtol=0)


def test_blur_is_the_direct_gaussian(squares):
    views = ImageViews(**{**WHOLE, "blur": 1.0})
    sigmas = views.parameters(keys(8), 0, 32, 32).sigma.numpy()
    made = views.pair(squares, keys(8))["first"].permute(0, 2, 3, 1).numpy()
    offset = np.arange(32)[:, None] - np.arange(32)
    for view, sample, sigma in zip(made, squares.numpy() / 255, sigmas, strict=True):
        gaussian = np.exp(-(offset**2) / (2.0 * sigma**2)) * (np.abs(offset) <= 4 * sigma)
        gaussian /= gaussian.sum(1, keepdims=True)
        expected = np.einsum("yi,xj,ijc->yxc", gaussian, gaussian, sample)
        assert np.abs(view - expected).max() < 1e-5


def test_blur_matrices_hold_no_denormal_numbers():
    matrix = blurring_matrix(torch.cat([torch.zeros(1), torch.linspace(0.01, 9, 400)]), 96)
    assert torch.equal(matrix[0], torch.eye(96))
    assert matrix[matrix > 0].min() > 1e-6


def test_solarisation_is_pillows(squares):
    made = ImageViews(**WHOLE, solarise=1.0).pair(squares, keys(8))["first"]
    for view, sample in zip(made, squares.numpy(), strict=True):
        expected = np.asarray(ImageOps.solarize(Image.fromarray(sample), 128)) / 255
        np.testing.assert_allclose(view.permute(1, 2, 0), expected, atol=1e-6)


def crop_of_torchvision(rng, height, width, scale, ratio):
    """RandomResizedCrop.get_params as its documentation defines it."""
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return rng.randint(0, height - h), rng.randint(0, width - w), h, w
    w, h = width, height
    if width / height < ratio[0]:
        h = round(w / ratio[0])
    elif width / height > ratio[1]:
        w = round(h * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [
        (96, 96, (0.2, 1.0)),
        (150, 100, (0.08, 1.0)),
        (60, 100, (0.7, 1.0)),  # half of the attempts do not fit
        (20, 100, (0.5, 1.0)),  # none fits
    ],
)
def test_crops_are_distributed_as_torchvisions(height, width, scale):
    views = ImageViews(scale=scale)
    top, left, h, w = (edge.double().numpy() for edge in views.parameters(keys(6000), 0, height, width).boxes)
    assert (np.concatenate([top, left, height - top - h, width - left - w]) >= 0).all()
    rng = random.Random(0)
    drawn = [crop_of_torchvision(rng, height, width, scale, (3 / 4, 4 / 3)) for _ in range(6000)]
    expected = np.array(drawn, dtype=float).T
    for statistic in (
        lambda top, left, h, w: h * w,
        lambda top, left, h, w: w / h,
        lambda top, left, h, w: top,
        lambda top, left, h, w: left,
        lambda top, left, h, w: top + h / 2 + 3 * left,
    ):
        assert ks_2samp(statistic(top, left, h, w), statistic(*expected)).pvalue > 0.01


def test_settings_are_the_rates_and_ranges_of_what_is_drawn():
    count = 20_000
    views = ImageViews(solarise=0.2, hue=0.3, contrast=1.5)
    drawn = views.parameters(keys(count), 0, 32, 32)
    jittered = drawn.brightness != 1
    for chosen, rate in [
        (drawn.flip, 0.5),
        (jittered, 0.8),
        (drawn.grey, 0.2),
        (drawn.sigma > 0, 0.5),
        (drawn.solarise, 0.2),
    ]:
        assert abs(chosen.float().mean().item() - rate) < 4 * (rate * (1 - rate) / count) ** 0.5
    for values, low, high in [
        (drawn.brightness[jittered], 0.6, 1.4),
        (drawn.contrast[jittered], 0.0, 2.5),  # a factor is never negative
        (drawn.saturation[jittered], 0.6, 1.4),
        (drawn.hue[jittered], -0.3, 0.3),
        (drawn.sigma[drawn.sigma > 0], 0.1, 2.0),
    ]:
        assert kstest(values.numpy(), "uniform", (low, high - low)).pvalue > 0.01


def test_every_sample_and_view_has_its_own_parameters():
    views = ImageViews(jitter=1.0, blur=1.0)
    factors = torch.stack([views.parameters(keys(50), view, 32, 32).brightness for view in range(4)])
    assert len(factors.unique()) == factors.numel()


def test_switching_one_step_off_leaves_the_other_draws_alone():
    with_jitter = ImageViews().parameters(keys(50), 0, 32, 32)
    without = ImageViews(jitter=0.0).parameters(keys(50), 0, 32, 32)
    assert torch.equal(with_jitter.boxes.top, without.boxes.top)
    assert torch.equal(with_jitter.sigma, without.sigma)


@pytest.mark.parametrize("kind", ImageViews.kinds)
def test_a_samples_views_do_not_depend_on_its_batch(photographs, kind):
    views = ImageViews(size=24, local_crops=2)
    whole = views.make(kind, photographs, keys(8))
    again = views.make(kind, photographs, keys(8))
    half = views.make(kind, photographs[4:], keys(8)[4:])
    for name, made in whole.items():
        assert torch.equal(made, again[name])
        part = made[:, 4:] if name == "local" else made[4:]
        torch.testing.assert_close(part, half[name], atol=1e-6, rtol=0)  # matrix routines may sum in another order


def test_views_are_floats_from_0_to_1_in_channels_last(photographs):
    views = ImageViews(size=28, local_crops=3, solarise=0.5)
    made = views.multi_crop(photographs, keys(8))
    assert {name: tuple(v.shape) for name, v in made.items()} == {
        "first": (8, 3, 28, 28),
        "second": (8, 3, 28, 28),
        "local": (3, 8, 3, 12, 12),
    }
    for view in (
        made["first"],
        made["second"],
        made["local"].flatten(0, 1),
        views.plain(photographs, keys(8))["images"],
    ):
        assert view.dtype == torch.float32
        assert view.is_contiguous(memory_format=torch.channels_last)
        assert 0 <= view.min() <= view.max() <= 1
        assert view.std() > 0.05
    assert not torch.equal(made["first"], made["second"])
    assert views.multi_crop(photographs, keys(8))["local"].untyped_storage().size() == 3 * 8 * 3 * 12 * 12 * 4


def test_without_a_size_views_have_the_samples_own(photographs):
    assert ImageViews().pair(photographs, keys(8))["second"].shape == (8, 3, 48, 72)
    local = ImageViews(local_crops=1, local_size=10).multi_crop(photographs, keys(8))["local"]
    assert local.shape == (1, 8, 3, 10, 10)
    assert ImageViews().multi_crop(photographs, keys(8))["local"].shape[:2] == (0, 8)


def test_local_crops_show_less_of_the_sample():
    views = ImageViews(local_crops=1)
    whole, local = (views.parameters(keys(500), view, 96, 96).boxes for view in (0, 2))
    assert (local.height * local.width).max() < 0.42 * 96 * 96 < (whole.height * whole.width).mean()


def test_plain_images_are_the_samples(photographs):
    same = ImageViews().plain(photographs, keys(8))["images"]
    assert torch.equal(same, photographs.permute(0, 3, 1, 2).float() / 255)
    resized = ImageViews(size=32).plain(photographs, keys(8))["images"]
    for image, sample in zip(resized, photographs.numpy(), strict=True):
        centre = Image.fromarray(sample).crop((12, 0, 60, 48)).resize((32, 32), Image.Resampling.BILINEAR)
        assert np.abs(image.permute(1, 2, 0).numpy() - np.asarray(centre) / 255).max() < 1.5 * STEP


@pytest.mark.parametrize("channels", [1, 4])
def test_images_without_rgb_get_brightness_and_contrast_only(squares, channels):
    samples = squares[..., :1].repeat(1, 1, 1, channels)
    made = ImageViews(**{**WHOLE, "jitter": 1.0, "grey": 1.0}).pair(samples, keys(8))["first"]
    assert made.shape == (8, channels, 32, 32)
    drawn = ImageViews(**{**WHOLE, "jitter": 1.0}).parameters(keys(8), 0, 32, 32)
    for view, sample, brightness, contrast in zip(made, samples, drawn.brightness, drawn.contrast, strict=True):
        bright = sample.permute(2, 0, 1) / 255 * brightness
        expected = bright.mean() + contrast * (bright - bright.mean())
        torch.testing.assert_close(view, expected.clamp(0, 1), atol=1e-5, rtol=0)


def test_the_second_view_may_differ(squares):
    views = ImageViews(blur=1.0, second={"blur": 0.0, "solarise": 1.0, "scale": [0.5, 0.6]})
    first, second = (views.parameters(keys(200), view, 32, 32) for view in (0, 1))
    assert (first.sigma > 0).all()
    assert (second.sigma == 0).all()
    assert second.solarise.all()
    assert not first.solarise.any()
    assert (second.boxes.height * second.boxes.width).min() > 0.4 * 32 * 32


def test_settings_rebuild_the_same_views():
    views = ImageViews(size=24, blur=1.0, second={"blur": 0.1}, local_crops=2)
    assert set(views.settings()) == set(inspect.signature(ImageViews).parameters)
    assert ImageViews(**views.settings()).settings() == views.settings()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"second": {"solarize": 0.2}}, "second: no setting 'solarize' (did you mean 'solarise'?)"),
        ({"second": {"size": 12}}, "second: no setting 'size'"),
        ({"second": {"blur": 2.0}}, "second.blur should be less than or equal to 1, not 2.0"),
        ({"second": {"blur": "often"}}, "second.blur should be a valid number"),
        ({"hue": 0.6}, "hue should be less than or equal to 0.5, not 0.6"),
        ({"brightness": -0.1}, "brightness should be greater than or equal to 0, not -0.1"),
        ({"scale": (1.0, 0.2)}, "scale should have the smaller number first, not (1.0, 0.2)"),
        ({"scale": (0.2, 1.1)}, "scale[1] should be less than or equal to 1, not 1.1"),
        ({"ratio": (0.0, 1.0)}, "ratio[0] should be greater than 0, not 0.0"),
        ({"blur_sigma": (2.0, 0.1)}, "blur_sigma should have the smaller number first"),
        ({"local_scale": (0.4, 0.05)}, "local_scale should have the smaller number first"),
        ({"size": 0}, "size should be greater than or equal to 1, not 0"),
        ({"local_crops": -1}, "local_crops should be greater than or equal to 0, not -1"),
    ],
)
def test_a_wrong_setting_is_named(settings, message):
    with pytest.raises(UserError) as error:
        ImageViews(**settings)
    assert str(error.value).startswith(message)


class NoSynchronisation(TorchDispatchMode):
    """Fails on operations that make the host wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ImageViews.kinds)
def test_the_host_never_waits_for_the_device(photographs, kind):
    views = ImageViews(size=24, local_crops=1, solarise=0.2)
    with NoSynchronisation():
        views.make(kind, photographs, keys(8))


def test_autocast_does_not_coarsen_the_views(photographs):
    views = ImageViews(size=24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = views.pair(photographs, keys(8))["first"]
    assert torch.equal(under, views.pair(photographs, keys(8))["first"])


@pytest.mark.parametrize("kind", ImageViews.kinds)
def test_a_second_batch_does_not_compile_again(photographs, kind):
    torch.compiler.reset()
    views = ImageViews(size=24, local_crops=2)
    compiled = torch.compile(views.make, fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for batch in range(3):
            samples = photographs.roll(batch, 0)
            made = compiled(kind, samples, keys(8, seed=batch))
            for name, expected in views.make(kind, samples, keys(8, seed=batch)).items():
                assert torch.equal(made[name], expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own
def test_compiled_views_are_the_eager_ones(squares):
    torch.compiler.reset()
    views = ImageViews(solarise=0.2)
    compiled = torch.compile(views.pair, fullgraph=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed in range(2):
            made, expected = compiled(squares, keys(8, seed)), views.pair(squares, keys(8, seed))
            for name, view in made.items():
                assert view.is_contiguous(memory_format=torch.channels_last)
                # A value next to the threshold may be inverted in one and not in the other.
                assert ((view - expected[name]).abs() > 1e-5).float().mean() < 1e-3
