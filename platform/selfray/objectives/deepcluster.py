"""DeepCluster: the encoder learns to tell clusters of its own features apart (arXiv:1807.05520)."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..bounds import NonNegativeInt, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.clustering import agreement, kmeans, nearest, whitened, whitening
from ..parts.precision import full_precision
from ..train.distributed import from_first
from .objective import Embeddings, Objective

TABLE = ("known", "assigned", "sizes", "stability")
"""What belongs to one clustering; its lengths are those of the corpus."""


class DeepCluster(Objective):
    """k-means over the whole corpus when an epoch begins, then classification with the clusters as labels.

    The classifier starts anew with every clustering, since nothing ties the numbers of new clusters to old ones.
    Samples count so that all clusters count alike, which is the paper's uniform sampling over clusters in expectation.

    Args:
        clusters: k; the paper finds about ten for each kind of sample best.
        components: Principal components that are clustered, whitened and of length 1.
        iterations: Iterations of k-means.
        fit_samples: Samples on which centres are fitted at most; the others are read a second time and assigned.
        reassign: Epochs between two clusterings; an epoch of few steps does not teach the new classifier much.
    """

    views = "pair"

    known: Tensor
    assigned: Tensor
    sizes: Tensor
    stability: Tensor

    def __init__(
        self,
        encoder: Encoder,
        clusters: PositiveInt = 10000,
        components: PositiveInt = 256,
        iterations: NonNegativeInt = 20,
        fit_samples: PositiveInt = 250_000,
        reassign: PositiveInt = 1,
    ):
        super().__init__(encoder)
        self.clusters, self.components = clusters, components
        self.iterations, self.fit_samples, self.reassign = iterations, fit_samples, reassign
        self.classifier = nn.Linear(encoder.width, clusters)
        self._start_anew()
        self.register_buffer("known", torch.zeros(0, dtype=torch.long))  # sample ids in rising order
        self.register_buffer("assigned", torch.zeros(0, dtype=torch.int32))  # the cluster of each
        self.register_buffer("sizes", torch.ones(clusters, dtype=torch.long))
        self.register_buffer("stability", torch.tensor(0.0))

    def assignments(self, embedding: Tensor) -> Tensor:
        """What the classifier takes each for."""
        logits: Tensor = self.classifier(embedding)
        return logits.argmax(1)

    def loss(self, first: Tensor, second: Tensor, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of both views with their sample's cluster."""
        cluster, known = (column.repeat(2) for column in self._cluster_of(ids))
        logits = self.classifier(self.encoder.embed(torch.cat([first, second])))
        loss = balanced_cross_entropy(logits, cluster, self.sizes, known)
        accuracy = (logits.detach().argmax(1) == cluster).float().mean()
        return loss, {"cluster_accuracy": accuracy, "cluster_stability": self.stability.clone()}

    def _cluster_of(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Each sample's cluster, and whether it took part in the clustering."""
        if not len(self.known):
            return ids % self.clusters, torch.ones_like(ids, dtype=torch.bool)  # before there is any clustering
        place = torch.searchsorted(self.known, ids).clamp_max(len(self.known) - 1)
        return self.assigned[place].long(), self.known[place] == ids

    @torch.no_grad()
    def before_epoch(self, epoch: int, embeddings: Embeddings) -> list[nn.Parameter]:
        """Cluster the corpus as the encoder sees it now, and let the classifier forget."""
        if epoch % self.reassign:
            return []
        place = self.classifier.weight.device
        ids, rows, complete = _at_most(embeddings(), self.fit_samples)
        mean, matrix = whitening(rows, self.components)
        seen = whitened(rows, mean, matrix)
        centres = from_first(kmeans(seen, self.clusters, self.iterations))
        found = [(ids, rows)] if complete else embeddings()
        parts = [(i, nearest(whitened(r, mean, matrix), centres)) for i, r in found]
        known, order = torch.cat([i for i, _ in parts]).to(place).sort()
        assigned = from_first(torch.cat([a for _, a in parts])[order]).to(place)
        before, both = self._cluster_of(known)
        if len(self.known) and both.any():
            self.stability.fill_(agreement(before[both], assigned[both]))
        self.known, self.assigned = known, assigned.to(torch.int32)
        self.sizes = torch.bincount(assigned, minlength=self.clusters)
        self._start_anew()
        return list(self.classifier.parameters())

    @torch.no_grad()
    def _start_anew(self) -> None:
        self.classifier.weight.normal_(0, 0.01)
        self.classifier.bias.zero_()

    def advice(self, rows: int, batch: int) -> list[str]:
        """More clusters than samples cannot be filled."""
        if self.clusters <= rows:
            return []
        return [f"objective.clusters is {self.clusters:,} but the corpus has {rows:,} samples; lower clusters"]

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """A clustering is as long as its corpus, which the constructor does not know."""
        for name in TABLE:
            saved = state.get(prefix + name)
            if saved is not None and getattr(self, name).shape != saved.shape:
                setattr(self, name, torch.empty_like(saved, device=getattr(self, name).device))
        super()._load_from_state_dict(state, prefix, *rest)


@full_precision
def balanced_cross_entropy(
    logits_BK: Tensor, cluster_B: Tensor, sizes_K: Tensor, known_B: Tensor | None = None
) -> Tensor:
    """Cross-entropy in which every cluster that is not empty counts alike over an epoch (section 3.2).

    A sample counts (samples / clusters in use) / size of its cluster, which is 1 on average; the mean over the batch
    is not divided by the sum of these weights, so that batches and workers add up to the same sum. Samples that are not
    known count nothing.
    """
    used = (sizes_K > 0).sum()
    weight_B = sizes_K.sum().to(logits_BK.dtype) / used / sizes_K[cluster_B].clamp_min(1)
    if known_B is not None:
        weight_B = weight_B * known_B
    return (weight_B * cross_entropy(logits_BK, cluster_B, reduction="none")).mean()


def _at_most(parts: Iterator[tuple[Tensor, Tensor]], most: int) -> tuple[Tensor, Tensor, bool]:
    """The first `most` ids and rows, and whether these are all; the order of an epoch is random already."""
    ids: list[Tensor] = []
    rows: list[Tensor] = []
    count = 0
    for part_ids, part_rows in parts:
        if count >= most:
            return torch.cat(ids), torch.cat(rows), False
        ids.append(part_ids)
        rows.append(part_rows)
        count += len(part_ids)
    return torch.cat(ids), torch.cat(rows), True
