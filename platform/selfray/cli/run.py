"""Run a pipeline: now, for a date, or for all dates of a time."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ..errors import UserError
from .app import app
from .options import Json, Out, Overrides, Pipeline

EXITS = """Exit status: 0 done; 1 a defect of the program; 2 something to mend, such as a setting; 3 refused by a gate;
75 something was away, try again later; 124 a stage took longer than its limit; 130 interrupted."""


@app.command("run", epilog=EXITS)
def run_(
    file: Pipeline,
    overrides: Overrides = None,
    out: Out = None,
    first: Annotated[str | None, typer.Option("--from", help="Begin with this stage, done before or not.")] = None,
    last: Annotated[str | None, typer.Option("--until", help="End with this stage.")] = None,
    date: Annotated[str | None, typer.Option(help="The logical date of the run: 2026-01-31.")] = None,
    backfill: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="FROM TO", help="Run every date of the schedule from one to another."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and why; start nothing.")] = False,
    fresh: Annotated[bool, typer.Option(help="Start anew: remove what an earlier run left in the folder.")] = False,
    force: Annotated[bool, typer.Option(help="Go on though the settings of the run were others.")] = False,
    quiet: Annotated[bool, typer.Option(help="Say only what went wrong.")] = False,
    as_json: Json = False,
) -> None:
    """Run a pipeline: corpus, pretrain, evaluate, gate, register, embed, notify. The same command resumes."""
    console = Console(stderr=as_json)
    options: dict[str, Any] = {"fresh": fresh, "force": force, "first": first, "last": last}
    if backfill:
        if out or date:
            raise UserError("--backfill gives every date a folder of its own; leave out --out and --date")
        _backfill(file, overrides or [], backfill, options, dry_run, quiet, as_json, console)
        return
    if dry_run:
        _planned(file, overrides or [], {**options, "out": out, "date": date}, as_json)
        return
    from ..verbs import run

    options |= {"out": out, "date": date, "quiet": quiet or as_json, "console": console}
    try:
        made = run(file, *(overrides or []), **options)
    except KeyboardInterrupt as interrupt:
        console.print(f"{str(interrupt) or 'interrupted'}; run the same command to resume", highlight=False)
        raise typer.Exit(130) from None
    except UserError as error:
        if as_json:
            print(json.dumps(_failed(file, overrides or [], out, date, error), indent=1))
        raise
    if as_json:
        print(json.dumps(made, indent=1))


def _planned(file: str, overrides: list[str], options: dict[str, Any], as_json: bool) -> None:
    from ..recipe import load
    from ..stages import Pipeline, engine

    asked = Pipeline(load(file, overrides, options["date"]), options.pop("out"), **options)
    decisions = asked.plan()
    if as_json:
        print(json.dumps({"run": str(asked.out), "stages": engine.plain(decisions)}, indent=1))
        return
    console = Console()
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("stage", "", "why"):
        table.add_column(column)
    for decision in decisions:
        table.add_row(decision.stage, "[green]runs[/]" if decision.runs else "-", decision.why.replace("[", r"\["))
    console.print(table)
    console.print(f"in {asked.out}; nothing was started", highlight=False, soft_wrap=True)


def _failed(file: str, overrides: list[str], out: Any, date: str | None, error: UserError) -> dict[str, Any]:
    """What is printed for machines when a run fails: its status if it came so far, else only why."""
    from ..recipe import load
    from ..stages import notes
    from ..stages.pipeline import folder

    found: dict[str, Any] = {"status": "failed"}
    try:
        known = notes.read_status(folder(load(file, overrides, date).name, out, date))
    except UserError:
        known = {}
    if known.get("exit") == error.exit:
        found |= known
    return found | {"exit": error.exit, "reason": str(error)}


def _backfill(
    file: str,
    overrides: list[str],
    between: tuple[str, str],
    options: dict[str, Any],
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    console: Console,
) -> None:
    from ..schedule.backfill import backfill, dates

    if dry_run:
        found = dates(file, overrides, between)
    else:
        try:
            found = backfill(file, overrides, between, options | {"quiet": quiet or as_json, "console": console})
        except KeyboardInterrupt as interrupt:
            console.print(f"{str(interrupt) or 'interrupted'}; run the same command to resume", highlight=False)
            raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        for row in found:
            console.print(f"{row['date']}  {row['status']}  {row.get('reason', '')}".rstrip(), highlight=False)
    raise typer.Exit(next((row["exit"] for row in found if row.get("exit")), 0))
