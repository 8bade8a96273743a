"""Series as small pictures."""

import numpy as np

from selfray.evaluation.pictures import COLOURS, HEIGHT, WIDTH, drawn


def test_a_rising_series_is_a_rising_curve_in_its_channels_colour():
    rows = np.linspace(-5, 5, 50, dtype=np.float32)[None, :, None] * np.array([1, -1], np.float32)
    (picture,) = drawn("series", rows)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    heights = [np.nonzero((picture[:, x] == COLOURS[1]).all(1))[0].mean() for x in (2, WIDTH // 2, WIDTH - 3)]
    assert heights == sorted(heights)  # the second channel falls, and row 0 is the top


def test_gaps_are_white_and_a_constant_or_empty_series_is_drawn():
    rows = np.ones((2, 40, 1), np.float32)
    rows[0, 20:], rows[1] = np.nan, np.nan
    pictures = drawn("series", rows)
    assert (pictures[0, :, WIDTH // 2 + 2 :] == 255).all()
    assert (pictures[0, :, : WIDTH // 2 - 2] != 255).any()
    assert (pictures[1] == 255).all()


def test_data_types_without_pictures_have_none():
    assert drawn("text", np.zeros((2, 5), np.int64)) is None
