"""The program and its groups of commands; what goes wrong is said in a sentence."""

import errno
import sys

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import UserError

app = typer.Typer(
    help="Self-supervised pretraining on unlabeled data, from a laptop to a Ray cluster.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
corpora = typer.Typer(help="Prepare, fetch and look at corpora.", no_args_is_help=True)
schedules = typer.Typer(help="Run pipelines by themselves, or write what production uses for it.", no_args_is_help=True)
registered = typer.Typer(help="The model registry: look, promote, go back.", no_args_is_help=True)
app.add_typer(corpora, name="corpus")
app.add_typer(schedules, name="schedule")
app.add_typer(registered, name="model")


def main() -> None:
    """Run a command; what a user can mend is said in a sentence, and the status says of which kind it is."""
    errors = Console(stderr=True)
    try:
        app()
    except UserError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = f" at {error.filename}" if error.filename else ""
        errors.print(
            f"[red]error:[/] the disk is full{escape(place)}; free some space and run the same command again to resume",
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(2)
