"""The corpus stage: raw data become a prepared corpus, again whenever the source has other files."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import paths
from ..corpus import place, stream
from ..corpus.manifest import FILE, Manifest
from ..corpus.place import Place
from ..errors import Refused, UserError
from ..storage import Storage
from . import notes
from .run import Run, settings
from .stage import Stage

SMALL_BYTES = 64 << 20
"""Sources up to this size are prepared here, where training is done without Ray too, before Ray would have started."""
DIGITS = 12
"""Of the fingerprint of settings and files, in the name of a version's folder."""


def inputs(run: Run) -> dict[str, Any]:
    """Settings, and what lies at the source; a run that has begun to train keeps the corpus that it began with."""
    corpus, noted = run.recipe.corpus, run.notes.read("corpus")
    training = run.notes.read("pretrain").get("state")
    if corpus.source and noted.get("state") == notes.DONE and training not in (None, notes.DONE):
        return {**noted["inputs"], **settings(corpus, "corpus")}
    found = settings(corpus, "corpus")
    if corpus.source:
        found["files of the source"] = listing(corpus.source)
    elif not corpus.fetch:
        found["fingerprint"] = stream.manifest_of(corpus.mix or str(corpus.path)).fingerprint
    return found


def listing(source: str) -> str:
    """A fingerprint of names, sizes and, on a disk, times of change of all files of a source."""
    return hashlib.sha256(json.dumps(_files(source)).encode()).hexdigest()


def _files(source: str) -> list[tuple[Any, ...]]:
    """(name, bytes, time of change where there is one) of all files, in order.

    Raises:
        UserError: there is nothing at the source, or an object store cannot be reached.
    """
    if place.is_remote(source):
        return sorted(Storage.at(source).sizes().items())
    root = Path(source)
    if not root.exists():
        raise UserError(f"corpus.source {source} does not exist")
    listed = [root] if root.is_file() else (Path(folder) / f for folder, _, names in os.walk(root) for f in names)
    found: list[tuple[Any, ...]] = []
    for path in listed:
        with suppress(FileNotFoundError):  # removed meanwhile, or a link to nowhere
            facts = path.stat()
            found.append((path.relative_to(root).as_posix(), facts.st_size, facts.st_mtime_ns))
    return sorted(found)


def work(run: Run) -> dict[str, Any]:
    """Bring or prepare the corpus."""
    folder = _settled(run)
    return {"folder": place.absolute(folder), "said": described(folder if not run.recipe.corpus.mix else None, run)}


def _settled(run: Run) -> Place:
    corpus = run.recipe.corpus
    if corpus.mix:
        stream.manifest_of(corpus.mix)
        return next(iter(corpus.mix))
    if corpus.path:
        Manifest.read(corpus.path)
        return corpus.path
    if corpus.fetch:
        from ..corpus import catalogue

        return catalogue.fetch(corpus.fetch)
    version = notes.fingerprint(inputs(run))[:DIGITS]
    return _prepared(run, paths.corpora() / run.recipe.name / version)


def _prepared(run: Run, folder: Path) -> Path:
    """A version of the corpus that the run prepares itself."""
    from ..corpus.ingest import prepare

    corpus = run.recipe.corpus
    if not (folder / FILE).is_file():
        begin_with_what_is_there(folder)
    try:
        prepare(
            str(corpus.source),
            folder,
            name=run.recipe.name,
            kind=corpus.kind,
            holdout=corpus.holdout,
            max_bad_rate=corpus.max_bad_rate,
            duplicates=corpus.duplicates,
            ray=run.recipe.pretrain.workers > 0 or sum(file[1] for file in _files(str(corpus.source))) > SMALL_BYTES,
            **corpus.prepare,
        )
    except UserError as error:
        if too_bad(folder, corpus.max_bad_rate):
            raise Refused(f"the corpus is refused: {error}") from None
        raise
    return folder


def begin_with_what_is_there(folder: Path) -> None:
    """Link the files of the newest other version, so that pieces that did not change are not prepared again.

    Files are replaced and never written in place, so both versions keep their own. Links cost no room. A file system
    without them costs the time of preparing everything.
    """
    earlier = [found.parent for found in folder.parent.glob(f"*/{FILE}")] if folder.parent.is_dir() else []
    if folder.exists() or not earlier:
        return
    newest = max(earlier, key=lambda version: (version / FILE).stat().st_mtime_ns)
    for root, _, names in os.walk(newest):
        target = folder / Path(root).relative_to(newest)
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            if name not in (FILE, "lock") and not (target / name).exists():
                try:
                    os.link(Path(root) / name, target / name)
                except OSError:
                    return


def too_bad(folder: Path, most: float) -> bool:
    """Whether a corpus that failed did so because more samples are bad than allowed."""
    from ..corpus.quality import metrics

    found = metrics(folder)
    return found.get("corpus/bad", 0) > most * found.get("corpus/samples", 0)


def described(folder: Place | None, run: Run) -> str:
    """A corpus in a line, its licence in another."""
    manifest = stream.manifest_of(run.recipe.corpus.mix or str(folder))
    rows = " + ".join(f"{manifest.rows(split):,} {split}" for split in sorted(manifest.splits, reverse=True))
    said = f"{manifest.name}: {rows} samples of {' x '.join(map(str, manifest.shape))}"
    licence = manifest.about.get("licence")
    return f"{said}\n             licence: {licence}" if licence else said


def missing(run: Run) -> str:
    """The corpus, if it was removed."""
    folder = run.notes.read("corpus").get("folder", "")
    return "" if run.recipe.corpus.mix or place.exists(folder, FILE) else f"{folder} is not there any more"


def taken(run: Run, note: dict[str, Any]) -> None:
    """Let the other stages know where it is."""
    run.settle(run.recipe.corpus.path or note["folder"])


STAGE = Stage("corpus", inputs, work, missing, taken)
