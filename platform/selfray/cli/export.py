"""An encoder for other libraries."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from .app import app

LOADS = {
    "transformers": 'AutoModel.from_pretrained("{out}")',
    "pt2": 'torch.export.load("{out}/encoder.pt2").module()',
}


@app.command("export")
def export_(
    model: Annotated[str, typer.Argument(help="An encoder's folder or registry URI.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    form: Annotated[
        Literal["transformers", "pt2"],
        typer.Option("--format", help="transformers: for from_pretrained; pt2: a program of torch.export."),
    ] = "transformers",
) -> None:
    """Write an encoder in the form that another library loads."""
    from ..formats import export

    folder = export(model, out, form)
    console = Console()
    console.print(f"wrote {folder}; the same features came back", highlight=False)
    console.print(f"load it with {LOADS[form].format(out=folder)}", highlight=False)
