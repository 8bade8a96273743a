"""The order: exact for any number of workers, complete, and as cheap for ten billion samples as for ten thousand."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfray.corpus.order import Order, Permutation
from selfray.errors import UserError


@given(size=st.integers(1, 3000), key=st.integers(0, 2**70))
@settings(max_examples=60, deadline=None)
def test_a_permutation_is_a_bijection_and_its_inverse_undoes_it(size, key):
    elements = np.arange(size)
    permuted = Permutation(size, key)(elements)
    assert np.array_equal(np.sort(permuted), elements)
    assert np.array_equal(Permutation(size, key).inverse(permuted), elements)


def test_permutations_of_different_keys_have_nothing_in_common():
    elements = np.arange(10_000)
    one, other = Permutation(10_000, 1)(elements), Permutation(10_000, 2)(elements)
    assert (one == other).sum() < 12
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.04
    assert abs(np.corrcoef(one, elements)[0, 1]) < 0.04


@st.composite
def orders(draw):
    lanes = draw(st.sampled_from([1, 2, 4, 6, 8]))
    batch = lanes * draw(st.integers(1, 5))
    rows = draw(st.integers(batch, 40 * batch))
    return Order(rows, batch, draw(st.integers(0, 99)), lanes, draw(st.integers(1, 60)), draw(st.integers(1, 12)))


def epoch_of(order, epoch, world=1):
    workers = [
        np.concatenate([order.window_rows(epoch, w, order.lanes_of(rank, world)) for w in range(order.windows)])
        for rank in range(world)
    ]
    return np.concatenate(workers, axis=1)


@given(order=orders(), epoch=st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_each_row_comes_once_an_epoch_but_for_a_tail_shorter_than_a_batch(order, epoch):
    rows = epoch_of(order, epoch)
    assert rows.shape == (order.rows // order.batch, order.batch)
    assert len(np.unique(rows)) == rows.size
    assert rows.min() >= 0
    assert rows.max() < order.rows


@given(order=orders(), epoch=st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_every_number_of_workers_sees_the_same_global_batches(order, epoch):
    expected = epoch_of(order, epoch)
    for world in range(2, order.lanes + 1):
        if order.lanes % world == 0:
            assert np.array_equal(epoch_of(order, epoch, world), expected)


def test_another_epoch_leaves_out_another_tail_and_another_seed_gives_another_order():
    order = Order(1000, 64, 0, 8, 50, 4)
    left_out = [set(range(1000)) - set(epoch_of(order, e).flatten().tolist()) for e in range(8)]
    assert len({frozenset(s) for s in left_out}) >= 5
    assert not np.array_equal(epoch_of(order, 0), epoch_of(Order(1000, 64, 1, 8, 50, 4), 0))


def test_a_corpus_sorted_by_class_is_well_mixed():
    """Neighbours and batches against a full shuffle: 10 classes, sorted, 20,000 rows."""
    order = Order(20_000, 200, 0, 8, 100, 50)
    classes = epoch_of(order, 0) // 2000
    counts = np.stack([np.bincount(batch, minlength=10) for batch in classes])
    shuffled = np.random.default_rng(0).permutation(20_000)[: classes.size].reshape(classes.shape) // 2000
    full = np.stack([np.bincount(batch, minlength=10) for batch in shuffled])
    assert counts.std() < 1.6 * full.std()
    neighbours = (classes[:, 1:] == classes[:, :-1]).mean()
    assert neighbours < 0.2  # 0.1 for a full shuffle, 1.0 unshuffled; a window holds about 12 chunks a lane


def test_finding_a_window_costs_the_same_for_ten_billion_rows():
    def seconds(rows):
        order = Order(rows, 256, 0, 8, 256, 64)
        begun = time.perf_counter()
        order.window_rows(3, min(5, order.windows - 1), range(8))
        return time.perf_counter() - begun

    seconds(10**5)
    small, large = (min(seconds(n) for _ in range(5)) for n in (10**5, 10**10))
    assert large < 20 * small


@pytest.mark.parametrize(
    ("rows", "batch", "lanes", "said"), [(10, 16, 8, "only 10 samples"), (100, 12, 8, "not a multiple of lanes")]
)
def test_impossible_orders_say_what_to_change(rows, batch, lanes, said):
    with pytest.raises(UserError, match=said):
        Order(rows, batch, 0, lanes)


def test_a_number_of_workers_that_does_not_divide_the_lanes_is_refused():
    with pytest.raises(UserError, match="set lanes to a multiple of 3"):
        Order(100, 16, 0, 8).lanes_of(0, 3)
