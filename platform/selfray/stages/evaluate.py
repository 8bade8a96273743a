"""The evaluation stage: probes and label-free scores of the new encoder, and of another on the same samples."""

from pathlib import Path
from typing import Any

from ..corpus.manifest import Manifest
from . import pretrain
from .run import Run, settings
from .stage import Stage


def inputs(run: Run) -> dict[str, Any]:
    """Settings, and the corpus on which is judged."""
    return {**protocol(run), "evaluate.corpus": fingerprint(run)}


def protocol(run: Run) -> dict[str, Any]:
    """How is measured; numbers of another protocol are no comparison."""
    assert run.recipe.evaluate is not None
    asked = run.recipe.evaluate
    chosen = {"seed": run.recipe.seed} if asked.labels or asked.label_shares else {}  # it fixes whose labels are known
    return {**settings(run.recipe.evaluate, "evaluate", ("corpus",)), **chosen, **_files(run)}


def _files(run: Run) -> dict[str, Any]:
    """What is in the files of probes, which the corpus's fingerprint does not cover."""
    assert run.recipe.evaluate is not None
    from ..evaluation.beside import FILES, digest

    asked = {name: own for name, own in run.recipe.evaluate.probes.items() if name in FILES}
    return {
        f"evaluate.probes.{name}.content": digest(name, own.get("file", FILES[name]), run.evaluated)
        for name, own in asked.items()
    }


def fingerprint(run: Run) -> str:
    """Of the corpus on which is judged."""
    return Manifest.read(run.evaluated).fingerprint


def work(run: Run) -> dict[str, Any]:
    """Evaluate the run's encoder, and write the results into its card."""
    results = judged(run, run.encoder, run.out / "evaluation")
    pretrain.export(run, pretrain.steps_done(run), results)
    return {"said": results["verdict"]}


def judged(run: Run, encoder: Path, out: Path) -> dict[str, Any]:
    """The results of an exported encoder, by the recipe's settings."""
    import torch

    from ..evaluation.compare import compare
    from ..export import build, load, read_config
    from ..train import build as building

    asked = run.recipe.evaluate
    assert asked is not None
    place = "cuda" if run.recipe.pretrain.gpu and torch.cuda.is_available() else "cpu"
    return compare(
        load(encoder).to(place),
        build(read_config(encoder)).to(place),
        building.views(run.recipe.pretrain, run.manifest.facts),
        run.evaluated,
        asked.probes,
        out,
        asked.max_samples,
        asked.labels,
        run.recipe.seed,
        asked.label_shares,
    )


def missing(run: Run) -> str:
    """The results, if they were removed."""
    return "" if run.results() else "evaluation/results.json is not there any more"


STAGE = Stage("evaluate", inputs, work, missing)
