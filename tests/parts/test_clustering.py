"""k-means against scikit-learn and its own promises; whitening; agreement."""

import pytest
import torch

from selfray.errors import UserError
from selfray.parts.clustering import _split_largest, agreement, kmeans, nearest, whitened, whitening


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_lloyds_algorithm_from_the_same_start_ends_where_scikit_learn_does():
    from sklearn.cluster import KMeans

    rows = torch.randn(400, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(3)
    first = rows[torch.randperm(400)[:8]]
    torch.manual_seed(3)
    ours = kmeans(rows, 8, 15)
    peer = KMeans(8, init=first.numpy(), n_init=1, max_iter=15, tol=0.0, algorithm="lloyd").fit(rows.numpy())
    torch.testing.assert_close(ours, torch.from_numpy(peer.cluster_centers_), rtol=1e-5, atol=1e-6)


def test_the_nearest_centre_is_that_of_a_full_table_of_distances(monkeypatch):
    from selfray.parts import clustering

    rows, centres = torch.randn(50, 4), torch.randn(7, 4)
    expected = torch.cdist(rows, centres).argmin(1)
    assert torch.equal(nearest(rows, centres), expected)
    monkeypatch.setattr(clustering, "DISTANCES", 20)
    assert torch.equal(nearest(rows, centres), expected)


def test_the_same_random_numbers_give_the_same_centres():
    rows = torch.randn(300, 4)
    torch.manual_seed(0)
    first = kmeans(rows, 5, 4)
    torch.manual_seed(0)
    assert torch.equal(kmeans(rows, 5, 4), first)


def test_no_cluster_stays_empty_where_samples_differ():
    """Nine tenths of the rows coincide, so most of the first centres do too."""
    rows = torch.cat([torch.zeros(900, 2), torch.randn(100, 2)])
    torch.manual_seed(0)
    own = nearest(rows, kmeans(rows, 10, 30))
    assert len(own.unique()) == 10


def test_an_empty_cluster_takes_half_of_the_largest():
    centres, counts = torch.tensor([[1.0, 1.0], [4.0, 4.0], [9.0, 9.0]]), torch.tensor([2, 10, 0])
    _split_largest(centres, counts)
    assert torch.equal(centres[0], torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(centres[1:].mean(0), torch.tensor([4.0, 4.0]))
    assert not torch.equal(centres[1], centres[2])


def test_fewer_samples_than_clusters_are_refused():
    with pytest.raises(UserError, match=r"clusters is 9 but only 4 samples"):
        kmeans(torch.randn(4, 2), 9, 3)


def test_whitened_components_are_uncorrelated_with_variance_1():
    rows = torch.randn(500, 6) @ torch.randn(6, 6) + 3
    mean, matrix = whitening(rows, 4)
    components = (rows - mean) @ matrix
    torch.testing.assert_close(torch.cov(components.T), torch.eye(4), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(whitened(rows, mean, matrix).norm(dim=1), torch.ones(500))


def test_a_direction_without_variance_is_not_blown_up():
    rows = torch.randn(100, 3)
    rows[:, 1] = 5.0
    mean, matrix = whitening(rows, 3)
    assert torch.isfinite(whitened(rows, mean, matrix)).all()
    assert not matrix[:, 2].any()


def test_agreement_is_normalised_mutual_information():
    from sklearn.metrics import normalized_mutual_info_score

    first, second = torch.randint(5, (2, 200))
    mixed = torch.where(torch.rand(200) < 0.6, first, second)
    expected = normalized_mutual_info_score(first.numpy(), mixed.numpy(), average_method="geometric")
    assert agreement(first, mixed) == pytest.approx(expected, rel=1e-6)
    assert agreement(first, (first + 2) % 5) == pytest.approx(1.0)
    assert agreement(torch.zeros(9, dtype=torch.long), torch.zeros(9, dtype=torch.long)) == 1.0
