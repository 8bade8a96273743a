"""Embeddings of a whole corpus as Parquet, through Ray Data: one output file a shard, exactly one row a sample."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import export
from .corpus import place
from .corpus.manifest import Manifest
from .corpus.read import batches, decode
from .corpus.work import SPLITS
from .errors import UserError
from .neighbors.vectors import NOTE
from .storage import Storage
from .train.build import input_channels

BATCH = 512


def embed(
    model: str | Path,
    corpus: str | Path,
    out: str | Path,
    gpu: bool = False,
    progress: Callable[[int, int], None] | None = None,
    index: bool = False,
) -> int:
    """Write `id`, `label`, `group`, `source` and `embedding` of every sample; returns the number of rows.

    Shards that are there already are not done again, so an interrupted job continues when it is repeated. Those of
    another encoder or of another corpus are removed first; `_embedding.json` says whose they are, and what a search
    needs to know to embed a query in the same way.

    Args:
        model: An exported encoder or its registry URI.
        corpus: A prepared corpus.
        out: Folder for the Parquet files, laid out like the corpus's.
        gpu: Run on the cluster's GPUs, one encoder each.
        progress: Called with shards done and shards in all.
        index: Make an index of the vectors too, for `selfray neighbors`.

    Raises:
        UserError: the model reads other data than the corpus holds, rows would be missing, or an index is asked for
            and cannot be made here.
    """
    import ray

    from . import cluster
    from .neighbors import index as neighbors
    from .neighbors import query

    if index:
        neighbors.needed()
    manifest, out = Manifest.read(corpus), Path(out).resolve()
    made_by = _check(model, manifest)
    where = place.absolute(model) if Path(model).is_dir() else str(model)
    facts = {"model": where, **query.noted(manifest, corpus)}
    _make_room(out, {"encoder": made_by, "corpus": manifest.fingerprint}, facts)
    tasks: list[dict[str, Any]] = [
        {"file": shard.file, "rows": shard.rows, "corpus": place.absolute(corpus), "out": str(out)}
        for shards in manifest.splits.values()
        for shard in shards
    ]
    waiting = [task for task in tasks if _rows(out / str(task["file"])) != task["rows"]]
    if waiting:
        cluster.start()
        resources = ray.cluster_resources()
        if gpu and not resources.get("GPU"):
            raise UserError("gpu is true but the Ray cluster has no GPU; leave out --gpu")
        free = int(resources["GPU"] if gpu else max(1, resources["CPU"] - 1))
        done = len(tasks) - len(waiting)
        dataset = ray.data.from_items(waiting, override_num_blocks=len(waiting)).map_batches(
            _Embedder,
            fn_constructor_args=(ray.put(_packed(model)), ray.put(manifest), gpu),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(free, len(waiting))),
            num_gpus=1 if gpu else 0,
        )
        for _ in dataset.iter_rows():
            done += 1
            if progress:
                progress(done, len(tasks))
    written = sum(_rows(out / str(task["file"])) for task in tasks)
    expected = sum(int(task["rows"]) for task in tasks)
    if written != expected:
        raise UserError(f"{out} holds {written} embeddings of {expected} samples; remove it and run the command again")
    if index:
        neighbors.refresh(out)
    return written


def _make_room(out: Path, identity: dict[str, str], facts: dict[str, Any]) -> None:
    """Remove the shards of another encoder or corpus with their index, and note whose are to come."""
    from .neighbors import index

    note = out / NOTE
    known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    if known == identity | facts:
        return
    if {key: known.get(key) for key in identity} != identity:
        index.remove(out)
        for split in SPLITS:
            shutil.rmtree(out / split, ignore_errors=True)
    Storage.at(out).write(NOTE, json.dumps(identity | facts).encode())


def _check(model: str | Path, manifest: Manifest) -> str:
    """Raise a UserError unless the encoder reads what the corpus holds; returns the hash of its weights."""
    config = export.read_config(export.fetched(model))
    if config["kind"] != manifest.kind or config["channels"] != input_channels(manifest):
        raise UserError(
            f"the encoder reads {config['kind']} with {config['channels']} channels, corpus {manifest.name!r} holds "
            f"{manifest.kind} with {input_channels(manifest)}"
        )
    return str(config["weights_sha256"])


def _packed(model: str | Path) -> dict[str, bytes]:
    folder = export.fetched(model)
    return {name: (folder / name).read_bytes() for name in (export.WEIGHTS, export.CONFIG)}


def _rows(file: Path) -> int:
    """Rows of a finished output file, -1 if there is none."""
    return pq.read_metadata(file).num_rows if file.is_file() else -1


class _Embedder:
    """Holds the encoder in a Ray actor; the files travel with it, so no shared disk is needed for them."""

    def __init__(self, files: Any, manifest: Any, gpu: bool):
        import tempfile

        import ray

        with tempfile.TemporaryDirectory() as folder:
            for name, content in ray.get(files).items():
                (Path(folder) / name).write_bytes(content)
            self.encoder = export.load(folder)
        self.place = "cuda" if gpu else "cpu"
        self.encoder.to(self.place)
        self.manifest: Manifest = ray.get(manifest)

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        file, rows = str(task["file"][0]), int(task["rows"][0])
        target = Path(str(task["out"][0])) / file
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.writing")
        written = 0
        width = self.encoder.width
        schema = pa.schema(
            [
                ("id", pa.int64()),
                ("label", pa.int32()),
                ("group", pa.string()),
                ("source", pa.string()),
                ("embedding", pa.list_(pa.float32(), width)),
            ]
        )
        kept = ["id", "label", "group", "source"]
        with pq.ParquetWriter(aside, schema) as writer:
            for table in batches(str(task["corpus"][0]), self.manifest, file, BATCH, [*kept, "data"]):
                vectors = self._vectors(decode(table, self.manifest))
                column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), width)
                columns = [table[name] for name in kept]
                writer.write_table(pa.table([*columns, column], schema=schema))
                written += len(table)
        if written != rows:
            raise RuntimeError(f"{file} has {written} rows, its manifest says {rows}")
        aside.replace(target)
        return {"rows": np.array([written])}

    def _vectors(self, images: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return self.encoder.embed(torch.tensor(images).to(self.place)).float().cpu().numpy()
