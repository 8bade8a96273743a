"""The n-gram model that language models are compared with."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from ngrams import KneserNey

ROWS = [[0, 1, 2, 0, 1, 3], [0, 1, 2, 4, 3], [4, 0, 1, 2]]


def test_probabilities_sum_to_one_after_any_words() -> None:
    model = KneserNey(ROWS, vocabulary=6)
    for before in [(), (0,), (5,), (0, 1), (3, 5), (4, 3)]:
        assert sum(model.probability((*before, word)) for word in range(6)) == pytest.approx(1)


def test_two_words_are_the_discounted_share_and_the_rest_by_how_many_words_come_before() -> None:
    model = KneserNey(ROWS, vocabulary=6, order=2)  # pairs: 01 four times, 12 three, 20 13 24 43 40 once
    of_pairs, of_words = 5 / (5 + 2 * 0), 3 / (3 + 2 * 2)  # 1, 2 and 4 follow one word, 0 and 3 two
    alone = (2 - of_words) / 7 + of_words * 5 / 7 / 6
    assert model.probability((1, 3)) == pytest.approx((1 - of_pairs) / 4 + of_pairs * 2 / 4 * alone)


def test_perplexity_of_words_never_seen_is_the_vocabulary() -> None:
    assert KneserNey(ROWS, vocabulary=6).perplexity([[5, 5]]) > 6 > KneserNey(ROWS, vocabulary=6).perplexity(ROWS)
