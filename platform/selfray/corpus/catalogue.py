"""Known open corpora: brought from a public registry, checked, and prepared."""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from .. import paths
from ..discovery import nearest
from ..errors import UserError
from ..storage import ASIDE
from .manifest import FILE, Manifest
from .packages import Package, bring


@dataclass(frozen=True)
class Entry:
    """One corpus of the catalogue."""

    name: str
    summary: str
    package: Package
    licence: str
    citation: str
    files: dict[str, str] = field(default_factory=dict)  # path in the package -> SHA-256
    folder: str = ""  # instead of files: a folder of the package, whose checksum is that of all that is in it
    arrange: str = ""  # how the folder becomes what a reader knows: a function of `arrange.py`
    beside: list[str] = field(default_factory=list)  # files for probes that it makes, to lie beside the manifest
    holdout: float = 0.0
    classes: list[str] = field(default_factory=list)
    prepare: dict[str, Any] = field(default_factory=dict)  # settings of the reader and of the data type

    @property
    def about(self) -> dict[str, str]:
        """What the manifest of the prepared corpus says about it."""
        return {
            "source": f"{self.package.kind} {self.package.name} {self.package.version}",
            "licence": self.licence,
            "citation": self.citation,
        }


def names() -> list[str]:
    """The corpora that can be fetched, in alphabetical order."""
    return sorted(_raw())


def describe(name: str) -> dict[str, Any]:
    """All that the catalogue says about a corpus, as plain data.

    Raises:
        UserError: there is no such corpus.
    """
    return asdict(entry(name))


def entry(name: str) -> Entry:
    """The catalogue's entry of that name.

    Raises:
        UserError: there is no such corpus.
    """
    raw = _raw()
    if name not in raw:
        raise UserError(f"no corpus {name!r} in the catalogue{nearest(name, names())}; there are {', '.join(names())}")
    return Entry(name=name, **{**raw[name], "package": Package(**raw[name]["package"])})


def fetch(name: str, destination: str | Path | None = None, progress: Callable[[int, int], None] | None = None) -> Path:
    """Bring a corpus of the catalogue and prepare it; nothing is downloaded for one that is there already.

    Its licence is in the manifest: `Manifest.read(folder).about["licence"]`.

    Args:
        destination: the corpus's folder; by default of that name in `paths.corpora()`.
        progress: called with the samples done and the samples in all.

    Returns:
        The folder of the prepared corpus.

    Raises:
        UserError: no such corpus, it cannot be downloaded, or what came is not what the catalogue says.
    """
    wanted = entry(name)
    folder = Path(destination) if destination is not None else paths.corpora() / name
    if (folder / FILE).is_file():
        found = Manifest.read(folder)
        if found.name != name or not wanted.about.items() <= found.about.items():
            raise UserError(
                f"{folder} already holds the corpus {found.name!r}; choose a new folder, or delete that one"
            )
        if all((folder / file).is_file() for file in wanted.beside):
            return folder
    data = _arranged(wanted, bring(wanted))
    from .ingest import prepare
    from .sources import open_source, reader_of, reader_settings

    given = dict(wanted.prepare)
    kind = given.pop("kind", None)
    readable = reader_settings(reader_of(data, kind)[0])
    of_reader = {key: value for key, value in given.items() if key in readable}
    of_kind = {key: value for key, value in given.items() if key not in readable}
    source = open_source(data, kind, classes=tuple(wanted.classes) or None, **of_reader)
    common: dict[str, Any] = {"name": name, "holdout": wanted.holdout, "about": wanted.about}
    # Pixels that are not compressed as images take seconds: starting Ray would take longer
    prepare(source, folder, ray=False, progress=progress, **common, **of_kind)
    for file in wanted.beside:
        aside = folder / f".{file}{ASIDE}"
        shutil.copyfile(_arranged_file(wanted).with_name(file), aside)
        aside.replace(folder / file)
    return folder


def _raw() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((files(__package__) / "catalogue.yaml").read_text(encoding="utf-8"))
    return loaded


def _arranged(wanted: Entry, data: Path) -> Path:
    if not wanted.arrange:
        return data
    from . import arrange

    file = _arranged_file(wanted)
    getattr(arrange, wanted.arrange)(data, file)
    if not file.exists():  # it only made what lies beside
        return data
    for made in file.iterdir() if file.is_dir() else [file]:
        os.utime(made, (0, 0))  # a file's time is part of a corpus's identity; this one's is of no meaning
    return file


def _arranged_file(wanted: Entry) -> Path:
    return paths.downloads() / wanted.name / "arranged.parquet"
