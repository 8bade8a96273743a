"""Weighted k-nearest-neighbour classification of frozen features (arXiv:1805.01978, 2104.14294)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from ..bounds import Positive, PositiveInt
from .probe import Features, Probe


class KNN(Probe):
    """Neighbours vote with weight exp(cosine similarity / temperature).

    Args:
        neighbours: How many vote; DINO reports 10 and 20 as the best on ImageNet.
        temperature: How much nearer neighbours count more.
    """

    protocol = "weighted k-nearest neighbours by cosine similarity, as in DINO (arXiv:2104.14294, section 4)"

    def __init__(self, neighbours: PositiveInt = 20, temperature: Positive = 0.07):
        self.neighbours, self.temperature = neighbours, temperature

    def correct(self, train: Features, test: Features) -> NDArray[np.bool_]:
        """Whether the neighbours' vote is the label."""
        bank, queries = (normalize(torch.from_numpy(f.vectors).float(), dim=1) for f in (train, test))
        labels = torch.from_numpy(train.labels)
        classes = int(max(train.labels.max(), test.labels.max())) + 1
        predictions = []
        for chunk in queries.split(1024):
            similarity, nearest = (chunk @ bank.T).topk(min(self.neighbours, len(bank)), dim=1)
            votes = torch.zeros(len(chunk), classes)
            votes.scatter_add_(1, labels[nearest], ((similarity - 1) / self.temperature).exp())
            predictions.append(votes.argmax(dim=1))
        found: NDArray[np.bool_] = torch.cat(predictions).numpy() == test.labels
        return found
