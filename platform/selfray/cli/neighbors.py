"""Search in a folder of embeddings."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .app import app
from .options import Json


@app.command("neighbors")
def neighbors_(
    embeddings: Annotated[Path, typer.Argument(help="The folder that `selfray embed` wrote.")],
    query: Annotated[
        str, typer.Argument(help="A sample as id:42, a file of the corpus's data type, or for text a text in quotes.")
    ],
    count: Annotated[int, typer.Option(min=1, help="How many to show.")] = 10,
    model: Annotated[
        str | None, typer.Option(help="The encoder's folder or registry URI, if it is not where it was.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The samples of a corpus that are most like a query, by cosine similarity.

    By the index if there is one (selfray embed ... --index), else exactly, by reading all vectors in batches.
    """
    from ..neighbors.search import search

    found = search(embeddings, query, count, model)
    if as_json:
        print(json.dumps(found.plain(), indent=1))
        return
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("rank", "similarity", "id"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("label")
    table.add_column("source", overflow="fold")
    for one in found.neighbors:
        cells = (str(one.rank), f"{one.similarity:.4f}", str(one.id), one.label or "", one.source or "")
        table.add_row(*map(escape, cells))
    console = Console()
    console.print(table)
    how = f"exact, through all of them: {found.why}"
    if found.index is not None:
        how = f"index {found.index}, " + (
            "exact" if found.exact else f"which finds {found.recall:.1%} of the ten nearest"
        )
    console.print(f"of {found.rows:,} vectors; {how}", highlight=False, soft_wrap=True)
