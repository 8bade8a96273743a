"""Looking at a prepared corpus: its facts as plain data, and a sheet of samples and histograms."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from . import looks
from .manifest import Manifest
from .read import read_rows
from .work import QUARANTINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKED_AT = 256  # row groups, evenly spread, whose labels are read to find samples of each class
INK, FAINT, COLORS = "#1f2933", "#7b8794", {"train": "#3b6fb6", "val": "#7a9a3a", "test": "#e0843d"}
BAD = "#b8433f"


def describe(folder: str | Path) -> dict[str, Any]:
    """What is known about a prepared corpus, as plain data that JSON can hold.

    Returns:
        `name`, `kind`, `shape`, `encoding`, `splits` (split -> rows, shards, bytes), `rows`, `bytes`, `classes`
        (class -> split -> rows), `mean` and `std` per channel of the train split, `quarantined` (reason -> rows),
        `examples` (reason -> up to three of source and detail), `fingerprint`, `about` (licence, citation, source).

    Raises:
        UserError: the folder holds no prepared corpus.
    """
    manifest = Manifest.read(folder)
    splits = {
        split: {"rows": manifest.rows(split), "shards": len(shards), "bytes": sum(shard.bytes for shard in shards)}
        for split, shards in _in_order(manifest)
    }
    counts = manifest.label_counts
    return {
        "name": manifest.name,
        "kind": manifest.kind,
        "shape": list(manifest.shape),
        "encoding": manifest.encoding,
        "splits": splits,
        "rows": sum(split["rows"] for split in splits.values()),
        "bytes": sum(split["bytes"] for split in splits.values()),
        "classes": {name: {split: counts[split].get(name, 0) for split in splits} for name in manifest.classes},
        "mean": list(manifest.mean),
        "std": list(manifest.std),
        "quarantined": dict(manifest.quarantined),
        "examples": _examples(Path(folder), manifest),
        "fingerprint": manifest.fingerprint,
        "about": dict(manifest.about),
    }


def draw(folder: str | Path, path: str | Path, rows: int = 8, columns: int = 12) -> Path:
    """Draw a sheet as PNG: samples of each split, one class a row, with labels, a measure and what was quarantined.

    Args:
        rows: rows of samples, and so classes, of the train split; other splits get half as many.
        columns: samples a row.

    Raises:
        UserError: the folder holds no prepared corpus, or a shard of it is damaged.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder, facts, manifest = Path(folder), describe(folder), Manifest.read(folder)
    if manifest.kind == "text":
        rows, columns = 3 * rows, 1
    picked = {
        split: _pick(folder, manifest, split, rows if split == "train" else max(1, rows // 2), columns)
        for split, _ in _in_order(manifest)
    }
    heights = [len(classes) for classes in picked.values()]
    charts = 1 + bool(manifest.classes) + bool(manifest.quarantined)
    height = max(0.52 * sum(heights) * _aspect(manifest) + 0.55 * len(heights), 1.9 * charts) + 1
    figure = Figure(figsize=(13, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subfigures(1, 2, width_ratios=(8, 5), wspace=0.03)  # type: ignore[misc]
    figure.suptitle(_title(facts, manifest), x=0.012, ha="left", fontsize=11, color=INK, linespacing=1.5)

    axes = left.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axis, (split, classes) in zip(axes, picked.items(), strict=True):
        samples = read_rows(folder, split, np.concatenate([numbers for _, numbers in classes]))["data"]
        if manifest.kind == "text":
            _lines(axis, looks.texts(samples, manifest, folder), classes)
        else:
            _mosaic(axis, looks.pictures(samples, manifest), classes, columns)
        axis.set_title(f"{split}, {facts['splits'][split]['rows']:,} samples", loc="left", fontsize=10, color=INK)
    measures = {split: _measured(folder, manifest, split) for split in picked}
    panels = iter(right.subplots(charts, 1, squeeze=False)[:, 0])
    if manifest.classes:
        _labels(next(panels), facts)
    _histogram(next(panels), measures)
    if manifest.quarantined:
        _quarantine(next(panels), facts)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return path


def _in_order(manifest: Manifest) -> list[tuple[str, Any]]:
    return sorted(manifest.splits.items(), key=lambda item: ("train", "val", "test").index(item[0]))


def _examples(folder: Path, manifest: Manifest) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {reason: [] for reason in manifest.quarantined}
    for part in sorted((folder / QUARANTINE).glob("*.parquet")) if found else []:
        for row in pq.read_table(part, columns=["source", "reason", "detail"]).to_pylist():
            if len(found[row["reason"]]) < 3:
                found[row["reason"]].append(f"{row['source']} ({row['detail']})")
        if all(len(examples) == 3 for examples in found.values()):
            break
    return found


def _groups(manifest: Manifest, split: str, most: int) -> Iterator[tuple[str, int, int]]:
    """(shard file, row group, number of its first row) of at most `most` row groups, evenly spread."""
    listed, first = [], 0
    for shard in manifest.shards(split):
        for group, size in enumerate(shard.row_groups):
            listed.append((shard.file, group, first))
            first += size
    for index in np.unique(np.linspace(0, len(listed) - 1, min(most, len(listed))).astype(int)):
        yield listed[index]


def _pick(folder: Path, manifest: Manifest, split: str, rows: int, columns: int) -> list[tuple[str, np.ndarray]]:
    """(class, row numbers) for each row of a mosaic, samples evenly spread.

    Of many classes some are chosen evenly; few classes have several rows each, of which the first is named.
    """
    if not manifest.classes:
        numbers = np.unique(np.linspace(0, manifest.rows(split) - 1, rows * columns).astype(int))
        return [("", numbers[start : start + columns]) for start in range(0, len(numbers), columns)]
    found = []
    for file, group, first in _groups(manifest, split, LOOKED_AT):
        with pq.ParquetFile(folder / file) as parquet:
            column = parquet.read_row_group(group, columns=["label"], use_threads=False).column("label")
        found.append((column.fill_null(-1).to_numpy(), first + np.arange(len(column))))
    label, number = (np.concatenate(part) for part in zip(*found, strict=True))
    present = np.unique(label)  # -1, no label, comes first if it is there
    chosen = present[np.unique(np.linspace(0, len(present) - 1, rows).astype(int))]
    picked = []
    for wanted in chosen:
        mine = number[label == wanted]
        spread = mine[np.unique(np.linspace(0, len(mine) - 1, columns * (rows // len(chosen))).astype(int))]
        name = manifest.classes[wanted] if wanted >= 0 else "no label"
        picked += [("" if start else name, spread[start : start + columns]) for start in range(0, len(spread), columns)]
    return picked


def _measured(folder: Path, manifest: Manifest, split: str) -> looks.Measure:
    """Of up to 1,024 samples, evenly spread."""
    total = manifest.rows(split)
    numbers = np.unique(np.linspace(0, total - 1, min(total, 1024)).astype(int))
    return looks.measure(read_rows(folder, split, numbers)["data"], manifest)


def _aspect(manifest: Manifest) -> float:
    """Height of a sample on the sheet by its width; a line of text takes a twelfth part of the width."""
    if manifest.kind == "image":
        return manifest.shape[0] / manifest.shape[1]
    return 0.4 if manifest.kind == "text" else 0.5


def _title(facts: dict[str, Any], manifest: Manifest) -> str:
    size = facts["bytes"] / 2**20
    licence = facts["about"].get("licence")
    stored = f" ({'pixels' if facts['encoding'] == 'raw' else 'PNG or JPEG'})" if manifest.kind == "image" else ""
    return (
        f"{facts['name']}\n{facts['rows']:,} {looks.what(manifest)}, {size:,.1f} MiB{stored}, "
        f"{len(facts['classes']) or 'no'} classes, fingerprint {facts['fingerprint'][:12]}"
        + (f", {textwrap.shorten(licence, 60, placeholder=' ...')}" if licence else "")
    )


def _mosaic(axis: "Axes", images: np.ndarray, classes: list[tuple[str, np.ndarray]], columns: int) -> None:
    height, width, channels = images.shape[1:]
    gap = max(1, round(0.06 * width))
    sheet = np.full((len(classes) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    images = np.broadcast_to(images, (*images.shape[:3], 3)) if channels == 1 else images
    row_of = np.repeat(np.arange(len(classes)), [len(numbers) for _, numbers in classes])
    column_of = np.concatenate([np.arange(len(numbers)) for _, numbers in classes])
    for image, row, column in zip(images, row_of, column_of, strict=True):
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = image
    axis.imshow(sheet, interpolation="nearest" if height < 64 else "antialiased")
    axis.set_xticks([])
    names = [textwrap.shorten(name, 18, placeholder="...") if " " in name else name[:18] for name, _ in classes]
    axis.set_yticks([row * (height + gap) + height / 2 for row in range(len(classes))], names)
    axis.set_anchor("NW")
    _plain(axis)
    axis.spines[:].set_visible(False)


def _lines(axis: "Axes", texts: np.ndarray, classes: list[tuple[str, np.ndarray]]) -> None:
    """A sample of text a line, as much of it as fits."""
    for row, text in enumerate(texts):
        said = textwrap.shorten(str(text), 130, placeholder=" ...").replace("$", r"\$")
        axis.text(0.005, row, said, va="center", fontsize=7.5, color=INK, clip_on=True)
    axis.set(xlim=(0, 1), ylim=(len(texts) - 0.5, -0.5), xticks=[])
    axis.set_yticks(range(len(classes)), [name[:18] for name, _ in classes])
    _plain(axis)
    axis.spines[:].set_visible(False)


def _labels(axis: "Axes", facts: dict[str, Any], most: int = 16) -> None:
    shown = sorted(facts["classes"].items(), key=lambda item: -sum(item[1].values()))
    cut = shown[: most - 1] if len(shown) > most else shown
    if len(shown) > len(cut):
        rest = {split: sum(counts[split] for _, counts in shown[len(cut) :]) for split in facts["splits"]}
        cut = [*cut, (f"{len(shown) - len(cut)} others", rest)]
    elif len(shown) <= most:
        cut = list(facts["classes"].items())
    base = np.zeros(len(cut))
    for split in facts["splits"]:
        counts = np.array([counts[split] for _, counts in cut])
        axis.barh(range(len(cut)), counts, left=base, color=COLORS[split], label=split, height=0.75)
        base += counts
    axis.set_yticks(range(len(cut)), [name[:18] for name, _ in cut])
    axis.set_ylim(max(len(cut), 4) - 0.5, -0.5)
    axis.set_title("samples of each class", loc="left", fontsize=10, color=INK)
    if len(facts["splits"]) > 1:
        axis.legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    _plain(axis)


def _histogram(axis: "Axes", measures: dict[str, looks.Measure]) -> None:
    any_of = next(iter(measures.values()))
    bins = 41 if min(len(one.values) for one in measures.values()) >= 500 else 21
    edges = np.linspace(any_of.low, any_of.high, bins)
    for split, one in measures.items():
        share = np.histogram(one.values.clip(one.low, one.high), edges)[0] / len(one.values)
        axis.stairs(share, edges, color=COLORS[split], fill=split == "train", alpha=0.45 if split == "train" else 1)
    axis.set_xlim(any_of.low, any_of.high)
    axis.set_ylim(bottom=0)
    axis.set_title(f"{any_of.title} (share)", loc="left", fontsize=10, color=INK)
    _plain(axis)


def _quarantine(axis: "Axes", facts: dict[str, Any]) -> None:
    shown = sorted(facts["quarantined"].items(), key=lambda item: -item[1])
    axis.barh(range(len(shown)), [count for _, count in shown], color=BAD, height=0.6)
    for row, (_, count) in enumerate(shown):
        axis.annotate(f" {count:,}", (count, row), va="center", fontsize=8, color=INK)
    axis.set_yticks(range(len(shown)), [reason.replace("_", " ") for reason, _ in shown])
    axis.set_ylim(max(len(shown), 3) - 0.5, -0.5)
    axis.margins(x=0.12)
    axis.set_xticks([])
    total = sum(facts["quarantined"].values())
    share = total / (total + facts["rows"])
    axis.set_title(f"quarantined, {share:.2%} of the source", loc="left", fontsize=10, color=INK)
    _plain(axis)


def _plain(axis: "Axes") -> None:
    axis.tick_params(labelsize=8, length=0, colors=FAINT, labelcolor=INK)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)
