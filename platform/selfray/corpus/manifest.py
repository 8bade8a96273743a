"""The manifest of a prepared corpus: what is in which shard, and what is known about the whole."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ..errors import UserError
from . import place
from .in_place import Lake
from .place import Place

FILE = "manifest.json"
SCHEMA_VERSION = 2

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),  # from the position in the sorted source; unique, may have gaps
        pa.field("data", pa.binary(), nullable=False),  # values in C order, or an encoded file: Manifest.encoding
        pa.field("length", pa.int32(), nullable=False),  # valid entries along the first axis of the shape
        pa.field("label", pa.int32()),  # index into Manifest.classes; for evaluation only
        pa.field("group", pa.string()),  # what must stay on one side of a split, such as a person
        pa.field("meta", pa.string()),  # whatever else the source said, as JSON; for evaluation only
        pa.field("source", pa.string()),  # where the sample came from
    ]
)


@dataclass(frozen=True)
class Shard:
    """One Parquet file; `row_groups` holds the rows of each row group."""

    file: str  # relative to the manifest's folder, with forward slashes
    rows: int
    bytes: int
    sha256: str
    row_groups: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """All that is known about a prepared corpus; equal inputs give equal manifests (no times, no hosts)."""

    name: str
    kind: str  # the data type, a module of `kinds/`
    shape: tuple[int, ...]  # of every sample: height, width, channels; or time, channels; or tokens
    encoding: Literal["raw", "file", "lake"]  # values in C order; an image of `shape`; what a lake has
    splits: dict[str, tuple[Shard, ...]]  # `train`, and `test` where there is one
    mean: tuple[float, ...]  # per channel of the train split; pixels scaled to [0, 1], sound to [-1, 1]
    std: tuple[float, ...]
    dtype: str = "uint8"  # of the values: a numpy name
    facts: dict[str, Any] = field(default_factory=dict)  # the data type's own, such as a sampling rate
    classes: tuple[str, ...] = ()  # empty where there are no labels
    label_counts: dict[str, dict[str, int]] = field(default_factory=dict)  # split -> class -> rows
    quarantined: dict[str, int] = field(default_factory=dict)  # reason -> rows
    about: dict[str, str] = field(default_factory=dict)  # source, licence, citation
    lake: Lake | None = None  # where the samples are, if they are not in the shards
    schema_version: int = SCHEMA_VERSION

    def rows(self, split: str = "train") -> int:
        """How many samples a split has."""
        return sum(shard.rows for shard in self.shards(split))

    def shards(self, split: str = "train") -> tuple[Shard, ...]:
        """The shards of a split, in order."""
        if split not in self.splits:
            raise UserError(f"corpus {self.name!r} has no split {split!r}; it has {', '.join(sorted(self.splits))}")
        return self.splits[split]

    @property
    def channels(self) -> int:
        """The last axis of a shape with more than one, else 1."""
        return self.shape[-1] if len(self.shape) > 1 else 1

    @property
    def row_bytes(self) -> int:
        """Bytes of a sample's values."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    @property
    def fingerprint(self) -> str:
        """32 hex digits that change with any byte of any shard."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:32]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no times."""
        plain = asdict(self)
        if self.lake is None:
            del plain["lake"]
        return json.dumps(plain, sort_keys=True, indent=1)

    def write(self, folder: Place) -> None:
        """Write the manifest last and atomically: a folder without one is not a corpus."""
        place.storage(place.absolute(folder)).write(FILE, self.to_json().encode())

    @classmethod
    def read(cls, folder: str | Path) -> "Manifest":
        """Read the manifest of a prepared corpus.

        Raises:
            UserError: the folder is missing, was not prepared, or comes from another version of selfray.
        """
        if not place.is_remote(folder) and not Path(folder).is_dir():
            raise UserError(f"no corpus at {folder}: the folder does not exist")
        try:
            raw: dict[str, Any] = json.loads(place.storage(place.absolute(folder)).read(FILE))
        except FileNotFoundError:
            raise UserError(
                f"{folder} is not a prepared corpus; run `selfray corpus prepare {folder} NEW_FOLDER` first"
            ) from None
        except ValueError as error:
            raise UserError(f"{folder}/{FILE} is damaged ({error}); prepare the corpus again") from None
        if raw.get("schema_version") != SCHEMA_VERSION:
            raise UserError(
                f"{folder}/{FILE} has schema version {raw.get('schema_version')}, this selfray reads {SCHEMA_VERSION}; "
                "prepare the corpus again"
            )
        shards = {
            split: tuple(Shard(**{**shard, "row_groups": tuple(shard["row_groups"])}) for shard in listed)
            for split, listed in raw.pop("splits").items()
        }
        tuples: dict[str, Any] = {key: tuple(raw.pop(key)) for key in ("shape", "mean", "std", "classes")}
        lake = Lake.of(raw.pop("lake")) if "lake" in raw else None
        return cls(splits=shards, lake=lake, **tuples, **raw)


def mixed(manifests: list[Manifest], weights: list[float]) -> Manifest:
    """What a mixture of corpora looks like: one shape, pooled statistics, no splits of its own but the rows in all.

    Raises:
        UserError: the corpora hold other data types or shapes.
    """
    first = manifests[0]
    for other in manifests[1:]:
        for key in ("kind", "shape", "dtype", "facts"):
            if getattr(other, key) != getattr(first, key):
                raise UserError(
                    f"corpora {first.name!r} and {other.name!r} cannot be mixed: {key} is {getattr(first, key)} and "
                    f"{getattr(other, key)}; prepare them with the same settings"
                )
    shares = [weight / sum(weights) for weight in weights]
    columns = range(len(first.mean))
    mean = tuple(sum(s * m.mean[c] for s, m in zip(shares, manifests, strict=True)) for c in columns)
    square = [
        sum(s * (m.std[c] ** 2 + m.mean[c] ** 2) for s, m in zip(shares, manifests, strict=True)) for c in columns
    ]
    return replace(
        first,
        name=" + ".join(m.name for m in manifests),
        lake=None,
        splits={"train": tuple(shard for m in manifests for shard in m.shards())},
        mean=mean,
        std=tuple(max(0.0, q - m**2) ** 0.5 for q, m in zip(square, mean, strict=True)),
        classes=(),
        label_counts={},
        about={"weights": ", ".join(f"{m.name}: {share:.3f}" for m, share in zip(manifests, shares, strict=True))},
    )
