"""Runs of dates that have passed, in order, so that each begins with what the one before has learned."""

from typing import Any

from .. import recipe
from ..errors import Refused, UserError
from ..stages.notes import DONE, REFUSED, read_status
from ..stages.pipeline import folder
from .cron import Cron

OVER = (DONE, REFUSED)


def dates(file: str, overrides: list[str], between: tuple[str, str]) -> list[dict[str, Any]]:
    """Every date of the schedule between two, and how it stands."""
    asked = recipe.load(file, overrides)
    if asked.schedule is None:
        raise UserError(f"{file} has no schedule, so there are no dates; add schedule: {{cron: '30 2 * * *'}}")
    found = Cron(asked.schedule.cron, asked.schedule.timezone).dates(*between)
    return [
        {"date": date, "status": read_status(folder(asked.name, None, date)).get("status", "waiting")} for date in found
    ]


def backfill(
    file: str, overrides: list[str], between: tuple[str, str], options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Run the dates that are not over yet; a refused one does not stop those after it, a failed one does."""
    from ..verbs import run

    rows = dates(file, overrides, between)
    for row in rows:
        if row["status"] in OVER and not options.get("fresh"):
            row["status"] += " before"
            continue
        try:
            run(file, *overrides, date=row["date"], **options)
            row["status"] = DONE
        except Refused as error:
            row |= {"status": REFUSED, "exit": error.exit, "reason": str(error)}
        except UserError as error:
            row |= {"status": "failed", "exit": error.exit, "reason": str(error)}
            break
    return rows
