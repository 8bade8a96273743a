"""Samples and views as a person can take them in: pictures, words and sounds, as arrays for an .npz file."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..corpus.manifest import Manifest
from ..corpus.place import Place
from . import sounds, words
from .pictures import ENDS, SOUND, TEXT, drawn

PLAYED = 400
"""Samples with a sound at most: an hour of MP3 in a report would be too much."""


def samples(data: NDArray[Any], manifest: Manifest, corpus: Place, name: str = "image") -> dict[str, NDArray[Any]]:
    """What a corpus stores, (n, ...): `NAME` its pictures, `NAME.text` its words, `NAME.sound` its sounds."""
    found: dict[str, NDArray[Any]] = {}
    if (picture := drawn(manifest.kind, data)) is not None:
        found[name] = picture
    if manifest.kind == "text":
        found[name + TEXT] = words.texts(data, manifest, corpus)
    if manifest.kind == "audio":
        played = sounds.encoded(data[:PLAYED], int(manifest.facts["rate"]))
        found |= {name + SOUND: played.sound, name + ENDS: played.ends}
    return found


def views(made: dict[str, Tensor], manifest: Manifest, corpus: Place) -> dict[str, NDArray[Any]]:
    """What an objective sees or makes of samples; tensors that are no sample, such as masks, are left out."""
    found: dict[str, NDArray[Any]] = {}
    for name, view in made.items():
        if manifest.kind == "text" and view.dtype == torch.long and view.shape[1:] == manifest.shape:
            found |= samples(view.numpy(), manifest, corpus, name)
        elif manifest.kind == "image" and view.is_floating_point() and view.ndim == 4:
            found[name] = (view.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        elif manifest.kind in ("audio", "series") and view.is_floating_point():
            values = view.float().numpy()
            if drawn(manifest.kind, values) is not None:
                found |= samples(values, manifest, corpus, name)
    return found
