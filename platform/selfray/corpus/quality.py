"""What preparing found out about the data: numbers for machines, and a page with examples for people."""

import base64
import html
import io
import json
from collections import Counter
from typing import Any

from ..storage import Storage
from . import place
from .duplicates import Duplicates
from .manifest import Manifest
from .place import Place
from .read import rows_of
from .work import QUARANTINE

REPORT, PAGE = "quality_report.json", "quality.html"
SHOWN = 8  # examples of a reason, and pairs of duplicates
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1f2933 }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums } code { overflow-wrap: anywhere }
img { image-rendering: pixelated; height: 64px; max-width: 12rem; border: 1px solid #ccd } .faint { color: #7b8794 }
"""


def write(
    there: Storage,
    manifest: Manifest,
    noted: list[dict[str, Any]],
    found: Duplicates | None,
    max_bad_rate: float,
    duplicates: str,
) -> dict[str, Any]:
    """Write `quality_report.json` and `quality.html` beside the manifest; returns the report.

    Args:
        noted: what the fragments' marks say.
        found: the duplicates, if they were looked for.
        max_bad_rate, duplicates: the settings of the gate.
    """
    reasons: Counter[str] = Counter()
    for mark in noted:
        reasons.update(mark["reasons"])
    samples = sum(mark["samples"] for mark in noted)
    report: dict[str, Any] = {
        "corpus": manifest.name,
        "fingerprint": manifest.fingerprint,
        "samples": samples,
        "rows": {split: manifest.rows(split) for split in manifest.splits},
        "bad": {"total": sum(reasons.values()), "share": sum(reasons.values()) / (samples or 1), "reasons": reasons},
        "allowed": max_bad_rate,
        "duplicates": None
        if found is None
        else {
            "setting": duplicates,
            "exact": len(found.exact),
            "near": len(found.near),
            "train_rows_like_held_out_ones": found.leaks,
        },
    }
    page = _page(there, manifest, report, found)
    put(there, {REPORT: json.dumps(report, indent=1).encode(), PAGE: page.encode()})
    return report


def put(there: Storage, files: dict[str, bytes]) -> None:
    """Write files that are not there, or are others."""
    for name, content in files.items():
        try:
            same = there.read(name) == content
        except FileNotFoundError:
            same = False
        if not same:
            there.write(name, content)


def metrics(folder: Place) -> dict[str, float]:
    """The report's counts under names for a tracker; empty where there is no report, as of an index or a mixture."""
    try:
        report = json.loads(place.storage(place.absolute(folder)).read(REPORT))
    except FileNotFoundError:
        return {}
    numbers = {"corpus/samples": report["samples"], "corpus/bad": report["bad"]["total"]}
    numbers |= {f"corpus/bad/{reason}": count for reason, count in report["bad"]["reasons"].items()}
    if report["duplicates"]:
        numbers |= {f"corpus/duplicates/{key}": report["duplicates"][key] for key in ("exact", "near")}
    return {name: float(value) for name, value in numbers.items()}


def _page(there: Storage, manifest: Manifest, report: dict[str, Any], found: Duplicates | None) -> str:
    bad = report["bad"]
    parts = [
        f"<h1>Quality of the corpus {html.escape(manifest.name)}</h1>",
        f"<p>{report['samples']:,} samples were looked at; {bad['total']:,} ({bad['share']:.2%}) could not be used "
        f"(allowed: {report['allowed']:.2%}). The corpus has "
        + ", ".join(f"{rows:,} {split}" for split, rows in report["rows"].items())
        + " rows.</p>",
    ]
    if bad["reasons"]:
        parts.append("<h2>Why samples were turned away</h2>")
        examples = _examples(there, set(bad["reasons"]))
        for reason, count in sorted(bad["reasons"].items(), key=lambda item: -item[1]):
            rows = "".join(
                f"<tr><td>{_picture(row['bytes'])}</td><td><code>{html.escape(row['source'])}</code><br>"
                f"<span class=faint>{html.escape(row['detail'])}</span></td><td class=n>{row['size']:,} bytes</td></tr>"
                for row in examples[reason]
            )
            parts.append(f"<h3>{html.escape(reason.replace('_', ' '))}: {count:,}</h3><table>{rows}</table>")
    if found is not None:
        parts.append(
            f"<h2>Duplicates</h2><p>{len(found.exact):,} rows are exact copies and {len(found.near):,} are nearly "
            f"copies of another row; {found.leaks:,} of them are in the train split while the other is held out. "
            f"They were {'dropped' if report['duplicates']['setting'].startswith('drop') else 'kept'}.</p>"
        )
        parts.append(_pairs(there, manifest, found))
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Quality of {html.escape(manifest.name)}</title>'
        f"<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data:; "
        f"style-src 'unsafe-inline'\"><style>{STYLE}</style>{body}</html>"
    )


def _examples(there: Storage, reasons: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Up to `SHOWN` quarantined samples of each reason."""
    found: dict[str, list[dict[str, Any]]] = {reason: [] for reason in reasons}
    for file in there.sizes(QUARANTINE):
        with place.shard(there.uri, file) as parquet:
            for batch in parquet.iter_batches(batch_size=64):
                for row in batch.to_pylist():
                    if row["reason"] in found and len(found[row["reason"]]) < SHOWN:
                        found[row["reason"]].append(row)
        if all(len(rows) == SHOWN for rows in found.values()):
            break
    return found


def _picture(data: bytes) -> str:
    """A quarantined sample if it can be shown: small images as they are, else the beginning of a text."""
    from . import images
    from .bad import BadSample

    try:
        return _inline(images.decode(data, 3, max_pixels=1 << 20))
    except BadSample:
        text = data[:80].decode("utf-8", "replace")
        return f"<code>{html.escape(text)}</code>" if text.isprintable() and text else ""


def _inline(pixels: Any) -> str:
    from PIL import Image

    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((128, 128))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f'<img alt="sample" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _pairs(there: Storage, manifest: Manifest, found: Duplicates) -> str:
    """A table of some near duplicates (else of exact ones) with their images, where both are still in the corpus."""
    if manifest.kind != "image":
        pairs = list((found.near or found.exact).items())[:SHOWN]
        return "<p>" + ", ".join(f"row {row} is like row {keeper}" for row, keeper in pairs) + "</p>" if pairs else ""
    wanted = list((found.near or found.exact).items())[:SHOWN]
    places = _places(there, manifest, {id for pair in wanted for id in pair})

    def inline(split: str, row: int) -> str:
        return _inline(rows_of(there.uri, manifest, split, [row])["data"][0])

    rows = ""
    for pair in wanted:
        shown = [(id, *places[id]) for id in pair if id in places]
        cells = "".join(
            f"<td>{inline(split, row)}<br><span class=faint>{split}, row {id}</span></td>" for id, split, row in shown
        )
        rows += f"<tr>{cells}</tr>" if cells else ""
    return f"<table>{rows}</table>"


def _places(there: Storage, manifest: Manifest, ids: set[int]) -> dict[int, tuple[str, int]]:
    """Id -> (split, row of it) of the given ids."""
    found: dict[int, tuple[str, int]] = {}
    for split in manifest.splits:
        before = 0
        for shard in manifest.shards(split):
            if len(found) == len(ids):
                return found
            with place.shard(there.uri, shard.file) as file:
                listed = file.read(["id"])["id"].to_pylist()
            found |= {id: (split, before + row) for row, id in enumerate(listed) if id in ids}
            before += shard.rows
    return found
