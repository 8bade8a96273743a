"""The order: exact for any number of workers, complete, and as cheap for ten billion samples as for ten thousand."""

import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfray.corpus.order import Order, Permutation
from selfray.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from bench_order import measured


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
    limit = draw(st.none() | st.integers(batch, 50 * batch))
    seed, chunk, window = draw(st.integers(0, 99)), draw(st.integers(1, 60)), draw(st.integers(1, 12))
    return Order(rows, batch, seed, lanes, chunk, window, limit)


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
    assert rows.shape == (min(order.rows, order.limit or order.rows) // order.batch, order.batch)
    assert len(np.unique(rows)) == rows.size
    assert rows.min() >= 0
    assert rows.max() < order.rows


@given(order=orders(), before=st.integers(1, 8), after=st.integers(1, 8), data=st.data())
@settings(max_examples=150, deadline=None)
def test_workers_that_become_more_or_fewer_at_any_step_see_the_same_global_batches(order, before, after, data):
    epoch, stop = data.draw(st.integers(0, 3)), data.draw(st.integers(0, order.steps))
    one, other = (epoch_of(order, epoch, min(world, order.lanes)) for world in (before, after))
    assert np.array_equal(np.concatenate([one[:stop], other[stop:]]), epoch_of(order, epoch))


@given(lanes=st.integers(1, 64), data=st.data())
def test_any_number_of_workers_up_to_the_lanes_shares_them_all_but_for_one(lanes, data):
    world = data.draw(st.integers(1, lanes))
    shares = [Order(lanes, lanes, 0, lanes).lanes_of(rank, world) for rank in range(world)]
    assert [lane for share in shares for lane in share] == list(range(lanes))
    assert max(map(len, shares)) - min(map(len, shares)) == (lanes % world > 0)


def test_epochs_with_a_limit_share_no_sample_until_the_corpus_is_used_up():
    order = Order(1000, 16, 0, 8, 10, 4, limit=250)
    epochs = [epoch_of(order, epoch).flatten() for epoch in range(8)]
    assert [epoch.size for epoch in epochs] == [240] * 8
    for four in (epochs[:4], epochs[4:]):
        assert len(np.unique(np.concatenate(four))) == 960
    assert not np.array_equal(epochs[0], epochs[4])


def test_another_epoch_leaves_out_another_tail_and_another_seed_gives_another_order():
    order = Order(1000, 64, 0, 8, 50, 4)
    left_out = [set(range(1000)) - set(epoch_of(order, e).flatten().tolist()) for e in range(8)]
    assert len({frozenset(s) for s in left_out}) >= 5
    assert not np.array_equal(epoch_of(order, 0), epoch_of(Order(1000, 64, 1, 8, 50, 4), 0))


def test_a_corpus_sorted_by_class_is_nearly_as_well_mixed_as_by_a_full_shuffle():
    """100,000 rows of 10 classes with 64 rows a chunk; docs/experiments.md has other chunks and windows."""
    order = Order(100_000, 256, 0, 8, 64, 64)
    ours = measured(epoch_of(order, 0).flatten(), 100_000, 256, 10)
    full = measured(np.random.default_rng(0).permutation(100_000), 100_000, 256, 10)
    assert abs(full.correlation) < 0.01
    assert abs(ours.correlation) < 0.06
    assert ours.mean_run < 1.06 * full.mean_run
    assert ours.longest_run <= order.per_lane
    assert full.chi_square == pytest.approx(1, abs=0.1)
    assert ours.chi_square < 2.2  # 1 + chunk / window: the chunks of a window are a sample of the classes too


def test_an_order_answers_as_a_mixture_of_one_corpus():
    order = Order(1000, 64, 0, 8, 50, 4)
    which, rows = order.window_samples(1, 2, order.lanes_of(1, 3))
    assert np.array_equal(rows, order.window_rows(1, 2, range(3, 6)))
    assert which.shape == rows.shape == (4, 24)
    assert not which.any()


@pytest.mark.parametrize("limit", [None, 4000])
def test_finding_a_window_takes_the_same_memory_and_as_many_rounds_for_ten_billion_rows(limit, monkeypatch):
    """Elements that pass a permutation's network are counted: the walk below `rows` takes fewer than 4 each."""
    passed = []
    network = Permutation._network
    monkeypatch.setattr(
        Permutation, "_network", lambda self, v, *rest: passed.append(v.size) or network(self, v, *rest)
    )

    def cost(rows):
        order = Order(rows, 256, 0, 8, 16, 8, limit)
        passed.clear()
        tracemalloc.start()
        found = order.window_rows(3, order.windows - 1, range(8)).size
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak / found, sum(passed) / found

    cost(10**4)
    (small_peak, small_work), (large_peak, large_work) = cost(10**4), cost(10**10)
    assert large_peak < 1.5 * small_peak
    assert large_work < 1.5 * small_work + 4


@pytest.mark.parametrize(
    ("rows", "batch", "lanes", "limit", "said"),
    [
        (10, 16, 8, None, "only 10 samples"),
        (100, 12, 8, None, "not a multiple of lanes"),
        (100, 16, 8, 15, "max_samples is 15, less than one batch of 16"),
    ],
)
def test_impossible_orders_say_what_to_change(rows, batch, lanes, limit, said):
    with pytest.raises(UserError, match=said):
        Order(rows, batch, 0, lanes, limit=limit)


def test_more_workers_than_lanes_are_refused():
    with pytest.raises(UserError, match="workers 9 are more than lanes 8; set lanes to 9 or more"):
        Order(100, 16, 0, 8).lanes_of(0, 9)
