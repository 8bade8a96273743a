"""Everything the report shows, read from a run folder in which any file may be missing, damaged or half written."""

import json
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..evaluation.pictures import ENDS, SOUND, TEXT
from ..evaluation.sounds import Sounds, split
from .numbers import number

MOST_SAMPLES = 1000  # what a map can show and a page of a few megabytes can carry
MOST_VIEWS = 8

Series = list[tuple[float, float | None]]  # (step, value); None where the value was not finite


@dataclass(frozen=True)
class Samples:
    """The evaluated samples that the map and the neighbours show; all arrays have one row a sample."""

    image: NDArray[np.uint8] | None  # samples x height x width x channels
    embedding: NDArray[np.float32]
    untrained: NDArray[np.float32] | None
    label: NDArray[np.int64]  # -1: none
    id: NDArray[np.int64]
    classes: tuple[str, ...]
    evaluated: int  # how many there were before the draw
    text: tuple[str, ...] = ()  # one a sample, where samples are read
    sound: tuple[bytes, ...] = ()  # one MP3 a sample, where samples are heard

    def name(self, label: int) -> str:
        """What to call a label."""
        if label < 0:
            return "no label"
        return self.classes[label] if label < len(self.classes) else f"class {label}"


@dataclass(frozen=True)
class Cluster:
    """A cluster of the objective's own, with a few of its samples."""

    number: int
    share: float  # of the samples that were looked at
    image: NDArray[np.uint8]  # samples x height x width x channels


@dataclass
class Run:
    """The contents of a run folder; what is missing is empty, what is damaged is named in `problems`."""

    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Series] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    samples: Samples | None = None
    views: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)  # views that are read
    sounds: dict[str, list[bytes]] = field(default_factory=dict)  # views that are heard, as MP3
    clusters: list[Cluster] = field(default_factory=list)  # the largest, in order of size
    clusters_used: int = 0
    recipe: str = ""
    encoder: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def has_encoder(self) -> bool:
        """Whether the encoder was exported."""
        return (self.folder / "encoder").is_dir()


def read(folder: str | Path) -> Run:
    """Read a run folder.

    Raises:
        UserError: there is no such folder.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise UserError(f"no run at {folder}: the folder does not exist; `selfray run FILE` makes one")
    run = Run(folder)
    run.summary = _mapping(run, "summary.json")
    run.results = _mapping(run, "evaluation/results.json")
    run.encoder = _mapping(run, "encoder/encoder.json")
    run.metrics = _metrics(run)
    run.samples = _samples(run)
    run.views, run.texts, run.sounds = _views(run)
    run.clusters, run.clusters_used = _clusters(run)
    run.recipe = without_passwords(_text(run, "recipe.yaml"))
    return run


def part(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    """The mapping under a key; empty where there is none."""
    value = mapping.get(key)
    return value if isinstance(value, dict) else {}


def rows(mapping: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of mappings under a key; empty where there is none."""
    value = mapping.get(key)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def without_passwords(text: str) -> str:
    """Hide what stands between user and host in a URI: reports are sent around."""
    return re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1:***@", text)


def _text(run: Run, name: str) -> str:
    path = run.folder / name
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError as error:
        run.problems.append(f"{name} could not be read ({error.strerror})")
        return ""


def _mapping(run: Run, name: str) -> dict[str, Any]:
    text = _text(run, name)
    if not text:
        return {}
    try:
        value = json.loads(text, parse_constant=lambda _: None)
    except ValueError as error:
        run.problems.append(f"{name} is not valid JSON ({error})")
        return {}
    if not isinstance(value, dict):
        run.problems.append(f"{name} should hold one JSON object")
        return {}
    return value


def _metrics(run: Run) -> dict[str, Series]:
    """Series by name, in order of step; of a step logged twice (before and after a resume) the later line wins."""
    found: dict[str, dict[float, float | None]] = {}
    lines = _text(run, "metrics.jsonl").splitlines()
    damaged = 0
    for index, line in enumerate(lines):
        try:
            logged = json.loads(line, parse_constant=lambda _: None) if line.strip() else {}
            step = number(logged.pop("step", None))
        except (ValueError, AttributeError, TypeError):
            damaged += index < len(lines) - 1  # a killed process leaves a torn last line
            continue
        if step is None:
            continue
        for name, value in logged.items():
            if value is None or isinstance(value, int | float):
                found.setdefault(name, {})[step] = number(value)
    if damaged:
        run.problems.append(f"metrics.jsonl: skipped {damaged} damaged line{'s' if damaged > 1 else ''}")
    return {name: sorted(values.items()) for name, values in found.items()}


def _arrays(run: Run, name: str) -> dict[str, NDArray[Any]]:
    path = run.folder / name
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:  # opened here, because numpy leaves a file open that is no archive
            stored = np.load(file, allow_pickle=False)
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        run.problems.append(f"{name} could not be read ({error})")
        return {}


def _samples(run: Run) -> Samples | None:
    name = "evaluation/samples.npz"
    arrays = _arrays(run, name)
    if not arrays:
        return None
    image, text, embedding = arrays.get("image"), arrays.get("image.text"), arrays.get("embedding")
    seen = image if image is not None and _is_images(image) else text
    if seen is None or embedding is None or embedding.ndim != 2 or len(seen) == 0:
        run.problems.append(
            f"{name} should hold `image` (uint8, n x H x W x C) or `image.text` (n), and `embedding` (n x d)"
        )
        return None
    total = len(seen)
    heard = _sounds(arrays, "image")
    default = {"label": np.full(total, -1), "id": np.arange(total)}
    label, identity = (arrays.get(key, value).astype(np.int64) for key, value in default.items())
    untrained = arrays.get("untrained")
    columns = [embedding, label, identity] if untrained is None else [embedding, label, identity, untrained]
    if image is not None and text is not None:
        columns += [image, text]
    if any(len(column) != total for column in columns):
        run.problems.append(f"{name}: its arrays differ in length")
        return None
    finite = np.isfinite(embedding).all(axis=1)
    if untrained is not None:
        finite &= np.isfinite(untrained).all(axis=1)
    if not finite.all():
        run.problems.append(
            f"{name}: left out {total - int(finite.sum())} of {total} samples, whose embeddings are not finite"
        )
    kept = np.flatnonzero(finite)
    if len(kept) == 0:
        return None
    if len(kept) > MOST_SAMPLES:
        kept = np.sort(np.random.default_rng(0).choice(kept, MOST_SAMPLES, replace=False))
    return Samples(
        image=None if image is None else image[kept],
        text=() if text is None else tuple(str(text[index]) for index in kept),
        sound=tuple(heard[index] for index in kept) if len(heard) == total else (),
        embedding=embedding[kept].astype(np.float32),
        untrained=None if untrained is None else untrained[kept].astype(np.float32),
        label=label[kept],
        id=identity[kept],
        classes=tuple(str(one) for one in arrays.get("classes", ())),
        evaluated=total,
    )


def _views(run: Run) -> tuple[dict[str, NDArray[np.uint8]], dict[str, list[str]], dict[str, list[bytes]]]:
    arrays = _arrays(run, "views.npz")
    pictures = {name: array[:MOST_VIEWS] for name, array in arrays.items() if _is_images(array) and len(array)}
    texts = {
        name.removesuffix(TEXT): [str(text) for text in array[:MOST_VIEWS]]
        for name, array in arrays.items()
        if name.endswith(TEXT) and array.ndim == 1 and len(array)
    }
    names = [name.removesuffix(SOUND) for name in arrays if name.endswith(SOUND)]
    sounds = {name: found[:MOST_VIEWS] for name in names if (found := _sounds(arrays, name))}
    return pictures, texts, sounds


def _sounds(arrays: dict[str, NDArray[Any]], name: str) -> list[bytes]:
    sound, ends = arrays.get(name + SOUND), arrays.get(name + ENDS)
    if sound is None or ends is None or sound.dtype != np.uint8 or ends.ndim != 1:
        return []
    return split(Sounds(sound, ends.astype(np.int64)))


def _clusters(run: Run) -> tuple[list[Cluster], int]:
    name = "clusters.npz"
    arrays = _arrays(run, name)
    if not arrays:
        return [], 0
    image, cluster, number, share = (arrays.get(key) for key in ("image", "cluster", "number", "share"))
    if image is None or cluster is None or number is None or share is None or not _is_images(image):
        run.problems.append(f"{name} should hold `image`, `cluster`, `number` and `share`")
        return [], 0
    if len(image) != len(cluster) or len(number) != len(share):
        run.problems.append(f"{name}: its arrays differ in length")
        return [], 0
    found = [Cluster(int(one), float(part), image[cluster == one]) for one, part in zip(number, share, strict=True)]
    return [one for one in found if len(one.image)], int(arrays.get("used", np.array(len(found))))


def _is_images(array: NDArray[Any]) -> bool:
    return array.dtype == np.uint8 and array.ndim == 4 and min(array.shape[1:]) > 0
