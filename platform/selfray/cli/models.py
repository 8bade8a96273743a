"""What is done with a trained encoder: evaluate, embed, report."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .app import app
from .options import Json


@app.command("evaluate")
def evaluate_(
    model: Annotated[str, typer.Argument(help="An encoder's folder or registry URI.")],
    corpus: Annotated[Path, typer.Argument(help="A prepared corpus with labels and a test split.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="key=value of the stage evaluate, such as probes.knn.neighbours=10.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where results go; ./evaluation if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Probes and label-free scores of an encoder, beside the same encoder untrained and raw samples."""
    from ..summary import table
    from ..verbs import evaluate

    results = evaluate(model, corpus, *(settings or []), out=out)
    if as_json:
        print(json.dumps(results, indent=1))
        return
    console = Console()
    if results["probes"]:
        console.print(table(results["probes"]))
    for row in results["label_shares"]:
        values = f"{row['pretrained']:.1%}, untrained {row['untrained']:.1%}, {row['raw_name']} {row['raw']:.1%}"
        console.print(f"{row['probe']} with {100 * row['share']:.3g} % of the labels: {values}", highlight=False)
    for row in results["scores"]:
        console.print(
            f"{row['score']:<12} {row['pretrained']:8.3f}   untrained {row['untrained']:8.3f}   {row['meaning']}",
            highlight=False,
        )
    console.print(results["verdict"], highlight=False)


@app.command("embed")
def embed_(
    model: Annotated[str, typer.Argument(help="An encoder's folder or registry URI.")],
    corpus: Annotated[Path, typer.Argument(help="A prepared corpus.")],
    out: Annotated[Path, typer.Argument(help="Folder for the Parquet files.")],
    gpu: Annotated[bool, typer.Option(help="Use the cluster's GPUs.")] = False,
    index: Annotated[
        bool, typer.Option("--index", help="Make an index too, for `selfray neighbors`; needs selfray[index].")
    ] = False,
    as_json: Json = False,
) -> None:
    """Embeddings of a whole corpus as Parquet, through Ray Data."""
    from ..embedding import embed

    console = Console(quiet=as_json)
    with console.status("starting Ray ...") as status:
        rows = embed(model, corpus, out, gpu, lambda done, total: status.update(f"{done} of {total} shards"), index)
    if as_json:
        print(json.dumps({"rows": rows, "out": str(out)}))
    console.print(f"{rows:,} embeddings{' and an index' if index else ''} in {out}", highlight=False)


@app.command("report")
def report_(run: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Build the HTML report of a run again."""
    from ..report.build import build

    Console().print(f"wrote {build(run)}", highlight=False)
