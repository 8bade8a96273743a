"""Mixtures: in proportion in every batch, each corpus complete, and the same for any number of workers."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from selfray.corpus.mixture import Component, Mixture
from selfray.errors import UserError

WEIGHTS = st.lists(st.sampled_from([0.1, 0.37, 0.5, 1, 2, 3, 7.25]), min_size=1, max_size=5)


@st.composite
def mixtures(draw):
    lanes = draw(st.sampled_from([1, 2, 4, 5, 8, 16]))
    batch, weights = lanes * draw(st.integers(1, 6)), draw(WEIGHTS)
    assume(all(weight * batch >= sum(weights) for weight in weights))
    corpora = tuple(
        Component(f"corpus {i}", draw(st.integers(batch, 9 * batch)), weight, draw(st.integers(1, 40)))
        for i, weight in enumerate(weights)
    )
    limit = draw(st.none() | st.integers(batch, 10 * batch))
    return Mixture(corpora, batch, draw(st.integers(0, 99)), lanes, draw(st.integers(1, 12)), limit)


def epochs_of(mixture, epochs, world=1):
    """Corpora and rows of all steps of the epochs, each (steps, batch)."""
    workers = [
        [
            np.concatenate(column)
            for column in zip(
                *(
                    mixture.window_samples(epoch, window, mixture.lanes_of(rank, world))
                    for epoch in epochs
                    for window in range(mixture.windows)
                ),
                strict=True,
            )
        ]
        for rank in range(world)
    ]
    which, rows = (np.concatenate(column, axis=1) for column in zip(*workers, strict=True))
    return which, rows


@given(mixture=mixtures())
@settings(max_examples=100, deadline=None)
def test_each_corpus_stays_within_one_sample_of_its_share_at_every_step(mixture):
    which, _ = epochs_of(mixture, range(3))
    assert which.shape == (3 * mixture.steps, mixture.batch)
    total = sum(corpus.weight for corpus in mixture.corpora)
    for number, corpus in enumerate(mixture.corpora):
        seen = np.cumsum((which == number).sum(1))
        expected = np.arange(1, len(which) + 1) * mixture.batch * corpus.weight / total
        assert np.abs(seen - expected).max() < 1 + 1e-6


@given(mixture=mixtures())
@settings(max_examples=60, deadline=None)
def test_each_sample_of_a_corpus_comes_once_in_each_of_its_own_passes(mixture):
    which, rows = epochs_of(mixture, range(4))
    for number, corpus in enumerate(mixture.corpora):
        own = rows[which == number]
        assert own.size == 0 or (own.min() >= 0 and own.max() < corpus.rows)
        for begin in range(0, len(own), corpus.rows):
            one_pass = own[begin : begin + corpus.rows]
            assert len(np.unique(one_pass)) == len(one_pass)


@given(mixture=mixtures(), before=st.integers(1, 8), after=st.integers(1, 8), data=st.data())
@settings(max_examples=30, deadline=None)
def test_workers_that_become_more_or_fewer_at_any_step_see_the_same_global_batches(mixture, before, after, data):
    stop = data.draw(st.integers(0, 2 * mixture.steps))
    expected = epochs_of(mixture, range(2))
    one, other = (epochs_of(mixture, range(2), min(world, mixture.lanes)) for world in (before, after))
    for column, mine, theirs in zip(expected, one, other, strict=True):
        assert np.array_equal(np.concatenate([mine[:stop], theirs[stop:]]), column)


def test_workers_and_parts_of_their_batches_have_the_proportions_too():
    mixture = Mixture((Component("a", 9000, 0.75), Component("b", 9000, 0.25)), 256, 0, lanes=8)
    which, _ = mixture.window_samples(0, 0, range(8))
    for worker in np.split(which, 4, axis=1):
        for part in np.split(worker, 2, axis=1):
            assert np.abs(part.mean(1) - 0.25).max() <= 0.1


def test_another_pass_and_another_seed_give_another_order():
    def first_pass(seed, turn):
        mixture = Mixture((Component("a", 400, 1), Component("b", 800, 1)), 80, seed, window=5)
        which, rows = epochs_of(mixture, range(2))
        return rows[which == 0][400 * turn : 400 * (turn + 1)]

    assert not np.array_equal(first_pass(0, 0), first_pass(0, 1))
    assert not np.array_equal(first_pass(0, 0), first_pass(1, 0))


def test_an_epoch_is_as_many_samples_as_all_corpora_hold_and_ends_early_at_a_limit():
    corpora = (Component("a", 700, 3), Component("b", 350, 1))
    assert Mixture(corpora, 64, 0).steps == 16
    assert Mixture(corpora, 64, 0, limit=200).steps == 3


def test_one_corpus_alone_is_a_mixture_too():
    which, rows = epochs_of(Mixture((Component("a", 320, 1, chunk=10),), 32, 0, window=4), range(1))
    assert not which.any()
    assert np.array_equal(np.sort(rows, axis=None), np.arange(320))


def test_finding_a_window_takes_the_same_memory_and_steps_for_ten_billion_rows(monkeypatch):
    asked = []
    taken = Mixture._taken
    monkeypatch.setattr(Mixture, "_taken", lambda self, *of: asked.append(of) or taken(self, *of))

    def cost(rows):
        corpora = tuple(Component(name, rows * n, weight) for name, n, weight in (("a", 1, 0.7), ("b", 2, 0.3)))
        mixture = Mixture(corpora, 256, 0, 8, 16)
        asked.clear()
        tracemalloc.start()
        mixture.window_samples(1000, mixture.windows - 2, range(8))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, len(asked)

    cost(10**4)
    (small_peak, small_asked), (large_peak, large_asked) = cost(10**4), cost(10**10)
    assert large_peak < 1.5 * small_peak
    assert large_asked < 1.5 * small_asked


@pytest.mark.parametrize(
    ("weights", "rows", "said"),
    [
        ((1, 0), 500, "weight of corpus 'b' is 0; it must be a positive number"),
        ((1, float("nan")), 500, "weight of corpus 'b' is nan"),
        ((1, 0.01), 500, "weight 0.01 of corpus 'b' gives it less than one sample of a batch of 64"),
        ((1, 3), 40, "corpus 'b' has 40 samples but its weight 3 takes 48 of them for a batch"),
    ],
)
def test_impossible_mixtures_say_what_to_change(weights, rows, said):
    with pytest.raises(UserError, match=said):
        Mixture((Component("a", 500, weights[0]), Component("b", rows, weights[1])), 64, 0)


def test_a_mixture_refuses_what_an_order_refuses():
    corpora = (Component("a", 40, 1), Component("b", 40, 1))
    with pytest.raises(UserError, match="not a multiple of lanes"):
        Mixture(corpora, 20, 0, lanes=8)
    with pytest.raises(UserError, match="more than lanes 8"):
        Mixture(corpora, 16, 0, lanes=8).lanes_of(0, 9)
