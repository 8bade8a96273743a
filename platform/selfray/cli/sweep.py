"""Search settings of a pipeline."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .app import app
from .options import Json, Pipeline


@app.command("sweep")
def sweep_(
    file: Pipeline,
    space: Annotated[str, typer.Option(help="A file, or a shipped space: temperature, queue_size, optimizer ...")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change; sweep.KEY=VALUE changes the space."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The sweep's folder; runs/<pipeline>-<space> if left out.")] = None,
    repeat: Annotated[int, typer.Option(min=0, help="Train the best again with so many other seeds.")] = 0,
    max_concurrent: Annotated[int | None, typer.Option(min=1, help="Trials at once; one a core or GPU share.")] = None,
    time_budget: Annotated[float | None, typer.Option(min=0.01, help="Minutes of the search.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the trials; start nothing.")] = False,
    fresh: Annotated[bool, typer.Option(help="Start anew: remove what an earlier sweep left in the folder.")] = False,
    quiet: Annotated[bool, typer.Option(help="Say only what went wrong.")] = False,
    as_json: Json = False,
) -> None:
    """Search settings of a pipeline with Ray Tune and explain what was found. The same command resumes."""
    from ..verbs import planned

    console = Console(stderr=as_json)
    options: dict[str, Any] = {"out": out, "fresh": fresh, "repeat": repeat, "quiet": quiet or as_json}
    options |= {"max_concurrent": max_concurrent, "time_budget": time_budget, "console": console}
    asked = planned(file, space, *(overrides or []), **options)
    if dry_run:
        if as_json:
            print(json.dumps(asked.drawn(), indent=1))
            return
        from ..search.finish import preview

        preview(asked, console)
        return
    try:
        made = asked.run()
    except KeyboardInterrupt as interrupt:
        console.print(f"{str(interrupt) or 'interrupted'}; run the same command to resume", highlight=False)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(made, indent=1))
