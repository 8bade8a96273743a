"""Frozen features of a corpus."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..corpus import place
from ..corpus.manifest import Manifest
from ..corpus.order import mix
from ..corpus.read import decode
from ..encoders.encoder import Encoder


@dataclass(frozen=True)
class Samples:
    """Decoded samples of a split with what is known of them."""

    ids: NDArray[np.int64]
    data: NDArray[Any]  # (samples, *shape of the corpus)
    labels: NDArray[np.int64]  # -1 where there is none


def load(folder: str | Path, split: str, limit: int, seed: int = 0) -> Samples:
    """Up to `limit` samples of a split; a seeded choice of whole row groups where there are more."""
    manifest = Manifest.read(folder)
    places = [(s.file, g, rows) for s in manifest.shards(split) for g, rows in enumerate(s.row_groups)]
    if manifest.rows(split) > limit:
        places.sort(key=lambda place: mix(seed, hash_of(place[0]), place[1]))
    ids, data, labels, count = [], [], [], 0
    for file, group, _ in places:
        if count >= limit:
            break
        with place.shard(folder, file) as shard:
            table = shard.read_row_group(group, columns=["id", "data", "length", "label"]).slice(0, limit - count)
        count += len(table)
        ids.append(table["id"].to_numpy())
        data.append(decode(table, manifest))
        labels.append(table["label"].fill_null(-1).to_numpy().astype(np.int64))
    return Samples(np.concatenate(ids), np.concatenate(data), np.concatenate(labels))


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
