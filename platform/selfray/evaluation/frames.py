"""Named stretches of recordings, such as phones, for probes of positions: from a file to features with classes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..corpus.kinds.audio import Audio
from ..corpus.manifest import Manifest
from ..corpus.read import groups
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.spectrum import LogMel, frames_of, mfcc
from . import beside
from .features import Samples

AROUND = 3  # frames of 10 ms on both sides of a position, whose MFCCs are what is known without an encoder
VALUES = 2**20  # samples of sound that an encoder gets at once

_ADVICE = "give a Parquet or CSV file with columns source, start and end in seconds, and name"
Split = Literal["train", "test"]
Prepare = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Stretches:
    """What is heard when, by recording: starts and ends in seconds, sorted, and classes."""

    names: list[str]
    of: dict[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]]

    def at(self, source: str, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        """The class at each moment of a recording, -1 where there is none."""
        if source not in self.of:
            return np.full(len(seconds), -1)
        start, end, heard = self.of[source]
        place = np.searchsorted(start, seconds, side="right") - 1
        inside = (place >= 0) & (seconds < end[place])
        return np.where(inside, heard[place], -1)


@dataclass(frozen=True)
class Positions:
    """Features of positions with classes."""

    vectors: NDArray[np.float32]  # (positions, width)
    labels: NDArray[np.int64]
    recordings: NDArray[np.int64]  # a number for each recording


def read(file: str, corpus: str | Path) -> Stretches:
    """The stretches of a file, those of one recording in order and without overlap.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    table = beside.table("frames", file, corpus, ("source", "name"), _ADVICE)
    if lacking := {"start", "end"} - set(table.column_names):
        raise UserError(f"frames: {file} has no column {' or '.join(sorted(lacking))}; {_ADVICE}")
    try:
        start, end = (table[name].cast(pa.float64()).to_numpy() for name in ("start", "end"))
    except pa.ArrowException:
        raise UserError(f"frames: start and end of {file} are not all numbers; {_ADVICE}") from None
    for number, row in enumerate(zip(*(table[column].to_pylist() for column in ("source", "name")), strict=True)):
        if any(cell is None or not str(cell).strip() for cell in row):
            raise UserError(f"frames: row {number} of {file} lacks a source or a name; leave it out")
    source, name = (np.array(table[column].to_pylist(), object) for column in ("source", "name"))
    order = np.lexsort((start, source.astype(str)))
    source, name, start, end = source[order], name[order], start[order], end[order]
    follows = np.flatnonzero((source[1:] == source[:-1]) & (start[1:] < end[:-1] - 1e-6))
    backwards = np.flatnonzero(~(end > start))
    for rows, what in ((backwards, "ends before it starts"), (follows, "overlaps with the next one")):
        if len(rows):
            at = rows[0]
            said = f"{name[at]!r} at {start[at]:g} s of {source[at]}"
            raise UserError(f"frames: in {file}, {said} {what}; mend it or leave it out")
    names, heard = np.unique(name.astype(str), return_inverse=True)
    cuts = np.flatnonzero(np.r_[True, source[1:] != source[:-1]]) if len(source) else np.empty(0, np.int64)
    parts = [slice(a, b) for a, b in zip(cuts, [*cuts[1:], len(source)], strict=True)]
    return Stretches(names.tolist(), {str(source[p.start]): (start[p], end[p], heard[p]) for p in parts})


class Frames:
    """What one encoder makes of positions, or MFCCs if there is none; a position is `stride` samples long."""

    def __init__(
        self,
        splits: dict[Split, Samples],
        sources: dict[Split, list[str]],
        manifest: Manifest,
        corpus: str | Path,
        stride: int,
        prepare: Prepare,
        encoder: Encoder | None,
    ):
        self.corpus, self._splits, self._sources = corpus, splits, sources
        self._rate, self._seconds = manifest.facts["rate"], manifest.shape[0] / manifest.facts["rate"]
        self._pad, self._stride = manifest.facts["pad"], stride
        self._prepare, self._encoder = prepare, encoder

    @property
    def encoded(self) -> bool:
        """Whether features are those of an encoder."""
        return self._encoder is not None

    def at(self, stretches: Stretches, split: Split, most: int, around: int = AROUND) -> Positions:
        """Features of positions of a split whose centre is in a stretch, at most so many in a seeded choice.

        Args:
            around: frames of 10 ms on both sides, where there is no encoder.
        """
        samples, sources = self._splits[split], self._sources[split]
        named = zip(*self._named(samples, sources, stretches), strict=True)
        row, position, label = (np.concatenate(part) for part in named)
        if len(row) > most:
            some = np.sort(np.random.default_rng(0).permutation(len(row))[:most])
            row, position, label = row[some], position[some], label[some]
        number = {source: at for at, source in enumerate(dict.fromkeys(sources))}
        recordings = np.array([number[sources[at]] for at in row], np.int64)
        vectors = self._features(samples.data, row, position, around)
        return Positions(vectors, label, recordings)

    def _named(
        self, samples: Samples, sources: list[str], stretches: Stretches
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
        """Of each sample: its row, its positions that have a class, and these."""
        yield (np.empty(0, np.int64),) * 3
        for row, (data, number, source) in enumerate(zip(samples.data, samples.ids, sources, strict=True)):
            flat = data.reshape(len(data), -1)[:, 0]
            own = len(flat) - int((flat[::-1] != self._pad).argmax()) if (flat != self._pad).any() else 0
            position = np.arange(own // self._stride)  # whole ones: none with padding in it
            moments = (position + 0.5) * self._stride / self._rate + int(number % Audio.pieces) * self._seconds
            label = stretches.at(source, moments)
            there = label >= 0
            yield np.full(int(there.sum()), row), position[there], label[there]

    @torch.inference_mode()
    def _features(
        self, data: NDArray[Any], row: NDArray[np.int64], position: NDArray[np.int64], around: int
    ) -> NDArray[np.float32]:
        if not len(row):
            return np.empty((0, 1), np.float32)
        every, found = np.unique(row), list[NDArray[np.float32]]()
        at_once = max(1, VALUES // data.shape[1])
        for part in np.split(every, range(at_once, len(every), at_once)):
            mine = np.isin(row, part)
            waves = self._prepare(torch.tensor(data[part]))
            where = torch.from_numpy(np.searchsorted(part, row[mine])), torch.from_numpy(position[mine])
            if self._encoder is None:
                features = self._cepstra(waves, around)[where]
            else:
                self._encoder.eval()
                features = self._encoder(waves.to(self._encoder.mean.device)).float().cpu()[where]
            found.append(features.numpy())
        return np.concatenate(found)

    def _cepstra(self, waves: Tensor, around: int) -> Tensor:
        """MFCCs of the frames around the centre of each position: (batch, positions, width)."""
        hop = self._rate // 100
        values = mfcc(LogMel(self._rate, 2 * hop + hop // 2, hop, 40)(waves))
        count = frames_of(waves.shape[1], self._stride)
        centre = ((torch.arange(count) + 0.5) * self._stride / hop).floor().long()
        near = centre[:, None] + torch.arange(-around, around + 1)
        return values[:, near.clamp(0, values.shape[1] - 1)].flatten(2)


def of(
    probe: str,
    encoders: dict[str, Encoder],
    train: Samples,
    test: Samples,
    manifest: Manifest,
    corpus: str | Path,
    prepare: Prepare,
) -> dict[str, Frames]:
    """What each encoder makes of the positions of its own length, and MFCCs by the name `raw`.

    Raises:
        UserError: the corpus holds no sound.
    """
    if manifest.kind != "audio":
        raise UserError(
            f"{probe} asks for positions of recordings, which {manifest.kind} corpora do not have; leave it out"
        )
    splits: dict[Split, Samples] = {"train": train, "test": test}
    sources = {split: _sources(corpus, manifest, split, samples.ids) for split, samples in splits.items()}
    stride = next(iter(encoders.values())).stride
    whose: dict[str, Encoder | None] = {**encoders, "raw": None}
    return {who: Frames(splits, sources, manifest, corpus, stride, prepare, encoder) for who, encoder in whose.items()}


def _sources(corpus: str | Path, manifest: Manifest, split: str, ids: NDArray[np.int64]) -> list[str]:
    """The recording that each sample was cut from."""
    known: dict[int, str] = {}
    for shard in manifest.shards(split):
        table = groups(corpus, manifest, shard.file, list(range(len(shard.row_groups))), ["id", "source"])
        table = table.filter(pa.array(np.isin(table["id"].to_numpy(), ids)))
        known |= dict(zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True))
    return [known[number] for number in ids.tolist()]
