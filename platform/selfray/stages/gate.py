"""The gate stage: conditions on what was measured, some against the champion on the same corpus."""

from typing import Any

from .. import gate
from ..errors import Refused
from ..registry import Registry, Version
from . import evaluate, notes
from .run import Run, settings
from .stage import Stage
from .warm import alias


def inputs(run: Run) -> dict[str, Any]:
    """The conditions; not the champion, since a decision stands once it is made."""
    assert run.recipe.gate is not None
    return settings(run.recipe.gate, "gate")


def work(run: Run) -> dict[str, Any]:
    """Judge the candidate.

    Raises:
        Refused: a condition is not met; gate.json and the MLflow run say which.
    """
    asked, results = run.recipe.gate, run.results()
    assert asked is not None
    assert results is not None
    tracker = run.track()
    needed = any(gate.parse(text).base == "champion" for text in asked.require)
    champion = Registry(tracker.uri).by_alias(run.model, alias(run)) if needed else None
    findings = gate.judge(asked.require, results, _measured(run, champion) if champion else None)
    failed = [finding for finding in findings if not finding.met]
    found = {
        "passed": not failed,
        "champion": champion.uri if champion else None,
        "corpus": evaluate.fingerprint(run),
        "conditions": gate.plain(findings),
    }
    notes.save(run.out / "gate.json", found)
    reasons = "; ".join(finding.said for finding in failed)
    tracker.tag({"selfray.gate": "refused" if failed else "passed", "selfray.gate.reasons": reasons})
    if failed:
        raise Refused(f"the candidate is refused: {reasons}; it is kept in {run.encoder}, and the champion stays")
    count = len(findings)
    return {"said": f"passed {count} condition{'s' * (count != 1)}: " + "; ".join(f.said for f in findings)}


def _measured(run: Run, champion: Version) -> dict[str, float]:
    """The champion's metrics on this run's corpus: noted in the registry, or measured now."""
    known = champion.measured()
    if known.get("corpus") == evaluate.fingerprint(run) and known.get("evaluate") == evaluate.protocol(run):
        return dict(known["metrics"])
    run.say(f"             evaluating {champion.uri} on the same corpus ...")
    folder = run.out / "champion"
    encoder = Registry(run.track().uri).fetch(champion.uri, folder / "encoder")
    return gate.values(evaluate.judged(run, encoder, folder))


def missing(run: Run) -> str:
    """The decision, if it was removed."""
    return "" if (run.out / "gate.json").is_file() else "gate.json is not there any more"


STAGE = Stage("gate", inputs, work, missing)
