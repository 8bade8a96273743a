"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")]
Out = Annotated[Path | None, typer.Option(help="The run's folder; runs/<name> if left out.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Pipeline = Annotated[str, typer.Argument(metavar="FILE", help="A pipeline file or the name of a shipped one.")]
