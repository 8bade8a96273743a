"""A prepared corpus to another place: shards first, the manifest last, nothing twice."""

from collections.abc import Callable
from pathlib import Path

from ..errors import UserError
from ..storage import Storage
from .manifest import FILE, Manifest
from .place import Place
from .quality import PAGE, REPORT

Progress = Callable[[int, int], None]
TABLES = (".parquet", ".csv")
"""Of files that lie beside the manifest, such as pairs of texts for probes; shards are in folders."""


def copy(folder: str | Path, destination: Place, progress: Progress | None = None) -> int:
    """Copy a local corpus, such as to `s3://bucket/prefix`; returns the bytes that were sent.

    Shards that are there with the right size are not sent again, so that an interrupted copy is continued by the same
    call. Without its manifest, which comes last, nothing is a corpus.

    Raises:
        UserError: the destination holds another corpus, or cannot be reached.
    """
    folder, manifest, there = Path(folder), Manifest.read(folder), Storage.at(destination)
    present = there.sizes()
    if FILE in present and Manifest.read(str(destination)).fingerprint != manifest.fingerprint:
        raise UserError(f"{destination} holds another corpus; choose another place, or delete it")
    files = {shard.file: shard.bytes for shards in manifest.splits.values() for shard in shards}
    probed = sorted(file.name for file in folder.iterdir() if file.suffix in TABLES)
    beside = [name for name in (*manifest.facts.get("files", {}), REPORT, PAGE, *probed) if (folder / name).is_file()]
    files |= {name: (folder / name).stat().st_size for name in beside}
    sent = done = 0
    for name, size in files.items():
        if present.get(name) != size or name in beside:
            there.write(name, folder / name)
            sent += size
        done += size
        if progress:
            progress(done, sum(files.values()))
    there.write(FILE, folder / FILE)
    return sent
