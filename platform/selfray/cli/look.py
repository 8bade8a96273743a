"""What ships with selfray, and what a pipeline asks for; nothing is started."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ..errors import UserError
from .app import app
from .options import Json, Overrides, Pipeline


@app.command("check")
def check_(file: Pipeline, overrides: Overrides = None, as_json: Json = False) -> None:
    """Check a pipeline and say what it needs; nothing is started."""
    from ..verbs import check

    found = check(file, *(overrides or []))
    if as_json:
        print(json.dumps(found, indent=1))
        return
    from omegaconf import OmegaConf

    console = Console()
    console.print(OmegaConf.to_yaml(OmegaConf.create(found["recipe"])), highlight=False, end="")
    console.rule()
    if found["corpus"] is None:
        console.print(found["note"], highlight=False)
        return
    parameters, corpus = found["parameters"], found["corpus"]
    memory, activations = found["memory_bytes_per_worker"] / 2**20, found["activation_bytes"] / 2**20
    for name, value in (
        ("corpus", f"{corpus['name']}: {corpus['rows']:,} samples of {' x '.join(map(str, corpus['shape']))}"),
        ("steps", f"{found['steps']:,} ({found['steps_per_epoch']:,} an epoch)"),
        (
            "parameters",
            f"encoder {parameters['encoder']:,}, trained {parameters['trained']:,}, all {parameters['all']:,}",
        ),
        ("memory", f"about {memory:,.0f} MiB a worker, {activations:,.0f} MiB of it activations"),
        ("arithmetic", f"{found['forward_flops_per_sample'] / 1e6:,.1f} MFLOP a sample and forward pass, all views"),
        ("computes in", f"{found['precision']}, {'compiled' if found['compile'] else 'eager'}"),
    ):
        console.print(f"{name:<12} {value}", highlight=False)
    for sentence in found["advice"]:
        console.print(f"[yellow]warning:[/] {sentence}", highlight=False)
    console.print("[green]ok[/]")


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(help="pipelines, spaces, objectives, encoders, probes, optimizers or corpora.")
    ] = "",
    as_json: Json = False,
) -> None:
    """What ships with selfray."""
    found = _catalogues(what)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    console = Console()
    for kind, entries in found.items():
        table = Table(title=kind, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2))
        for name, text in entries.items():
            table.add_row(f"[cyan]{name}[/]", text)
        console.print(table)


def _catalogues(what: str) -> dict[str, dict[str, str]]:
    from .. import discovery
    from ..recipe import shipped

    def modules(package: str, *without: str) -> dict[str, str]:
        folder = Path(__file__).parents[1] / package
        names = sorted(p.stem for p in folder.glob("*.py") if p.stem not in ("__init__", *without))
        return {name: discovery.first_line(folder / f"{name}.py") for name in names}

    def pipelines() -> dict[str, str]:
        return {
            name: file.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ") for name, file in shipped().items()
        }

    def spaces() -> dict[str, str]:
        from ..search.space import shipped as found

        return {n: f.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ") for n, f in found().items()}

    def optimizers() -> dict[str, str]:
        from ..train import optimizers

        return {n: (optimizers.find(n).__doc__ or "").split("\n", 1)[0] for n in optimizers.names()}

    def fetchable() -> dict[str, str]:
        from ..corpus import catalogue

        return {name: catalogue.describe(name)["summary"] for name in catalogue.names()}

    kinds = {
        "pipelines": pipelines,
        "spaces": spaces,
        "objectives": lambda: modules("objectives", "objective"),
        "encoders": lambda: modules("encoders", "encoder"),
        "probes": lambda: modules("probes", "probe"),
        "optimizers": optimizers,
        "corpora": fetchable,
    }
    if what and what not in kinds:
        raise UserError(f"cannot list {what!r}{discovery.nearest(what, list(kinds))}; there are {', '.join(kinds)}")
    chosen = [what] if what else [k for k in kinds if k != "optimizers"]
    return {kind: kinds[kind]() for kind in chosen}


@app.command("show")
def show_(
    name: Annotated[str, typer.Argument(help="A pipeline, objective, encoder, probe, optimizer, data type, or views.")],
) -> None:
    """A pipeline file, or the settings of a method or data type with their types, defaults and meaning."""
    import inspect

    from .. import discovery, encoders, objectives, probes, signature
    from ..corpus import kinds as kinds_of_data
    from ..recipe import Pretrain, locate, shipped
    from ..train import optimizers
    from ..views.image import ImageViews

    console = Console()
    if name in shipped() or name.endswith(".yaml"):
        print(locate(name).read_text(encoding="utf-8"), end="")
        return
    if name == "pretrain":
        _settings(console, signature.fields(Pretrain))
        return
    kinds: list[tuple[list[str], Any]] = [
        (objectives.names(), objectives.find),
        (encoders.names(), encoders.find),
        (probes.names(), probes.find),
        (optimizers.names(), optimizers.find),
        (["views"], lambda _: ImageViews),
        (kinds_of_data.names(), kinds_of_data.find),
    ]
    for names, find in kinds:
        if name in names or ("." in name and find is objectives.find):
            found = find(name)
            text = (inspect.getdoc(found) or "").split("\nArgs:\n")[0].strip()
            module = (inspect.getdoc(inspect.getmodule(found)) or "").split("\n", 1)[0]
            module = "" if inspect.isfunction(found) else module
            console.print(f"[bold]{name}[/]  {module}\n\n{text}\n", highlight=False)
            _settings(console, signature.describe(found))
            return
    known = [*shipped(), *(n for names, _ in kinds for n in names), "pretrain"]
    raise UserError(f"nothing called {name!r}{discovery.nearest(name, known)}; see `selfray list`")


def _settings(console: Console, rows: list[tuple[str, str, str, str]]) -> None:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("setting", "type", "default", "meaning"):
        table.add_column(column)
    for setting, kind, default, meaning in rows:
        table.add_row(f"[cyan]{setting}[/]", kind.replace("[", r"\["), default, meaning)
    console.print(table)


@app.command("new")
def new_(
    name: Annotated[str, typer.Argument(help="Name of the new pipeline; NAME.yaml is written.")],
    like: Annotated[str, typer.Option("--from", help="The pipeline to start from.")] = "quickstart",
) -> None:
    """Copy a pipeline to edit."""
    from ..recipe import locate

    target = Path(name if name.endswith(".yaml") else f"{name}.yaml")
    if target.exists():
        raise UserError(f"{target} exists already; choose another name or remove it")
    text = locate(like).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("name:")]
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join([*lines[:first], f"name: {target.stem}", *lines[first:]]) + "\n", encoding="utf-8")
    Console().print(f"wrote {target}; edit it, then: selfray check {target}", highlight=False)
