"""Collections whose labels stand beside the files, made into one Parquet file that the readers know."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FEW = {"Component"}  # skin tones and hair by themselves


def emoji(folder: Path, file: Path) -> None:
    """The 64-pixel pictures of an emoji-datasource package with their categories.

    An emoji and its skin tones are the same thing drawn several times: they are one group, so that no split has both.
    """
    listed = json.loads((folder.parents[2] / "emoji.json").read_text(encoding="utf-8"))
    rows = []
    for one in sorted(listed, key=lambda one: one["unified"]):
        if one["category"] in FEW:
            continue
        for shape in (one, *one.get("skin_variations", {}).values()):
            picture = folder / shape["image"]
            if picture.is_file():
                rows.append({"image": picture.read_bytes(), "label": one["category"], "group": one["unified"]})
    pq.write_table(pa.Table.from_pylist(rows), file)
