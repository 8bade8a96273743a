"""A manifest for Parquet files that are somewhere already: what is known of the samples is written, nothing copied."""

from typing import Any, Literal

from ..errors import UserError
from . import destination as folder
from . import in_place, kinds, lakes, location, place
from .ingest import Progress, prepare
from .kinds import Kind
from .location import Location
from .manifest import Manifest
from .place import Place
from .sources.parquet import Parquet
from .sources.source import list_files


def index(
    source: str | Location,
    destination: Place,
    *,
    kind: str = "image",
    data_column: str | None = None,
    label_column: str | None = None,
    name: str | None = None,
    holdout: float = 0.0,
    max_bad_rate: float = 0.01,
    duplicates: Literal["ignore", "report"] = "report",
    rows_per_fragment: int = 2048,
    ray: bool = True,
    progress: Progress | None = None,
    about: dict[str, str] | None = None,
    **settings: Any,
) -> Manifest:
    """Check every sample of a Parquet lake where it is, and write a manifest with labels, splits and checksums.

    Training then reads the lake itself: encoded images of any size are decoded and fitted with every read, lists of
    numbers are taken as they are. A file that changes afterwards is refused. What cannot be used is quarantined and
    left out, as by `ingest.prepare`, which has the same arguments where they are not named here.

    Args:
        source: one Parquet file or a folder of them, local or in an object store, which all machines that train reach.
        destination: a folder of its own for what is known of the samples.
        kind: the data type: image (bytes, or lists of uint8), audio (lists of int16 at the setting `rate`), series
            (lists of numbers, or of lists of one length).
        data_column: the column of samples; found by type and name if None.
        label_column: the column of labels; found by name if None.
        duplicates: exact and near duplicates can be counted, but not taken out.

    Raises:
        UserError: what `prepare` raises, the data type cannot be read in place, or a row group is too large for it.
    """
    where = location.at(source)
    folder.check_apart(where, place.absolute(destination))
    if kinds.find(kind).in_place is Kind.in_place:
        raise UserError(f"{kind} cannot be read in place; run `selfray corpus prepare {source} {destination}`")
    if not where.exists():
        raise UserError(f"no source at {source}: there is no such file or folder")
    files = list_files(where)
    if not any(map(lakes.is_parquet, files)):
        raise UserError(f"{source} holds no Parquet files, which alone can be indexed; prepare it instead")
    lake = Parquet(where, files, data_column, label_column, kind)
    if kind != "image" and not in_place.is_list(lake.type):
        raise UserError(
            f"column {lake.column!r} of {source} holds {lake.type}, and {kind} is read in place from lists of numbers; "
            f"run `selfray corpus prepare {source} {destination}`"
        )
    in_place.check_groups(lake.root, sorted(lake.used()), lake.column)
    if kind == "image":
        settings = {**settings, "store": "raw"}  # what is compared and counted; nothing of it is kept
    return prepare(
        lake,
        destination,
        name=name,
        holdout=holdout,
        max_bad_rate=max_bad_rate,
        duplicates=duplicates,
        rows_per_fragment=rows_per_fragment,
        in_place=True,
        ray=ray,
        progress=progress,
        about=about,
        **settings,
    )
