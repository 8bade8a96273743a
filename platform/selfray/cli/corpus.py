"""Prepare, fetch and look at corpora."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from ..errors import UserError
from .app import corpora
from .options import Json


@corpora.command("fetch")
def fetch_(
    name: Annotated[str, typer.Argument(help="A corpus of `selfray list corpora`.")],
    destination: Annotated[Path | None, typer.Argument(metavar="[DST]", help="corpora/NAME if left out.")] = None,
) -> None:
    """Bring a known open corpus and prepare it."""
    from ..corpus import catalogue
    from ..paths import near

    console = Console()
    about = catalogue.describe(name)
    with console.status(f"fetching {name} ..."):
        folder = catalogue.fetch(name, destination)
    console.print(f"{near(folder)}: {about['summary']}\nlicence: {about['licence']}", highlight=False)
    console.print(f"next: selfray corpus inspect {near(folder)}", highlight=False)


@corpora.command("prepare")
def prepare_(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Raw data: a folder or a file, or s3://bucket/raw.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="Folder or s3:// prefix of the prepared corpus.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Of the data type and its reader: size=96."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="The data type, where SRC could be read as several.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the corpus; the folder's if left out.")] = None,
    holdout: Annotated[float, typer.Option(help="Share kept apart for evaluation.")] = 0.0,
    max_bad_rate: Annotated[float, typer.Option(help="Fail above this share of bad samples.")] = 0.01,
    duplicates: Annotated[
        Literal["ignore", "report", "drop", "drop_near"], typer.Option(help="What to do about copies.")
    ] = "report",
    as_json: Json = False,
) -> None:
    """Check raw data and write it as shards with a manifest; bad samples go to a quarantine with the reason."""
    from ..corpus.ingest import prepare

    options = _options(settings)
    console = Console(quiet=as_json)
    with console.status("starting Ray ...") as status:
        manifest = prepare(
            source,
            destination,
            kind=kind,
            name=name,
            holdout=holdout,
            max_bad_rate=max_bad_rate,
            duplicates=duplicates,
            progress=lambda done, total: status.update(f"{done:,} of {total:,} samples"),
            **options,
        )
    _report(console, manifest, destination, as_json)


@corpora.command("index")
def index_(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Parquet files: a folder, a file, or s3://bucket/lake.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="Folder or s3:// prefix for what is known of it.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Of the data type and columns: size=96 label_column=species."),
    ] = None,
    kind: Annotated[str, typer.Option(help="The data type: image, audio or series.")] = "image",
    name: Annotated[str | None, typer.Option(help="Name of the corpus; the folder's if left out.")] = None,
    holdout: Annotated[float, typer.Option(help="Share kept apart for evaluation.")] = 0.0,
    max_bad_rate: Annotated[float, typer.Option(help="Fail above this share of bad samples.")] = 0.01,
    as_json: Json = False,
) -> None:
    """Check a Parquet lake where it is and write a manifest; nothing is copied, and training reads the lake."""
    from ..corpus.indexing import index

    options = _options(settings)
    console = Console(quiet=as_json)
    with console.status("starting Ray ...") as status:
        manifest = index(
            source,
            destination,
            kind=kind,
            name=name,
            holdout=holdout,
            max_bad_rate=max_bad_rate,
            progress=lambda done, total: status.update(f"{done:,} of {total:,} samples"),
            **options,
        )
    _report(console, manifest, destination, as_json)


@corpora.command("copy")
def copy_(
    folder: Annotated[Path, typer.Argument(help="A prepared corpus.")],
    destination: Annotated[
        str, typer.Argument(metavar="DST", help="A folder, s3://bucket/prefix or gs://bucket/prefix.")
    ],
) -> None:
    """Copy a prepared corpus to where a cluster can read it; an interrupted copy is continued by the same command."""
    from ..corpus.copy import copy

    console = Console()
    with console.status("copying ...") as status:
        sent = copy(folder, destination, lambda done, total: status.update(f"{done:,} of {total:,} bytes"))
    console.print(f"{destination}: {sent / 2**20:,.1f} MiB sent", highlight=False)


@corpora.command("inspect")
def inspect_(
    folder: Annotated[Path, typer.Argument(help="A prepared corpus.")],
    picture: Annotated[Path | None, typer.Option(help="Where to draw; inspect.png in the corpus if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Print and draw what is in a corpus."""
    from ..corpus.inspect import describe, draw

    found = describe(folder)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    console = Console()
    for key, value in found.items():
        console.print(f"[bold]{key:<14}[/] {_said(value)}", highlight=False)
    console.print(f"[bold]{'picture':<14}[/] {draw(folder, picture or folder / 'inspect.png')}", highlight=False)


def _options(settings: list[str] | None) -> Any:
    """KEY=VALUE arguments as plain values."""
    from omegaconf import OmegaConf

    wrong = [text for text in settings or [] if "=" not in text]
    if wrong:
        raise UserError(f"{wrong[0]!r} is not of the form key=value, such as size=96")
    return OmegaConf.to_container(OmegaConf.from_dotlist(settings or []))


def _report(console: Console, manifest: Any, destination: str, as_json: bool) -> None:
    """Say what a new corpus holds."""
    if as_json:
        print(manifest.to_json())
        return
    rows = ", ".join(f"{manifest.rows(split):,} {split}" for split in sorted(manifest.splits, reverse=True))
    console.print(f"{destination}: {rows}; shape {' x '.join(map(str, manifest.shape))}", highlight=False)
    for reason, count in sorted(manifest.quarantined.items()):
        console.print(f"[yellow]quarantined[/] {count} {reason} -> {destination}/quarantine", highlight=False)
    console.print(f"quality: {destination}/quality.html", highlight=False)
    console.print(f"next: selfray corpus inspect {destination}", highlight=False)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_said(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_said(v) for v in value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
