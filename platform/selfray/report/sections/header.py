"""Name, status, verdict and key numbers: what a reader with ten seconds takes away."""

from typing import Any

from ..numbers import MISSING, compact, count, duration, measure, number
from ..reading import Run, part, rows, without_passwords

GOOD = {"finished", "succeeded", "completed", "done"}
BAD = {"failed", "error", "stopped", "killed", "interrupted", "diverged"}


def content(run: Run) -> dict[str, Any]:
    """What the top of the page shows."""
    summary = run.summary
    status = str(summary.get("status") or "unknown")
    kind = "good" if status.lower() in GOOD else "bad" if status.lower() in BAD else "neutral"
    listed = summary.get("warnings")
    return {
        "name": str(summary.get("name") or run.folder.name),
        "status": status,
        "status_kind": kind,
        "status_sign": {"good": "✓", "bad": "✕", "neutral": "•"}[kind],
        "subtitle": _subtitle(summary),
        "verdict": str(run.results.get("verdict") or ""),
        "tiles": _tiles(run),
        "facts": [(name, value) for name, value in _facts(summary) if value not in ("", MISSING, "None")],
        "warnings": [str(warning) for warning in listed] if isinstance(listed, list) else [],
        "problems": run.problems,
        "started": bool(summary),
    }


def best_probe(results: dict[str, Any]) -> dict[str, Any] | None:
    """The highest pretrained result among the probes that share the first one's metric."""
    measured = [probe for probe in rows(results, "probes") if number(probe.get("pretrained")) is not None]
    alike = [probe for probe in measured if probe.get("metric") == measured[0].get("metric")]
    sign = -1 if alike and alike[0].get("higher_is_better") is False else 1
    return max(alike, key=lambda probe: sign * probe["pretrained"], default=None)


def _subtitle(summary: dict[str, Any]) -> str:
    corpus = part(summary, "corpus")
    made = " on ".join(str(summary[key]) for key in ("objective", "encoder") if summary.get(key))
    shape = corpus.get("shape")
    size = " × ".join(map(str, shape)) if isinstance(shape, list) else ""
    facts = [f"{count(corpus.get('rows'))} samples" if number(corpus.get("rows")) is not None else "", size]
    inside = ", ".join(fact for fact in facts if fact)
    about = f"{corpus.get('name') or ''}{f' ({inside})' if inside else ''}".strip()
    return ", pretrained on ".join(text for text in (made, about) if text)


def _tiles(run: Run) -> list[dict[str, str]]:
    """Label, value and a line of context each; a tile without a value is left out."""
    summary, tiles = run.summary, []
    probe = best_probe(run.results)
    if probe:
        metric = str(probe.get("metric", ""))
        baselines = (("untrained", probe.get("untrained")), (str(probe.get("raw_name") or "raw"), probe.get("raw")))
        beside = [f"{who} {measure(value, metric)}" for who, value in baselines if number(value) is not None]
        label = f"{probe.get('probe', '')} {metric}, pretrained"
        tiles.append({"label": label, "value": measure(probe["pretrained"], metric), "note": " · ".join(beside)})
    total = summary.get("total_steps")
    of = [] if number(total) is None or total == summary.get("steps") else [f"of {count(total)}"]
    seen = [
        f"{compact(summary[unit])} {unit}" for unit in ("epochs", "samples") if number(summary.get(unit)) is not None
    ]
    tiles.append({"label": "Steps", "value": count(summary.get("steps")), "note": " · ".join(of + seen)})
    waits = [value for _, value in run.metrics.get("speed/data_wait_share", []) if value is not None]
    wait = f"{sum(waits) / len(waits):.0%} of it waiting for data" if waits else ""
    speed = compact(summary.get("samples_per_second"))
    tiles.append({"label": "Samples per second", "value": speed, "note": str(summary.get("device") or "")})
    tiles.append({"label": "Time", "value": duration(summary.get("seconds")), "note": wait})
    parameters = part(summary, "parameters")
    whole = compact(parameters.get("objective"))
    note = "" if whole == MISSING else f"{whole} with the objective"
    tiles.append({"label": "Encoder parameters", "value": compact(parameters.get("encoder")), "note": note})
    return [tile for tile in tiles if not tile["value"].startswith(MISSING)]


def _facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    tracking = part(summary, "mlflow")
    compiled = summary.get("compile")
    return [
        ("Seed", str(summary.get("seed", ""))),
        ("Device", str(summary.get("device", ""))),
        ("Precision", str(summary.get("precision", ""))),
        ("Compiled", {True: "yes", False: "no"}.get(compiled, "") if isinstance(compiled, bool) else ""),
        ("Workers", str(summary.get("workers", ""))),
        ("Threads", str(summary.get("threads", ""))),
        ("MLflow experiment", str(tracking.get("experiment", ""))),
        ("MLflow run", str(tracking.get("run_id", ""))),
        ("MLflow store", without_passwords(str(tracking.get("tracking_uri", "")))),
    ]
