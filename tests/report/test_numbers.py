"""Numbers and ticks as people read them."""

from typing import Any

import pytest

from selfray.report.numbers import compact, duration, plain, tick_labels, ticks


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (plain(0.9534), "0.953"),
        (plain(12345.6), "12,346"),
        (plain(0.0003), "3e-4"),
        (plain(-3.1), "−3.10"),
        (plain(float("nan")), "–"),
        (plain(None), "–"),
        (plain(0), "0"),
        (compact(11_173_962), "11.2\xa0M"),
        (duration(7500), "2\xa0h 5\xa0min"),
        (duration(3.21), "3.2\xa0s"),
        (tick_labels(ticks(0, 1)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (tick_labels(ticks(0, 40000)), ["0", "10k", "20k", "30k", "40k"]),
    ],
)
def test_numbers_read_well(shown: Any, expected: Any) -> None:
    assert shown == expected
