"""The engine: which stages run and why, one after another, each noted in the run's folder as it stands."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..discovery import nearest
from ..errors import Refused, Temporary, UserError
from ..settings import Attempts
from . import notes
from .attempts import limited, persistently, said, temporary
from .run import Run
from .stage import Stage


@dataclass(frozen=True)
class Decision:
    """Whether a stage runs, and why."""

    stage: str
    runs: bool
    why: str


def selected(stages: Sequence[Stage], first: str | None, last: str | None) -> tuple[int, int]:
    """Positions of `--from` (0 if left out) and of `--until` (the last stage).

    Raises:
        UserError: the pipeline has no such stage, or they are the wrong way round.
    """
    names = [stage.name for stage in stages]
    for option, name in (("--from", first), ("--until", last)):
        if name is not None and name not in names:
            raise UserError(
                f"{option} {name}: this pipeline has no such stage{nearest(name, names)}; it has {', '.join(names)}"
            )
    begin, end = names.index(first) if first else 0, names.index(last) if last else len(names) - 1
    if begin > end:
        raise UserError(f"--from {first} comes after --until {last}")
    return begin, end


def decide(stage: Stage, run: Run, forced: bool = False) -> Decision:
    """Whether a stage has to run, according to its note and to what it depends on now."""
    note, inputs = run.notes.read(stage.name), stage.inputs(run)
    if not note:
        return Decision(stage.name, True, "not done yet")
    differences = notes.changed(note["inputs"], inputs)
    if differences:
        return Decision(stage.name, True, "; ".join(differences))
    if forced:
        return Decision(stage.name, True, "asked for by --from")
    if note["state"] in (notes.RUNNING, notes.FAILED):
        return Decision(stage.name, True, "was not finished")
    if gone := stage.missing(run):
        return Decision(stage.name, True, gone)
    return Decision(stage.name, False, "refused before" if note["state"] == notes.REFUSED else "done before")


def plan(stages: Sequence[Stage], run: Run, first: str | None = None, last: str | None = None) -> list[Decision]:
    """What running would do; nothing is done."""
    begin, end = selected(stages, first, last)
    decisions: list[Decision] = []
    ahead = ""  # the first stage that runs, which makes those after it run too
    for number, stage in enumerate(stages):
        if number > end:
            decisions.append(Decision(stage.name, False, f"after --until {last}"))
        elif ahead == "corpus":
            # What the corpus will be is not known, and may turn out to be what it was
            decisions.append(Decision(stage.name, True, "after corpus, unless it turns out to be the same"))
        elif ahead:
            decisions.append(Decision(stage.name, True, f"after {ahead}"))
        else:
            decisions.append(decision := decide(stage, run, bool(first) and number >= begin))
            ahead = stage.name if decision.runs else ""
            if number < begin and decision.runs:
                raise _unfinished(stage.name, decision.why, first)
            if not decision.runs:
                stage.taken(run, run.notes.read(stage.name))
            if decision.why == "refused before":
                decisions += [Decision(later.name, False, "the gate refused") for later in stages[number + 1 :]]
                break
    return decisions


def execute(stages: Sequence[Stage], run: Run, first: str | None = None, last: str | None = None) -> None:
    """Run what has to run, in order.

    Raises:
        Refused: a gate said no.
        UserError: a stage failed for a reason that the user can act on.
    """
    begin, end = selected(stages, first, last)
    for number, stage in enumerate(stages[: end + 1]):
        decision = decide(stage, run, bool(first) and number >= begin)
        if number < begin and decision.runs:
            raise _unfinished(stage.name, decision.why, first)
        if not decision.runs:
            note = run.notes.read(stage.name)
            stage.taken(run, note)
            run.say(f"  {stage.name:<10} {'unchanged' if stage.name == 'corpus' else decision.why}: {note['said']}")
            if note["state"] == notes.REFUSED:
                raise Refused(note["said"])
            continue
        if stage.name != "corpus":
            run.track().tag({f"selfray.stage.{stage.name}": notes.RUNNING})
        _work(stage, run, [later.name for later in stages[number + 1 :]])


def _work(stage: Stage, run: Run, later: list[str]) -> None:
    """One stage with its attempts, its limit and its note."""
    name = stage.name
    asked = run.recipe.stages.get(name) or Attempts.model_validate({})  # type: ignore[call-overload]
    stage.begin(run, run.notes.read(name))
    if name != "corpus":
        run.notes.drop(later)  # before this stage changes what they were made from
    inputs = stage.inputs(run)
    run.notes.write(name, notes.RUNNING, inputs, {})
    status(run, notes.RUNNING)
    run.say(f"  {name:<10} ...", plain_only=name != "pretrain")
    begun = time.monotonic()

    def ended(state: str, **result: Any) -> dict[str, Any]:
        result = {"seconds": time.monotonic() - begun} | result
        if name != "corpus" and run.tracker:
            run.tracker.tag({f"selfray.stage.{name}": state})
        return run.notes.write(name, state, stage.inputs(run) if state == notes.DONE else inputs, result)

    try:
        with limited(name, asked.minutes):
            result, attempts = persistently(lambda: stage.work(run), asked, run.warn)
    except Refused as error:
        ended(notes.REFUSED, said=str(error))
        raise
    except Exception as error:
        ended(notes.FAILED, said=said(error))
        if temporary(error):
            tries = f"{asked.retries + 1} attempts" if asked.retries else "1 attempt"
            raise Temporary(f"stage {name} gave up after {tries}: {said(error)}") from error
        raise
    note = ended(notes.DONE, attempts=attempts, **result)
    stage.taken(run, note)
    run.say(f"  {name:<10} {note['said']}")


def status(run: Run, state: str, exit_status: int | None = None, reason: str = "") -> dict[str, Any]:
    """Note how the run stands, for schedulers and people; returns it."""
    stages = {}
    for name in run.recipe.asked():
        note = run.notes.read(name)
        stages[name] = {key: note[key] for key in ("state", "said", "seconds", "attempts", "at") if key in note}
        stages[name] = stages[name] or {"state": "waiting"}
    found: dict[str, Any] = {"pipeline": run.recipe.name, "date": run.date, "run": str(run.out), "status": state}
    found |= {"exit": exit_status, "reason": reason, "stages": stages}
    run.notes.write_status(found)
    return found


def plain(decisions: list[Decision]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(decision) for decision in decisions]


def _unfinished(stage: str, why: str, first: str | None) -> UserError:
    return UserError(f"--from {first}: stage {stage} before it is not finished ({why}); leave out --from")
