"""The geometry of embeddings: a map in two dimensions, and who is next to whom."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

FEWEST_FOR_TSNE = 50
PERPLEXITY = 30


def layout(embedding: Array) -> tuple[Array, str]:
    """Two coordinates a sample, and the name of the method.

    t-SNE (van der Maaten & Hinton 2008) of the first 50 principal components, started from the first two; with few
    samples the principal components themselves, because t-SNE has nothing to fit.
    """
    components = principal(embedding, 50)
    spread = float(components[:, 0].std())
    if len(embedding) < FEWEST_FOR_TSNE or spread == 0:
        return components[:, :2], "PCA"
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    start = components[:, :2] / spread * 1e-4  # small, as t-SNE asks for
    model = TSNE(init=start, perplexity=min(PERPLEXITY, (len(embedding) - 1) / 3), random_state=0)
    with threadpool_limits(1):  # threads waiting for each other on a busy machine took ten times as long as one
        return np.asarray(model.fit_transform(components / spread), np.float32), "t-SNE"


def principal(embedding: Array, most: int) -> Array:
    """The first `most` principal components, at least two columns; zeros where there is no variance."""
    centred = embedding - embedding.mean(axis=0)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    components = left[:, :most] * strength[:most]
    missing = max(0, 2 - components.shape[1])
    return np.asarray(np.pad(components, ((0, 0), (0, missing))), np.float32)


def neighbours(embedding: Array, most: int) -> tuple[NDArray[np.int64], Array]:
    """The nearest other samples by cosine similarity, nearest first: their indices and similarities."""
    size = np.linalg.norm(embedding, axis=1, keepdims=True)
    unit = embedding / np.maximum(size, 1e-12)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    most = min(most, len(embedding) - 1)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
    return order, np.take_along_axis(similarity, order, axis=1)


def agreement(order: NDArray[np.int64], label: NDArray[np.int64]) -> float | None:
    """The share of neighbours with the label of their query; None without labels."""
    labelled = label >= 0
    if not labelled.any() or order.shape[1] == 0:
        return None
    return float((label[order[labelled]] == label[labelled][:, None]).mean())
