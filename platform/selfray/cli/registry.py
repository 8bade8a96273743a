"""The model registry."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from .app import registered
from .options import Json

if TYPE_CHECKING:
    from ..registry import Registry

Model = Annotated[str, typer.Argument(help="Name of the model; the pipeline's, unless register.model names another.")]
Alias = Annotated[str, typer.Option(help="The alias that says what is in use.")]


@registered.command("list")
def list_(model: Annotated[str, typer.Argument(help="Only this model.")] = "", as_json: Json = False) -> None:
    """Models and their versions, the newest first."""
    registry = _registry()
    found = [version for name in ([model] if model else registry.models()) for version in registry.versions(name)]
    if as_json:
        print(json.dumps([asdict(version) | {"uri": version.uri} for version in found], indent=1))
        return
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("model", "aliases", "created", "date", "measured"):
        table.add_column(column)
    for version in found:
        metrics = version.measured().get("metrics", {})
        probes = " ".join(f"{name} {value:.3f}" for name, value in metrics.items() if "/" not in name)
        dated = version.tags.get("selfray.date", "")
        table.add_row(version.uri, " ".join(version.aliases), version.created, dated, probes)
    Console().print(table if found else "no model is registered yet")


@registered.command("show")
def show_(
    model: Model,
    which: Annotated[str, typer.Argument(metavar="VERSION", help="Its number or an alias.")] = "champion",
    as_json: Json = False,
) -> None:
    """A version: what it was made from, what was measured, and who was champion before it."""
    version = _registry().version(model, which)
    if as_json:
        print(json.dumps(asdict(version) | {"uri": version.uri}, indent=1))
        return
    console = Console()
    facts = {"uri": version.uri, "aliases": ", ".join(version.aliases), "created": version.created}
    for name, value in (facts | {"MLflow run": version.run_id} | version.tags).items():
        console.print(f"[bold]{name.removeprefix('selfray.'):<14}[/] {value}", highlight=False, soft_wrap=True)


@registered.command("promote")
def promote_(
    model: Model,
    which: Annotated[str, typer.Argument(metavar="VERSION", help="Its number or an alias.")] = "candidate",
    alias: Alias = "champion",
) -> None:
    """Give a version the champion's alias."""
    version = _registry().promote(model, which, alias)
    former = version.tags.get("selfray.former")
    said = f"; before it was version {former}" if former else ""
    Console().print(f"{version.uri} is {alias}{said}", highlight=False)


@registered.command("rollback")
def rollback_(model: Model, alias: Alias = "champion") -> None:
    """Give the champion's alias back to the version that had it before."""
    present, lost = _registry().rollback(model, alias)
    Console().print(f"{present.uri} is {alias} again, in place of version {lost.version}", highlight=False)


def _registry() -> "Registry":
    """The registry that runs in this folder use; MLFLOW_TRACKING_URI names another."""
    from .. import paths
    from ..registry import Registry
    from ..tracking import store

    return Registry(store(paths.runs()))
