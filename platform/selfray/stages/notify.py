"""The notify stage: tell people how it ended; a refusal or a failure is told when it happens."""

from typing import Any

from .. import notices
from ..errors import UserError
from .run import Run, settings
from .stage import Stage


def inputs(run: Run) -> dict[str, Any]:
    """Settings, without the values of secrets."""
    assert run.recipe.notify is not None
    return settings(run.recipe.notify, "notify")


def work(run: Run) -> dict[str, Any]:
    """Tell that everything is done."""
    asked = run.recipe.notify
    assert asked is not None
    if "done" not in asked.when:
        return {"said": "nobody asked to be told of success"}
    return {"said": f"told {', '.join(notices.send(asked, message(run, 'done')))}"}


def tell(run: Run, end: str, reason: str) -> None:
    """Tell of a refusal or a failure; that nobody can be told must not hide why."""
    asked = run.recipe.notify
    if asked is None or end not in asked.when:
        return
    try:
        told = notices.send(asked, message(run, end, reason))
    except UserError as error:
        run.warn(f"nobody was told: {error}")
    else:
        run.say(f"  notify     told {', '.join(told)}")


def message(run: Run, end: str, reason: str = "") -> dict[str, Any]:
    """What is told, as plain values."""
    model = run.notes.read("register").get("uri") if end == "done" else None
    results = run.results() or {"probes": [], "verdict": ""}
    measured = {row["probe"]: row["pretrained"] for row in results["probes"]}
    when = f" of {run.date}" if run.date else ""
    parts = [f"selfray {run.recipe.name}{when}: {end}", reason or results["verdict"], model or ""]
    links = {"run": str(run.out), "report": str(run.out / "report.html")}
    if run.tracker and run.tracker.run_id:
        links |= {"tracking": run.tracker.uri, "mlflow_run": run.tracker.run_id}
    return {
        "pipeline": run.recipe.name,
        "date": run.date,
        "status": end,
        "reason": reason,
        "model": model,
        "probes": measured,
        "links": links,
        "text": "\n".join(part for part in parts if part),
    }


STAGE = Stage("notify", inputs, work)
