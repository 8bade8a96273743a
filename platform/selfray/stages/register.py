"""The register stage: a version in the registry with its lineage, and the champion's alias if a gate was passed."""

import hashlib
import json
from typing import Any

from .. import gate, registry
from ..recipe import HARMLESS
from ..train.start import FOLDER, NOTE
from . import evaluate
from .run import Run, settings
from .stage import Stage


def inputs(run: Run) -> dict[str, Any]:
    """Settings; the stages before are taken care of by the engine."""
    assert run.recipe.registry is not None
    return settings(run.recipe.registry, "register")


def work(run: Run) -> dict[str, Any]:
    """Register, and promote what a gate has let pass."""
    asked = run.recipe.registry
    assert asked is not None
    tracker = run.track()
    tracker.wait_started()
    uri = registry.register(run.out, run.encoder, run.model, asked.alias, run.results(), lineage(run))
    said = f"{uri} (alias {asked.alias})"
    if run.recipe.gate and asked.champion:
        registry.Registry(tracker.uri).promote(run.model, uri.rpartition("/")[2], asked.champion)
        said = f"{uri} (aliases {asked.alias}, {asked.champion})"
    tracker.tag({"selfray.model": uri})
    return {"uri": uri, "said": said}


def lineage(run: Run) -> dict[str, str]:
    """Tags that say what a version was made from, and what was measured on it."""
    tags = {"selfray.recipe": recipe_digest(run)}
    note = run.out / FOLDER / NOTE
    if note.is_file():
        tags["selfray.parent"] = json.loads(note.read_text(encoding="utf-8"))["uri"]
    if run.date:
        tags["selfray.date"] = run.date
    if run.recipe.gate:
        tags["selfray.gate"] = "passed"
    if results := run.results():
        found = {"corpus": evaluate.fingerprint(run), "evaluate": evaluate.protocol(run)}
        tags[registry.MEASURED] = json.dumps(found | {"metrics": gate.values(results)}, sort_keys=True)
    return tags


def recipe_digest(run: Run) -> str:
    """Twelve hex digits that two runs share if their corpus settings and training settings are the same."""
    corpus, pretrain = run.recipe.corpus, run.recipe.pretrain
    parts = {**settings(corpus, "corpus"), **settings(pretrain, "pretrain", HARMLESS), "seed": run.recipe.seed}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


STAGE = Stage("register", inputs, work)
