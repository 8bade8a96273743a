"""DeepCluster: clustering, balanced classes, and state that a resumed run needs."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from selfray.encoders.conv import Conv
from selfray.objectives.deepcluster import DeepCluster, balanced_cross_entropy
from selfray.train.loop import Job, train

sys.path.insert(0, str(Path(__file__).parents[1]))
from workers import together

SETTINGS = {"name": "deepcluster", "clusters": 6, "iterations": 5}
SEED = 12
"""With this one and the next, the first centres are of three groups, from which Lloyd's algorithm finds them all."""


def made(**settings):
    torch.manual_seed(1)
    return DeepCluster(Conv(1, (8, 8), width=8, stages=1), **({"clusters": 3, "components": 2} | settings))


def three_groups(each=(20, 10, 5)):
    """Embeddings of three groups far from each other, with ids that have gaps, in batches of five."""
    generator = torch.Generator().manual_seed(2)
    centres = 10 * torch.eye(8)[:3]
    label = torch.repeat_interleave(torch.arange(3), torch.tensor(each))[torch.randperm(sum(each), generator=generator)]
    rows = centres[label] + torch.randn(sum(each), 8, generator=generator) / 10
    ids = torch.randperm(sum(each), generator=generator) * 7
    return ids, rows, label, lambda: iter(zip(ids.split(5), rows.split(5), strict=True))


def same_partition(one, other):
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


@pytest.mark.parametrize("fit_samples", [20, 1000], ids=["read twice", "read once"])
def test_groups_are_found_and_kept_by_sample_id(fit_samples):
    model = made(fit_samples=fit_samples)
    ids, _, label, embeddings = three_groups()
    torch.manual_seed(SEED)
    model.before_epoch(0, embeddings)
    cluster, known = model._cluster_of(ids)
    assert known.all()
    assert same_partition(cluster, label)
    assert sorted(model.sizes.tolist()) == [5, 10, 20]
    assert not model._cluster_of(torch.tensor([3, 10**12]))[1].any()


def test_the_classifier_starts_anew_and_the_encoder_does_not():
    model = made()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    anew = model.before_epoch(0, three_groups()[3])
    assert {id(p) for p in anew} == {id(p) for p in model.classifier.parameters()}
    assert not torch.equal(before["classifier.weight"], model.classifier.weight)
    assert model.classifier.weight.std().item() == pytest.approx(0.01, rel=0.5)
    assert not model.classifier.bias.any()
    assert all(torch.equal(before[f"encoder.{k}"], v) for k, v in model.encoder.state_dict().items())


def test_clusters_stay_for_as_many_epochs_as_asked():
    model = made(reassign=2)
    assert model.before_epoch(0, three_groups()[3])
    assert model.before_epoch(1, three_groups()[3]) == []


def test_the_same_groups_twice_are_completely_stable():
    model = made()
    for epoch in range(2):
        torch.manual_seed(SEED + epoch)
        model.before_epoch(epoch, three_groups()[3])
    assert model.stability.item() == pytest.approx(1.0, abs=1e-6)


def test_every_cluster_counts_alike_over_an_epoch():
    logits, cluster = torch.randn(12, 4, dtype=torch.double), torch.tensor([0] * 8 + [1] * 3 + [3])
    sizes = torch.bincount(cluster, minlength=4)
    each = cross_entropy(logits, cluster, reduction="none")
    expected = sum(each[cluster == k].mean() for k in (0, 1, 3)) / 3
    torch.testing.assert_close(balanced_cross_entropy(logits, cluster, sizes), expected, rtol=1e-9, atol=0)


def test_samples_outside_of_the_clustering_have_no_gradient():
    logits = torch.randn(3, 4, requires_grad=True)
    known = torch.tensor([True, False, True])
    balanced_cross_entropy(logits, torch.tensor([0, 1, 2]), torch.ones(4, dtype=torch.long), known).backward()
    assert logits.grad.abs().sum(1).gt(0).tolist() == [True, False, True]


def test_state_of_a_clustering_fits_a_fresh_model():
    model, fresh = made(), made()
    model.before_epoch(0, three_groups()[3])
    fresh.load_state_dict(model.state_dict())
    ids = three_groups()[0]
    assert torch.equal(fresh._cluster_of(ids)[0], model._cluster_of(ids)[0])


def test_an_epoch_of_the_loop_clusters_each_of_its_samples_once(recipe, fit, tmp_path, monkeypatch):
    seen = []
    before = DeepCluster.before_epoch

    def noted(self, epoch, embeddings):
        anew = before(self, epoch, embeddings)
        seen.append((epoch, self.known.tolist(), int(self.sizes.sum())))
        return anew

    monkeypatch.setattr(DeepCluster, "before_epoch", noted)
    rows = fit(recipe(objective=SETTINGS, batch=96, steps=12), tmp_path / "run")
    assert [epoch for epoch, _, _ in seen] == [0, 1, 2]  # 500 samples are 5 steps of 96
    assert all(len(set(known)) == len(known) == total == 480 for _, known, total in seen)
    assert 0 < rows[-1]["train/cluster_stability"] <= 1


def clustered(rank, plain, folder, run):
    from selfray.recipe import parse

    job = Job(parse(plain), folder, run)
    train(job, lambda row: None)
    return {}


def test_two_workers_find_the_clusters_of_one(recipe, fit, digits, tmp_path):
    """In fp32 and at the first epoch, where the encoder is the same bit for bit."""
    from safetensors.torch import load_file

    from selfray.train.checkpoint import Checkpoints

    settings = recipe(objective=SETTINGS, batch=96, steps=1)
    fit(settings, tmp_path / "one")
    together(2, clustered, settings.plain(), str(digits), str(tmp_path / "two"))
    one, two = (
        load_file(Checkpoints(tmp_path / name / "checkpoints").newest() / "objective.safetensors")
        for name in ("one", "two")
    )
    assert torch.equal(one["known"], two["known"])
    assert (one["assigned"] == two["assigned"]).float().mean() > 0.99
