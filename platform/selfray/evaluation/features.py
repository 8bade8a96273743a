"""Frozen features of a corpus."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..corpus.manifest import Manifest
from ..corpus.order import mix
from ..corpus.read import decode, groups
from ..encoders.encoder import Encoder


@dataclass(frozen=True)
class Samples:
    """Decoded samples of a split with what is known of them."""

    ids: NDArray[np.int64]
    data: NDArray[Any]  # (samples, *shape of the corpus)
    labels: NDArray[np.int64]  # -1 where there is none


def load(folder: str | Path, split: str, limit: int, seed: int = 0) -> Samples:
    """Up to `limit` samples of a split; a seeded choice of row groups where there are more.

    In a corpus that is sorted by class a row group holds one class only, so that groups are chosen by the labels in
    them: every class has samples as long as the limit allows it.
    """
    manifest = Manifest.read(folder)
    ids, data, labels = [], [], []
    for file, group, rows in _chosen(folder, manifest, split, limit, seed):
        table = groups(folder, manifest, file, [group], ["id", "data", "length", "label"])
        table = table if rows is None else table.take(pa.array(rows))
        ids.append(table["id"].to_numpy())
        data.append(decode(table, manifest))
        labels.append(_numbers(table["label"]))
    return Samples(np.concatenate(ids), np.concatenate(data), np.concatenate(labels))


def few(samples: Samples, many: float, seed: int) -> NDArray[np.int64]:
    """The places of a few labels of each class, in order: what a probe is fitted on where labels are scarce.

    The samples' numbers decide, whatever the order is that they come in. A larger choice of one seed holds the smaller
    ones.

    Args:
        samples: with labels, of which those below 0 are none.
        many: a share below 1 of each class, at least one sample of it; or so many samples of each.
        seed: fixes which.
    """
    labels, chosen = samples.labels, []
    order = np.argsort(np.array([mix(seed, number) for number in samples.ids.tolist()], np.uint64), kind="stable")
    for label in np.unique(labels[labels >= 0]):
        own = order[labels[order] == label]
        chosen.append(own[: max(1, round(many * len(own))) if many < 1 else int(many)])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)


def _chosen(
    folder: str | Path, manifest: Manifest, split: str, limit: int, seed: int
) -> Iterator[tuple[str, int, NDArray[np.int64] | None]]:
    """File, row group and rows of it (None for all), at most `limit` rows of every class there is."""
    every = [(s.file, g, rows) for s in manifest.shards(split) for g, rows in enumerate(s.row_groups)]
    if manifest.rows(split) <= limit:
        yield from ((file, group, None) for file, group, _ in every)
        return
    every.sort(key=lambda place: mix(seed, hash_of(place[0]), place[1]))
    labels = _labels_of(folder, manifest, split) if manifest.classes else {}
    seen: set[int] = set()
    first: list[tuple[str, int, int, set[int]]] = []  # with the classes that no group before has
    others: list[tuple[str, int, int, set[int]]] = []
    for file, group, rows in every:
        new = set(labels.get((file, group), np.empty(0, np.int64)).tolist()) - seen
        (first if new else others).append((file, group, rows, new))
        seen |= new
    left, lacking = limit, len(seen)
    for file, group, rows, new in [*first, *others]:
        share = min(rows, left * len(new) // lacking if lacking else left)  # groups with other classes get theirs
        lacking -= len(new)
        left -= share
        if share:
            yield file, group, None if share == rows else _of_every_class(labels.get((file, group)), rows, share, new)
        if not left:
            return


def _of_every_class(labels: NDArray[np.int64] | None, rows: int, count: int, wanted: set[int]) -> NDArray[np.int64]:
    """So many of the rows, in order: of each class the same number as long as it has them, the wanted classes first."""
    if labels is None:
        return np.arange(count)
    order = np.argsort(labels, kind="stable")
    turn = np.arange(rows) - np.searchsorted(labels[order], labels[order])  # 0 for the first of each class
    later = ~np.isin(labels[order], list(wanted))
    return np.sort(order[np.lexsort((later, turn))[:count]])


def _labels_of(folder: str | Path, manifest: Manifest, split: str) -> dict[tuple[str, int], NDArray[np.int64]]:
    """(file, row group) -> its labels."""
    found: dict[tuple[str, int], NDArray[np.int64]] = {}
    for shard in manifest.shards(split):
        every = list(range(len(shard.row_groups)))
        column = _numbers(groups(folder, manifest, shard.file, every, ["label"])["label"])
        parts = np.split(column, np.cumsum(shard.row_groups)[:-1])
        found |= {(shard.file, group): part for group, part in enumerate(parts)}
    return found


def _numbers(labels: pa.ChunkedArray) -> NDArray[np.int64]:
    """Labels with -1 where there is none."""
    found: NDArray[np.int64] = labels.fill_null(-1).to_numpy().astype(np.int64)
    return found


def hash_of(text: str) -> int:
    """A number for a text that is the same in every process."""
    return int.from_bytes(text.encode()[-8:], "big")


@torch.inference_mode()
def embed(
    encoder: Encoder, data: NDArray[Any], prepare: Callable[[Tensor], Tensor], batch: int = 512
) -> NDArray[np.float32]:
    """Embeddings of samples, (samples, width); `prepare` makes what the encoder takes of them."""
    encoder.eval()
    if encoder.kind == "audio":  # a first convolution makes a hundred times as many values of a waveform
        batch = max(1, min(batch, 2**20 // data.shape[1]))
    place = next(encoder.parameters()).device
    parts = [
        encoder.embed(prepare(torch.tensor(data[i : i + batch]).to(place))).float().cpu()
        for i in range(0, len(data), batch)
    ]
    return torch.cat(parts).numpy()
