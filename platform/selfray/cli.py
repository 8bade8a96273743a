"""The command line: thin, and quick to answer because heavy libraries are imported only where they are used."""

import errno
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .errors import UserError

app = typer.Typer(
    help="Self-supervised pretraining on unlabeled data, from a laptop to a Ray cluster.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
corpora = typer.Typer(help="Prepare, fetch and look at corpora.", no_args_is_help=True)
app.add_typer(corpora, name="corpus")

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")]
Out = Annotated[Path | None, typer.Option(help="The run's folder; runs/<name> if left out.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Pipeline = Annotated[str, typer.Argument(metavar="FILE", help="A pipeline file or the name of a shipped one.")]


@app.command("run")
def run_(
    file: Pipeline,
    overrides: Overrides = None,
    out: Out = None,
    fresh: Annotated[bool, typer.Option(help="Start anew: remove what an earlier run left in the folder.")] = False,
    force: Annotated[bool, typer.Option(help="Go on though the settings of the run were others.")] = False,
    quiet: Annotated[bool, typer.Option(help="Say only what went wrong.")] = False,
    as_json: Json = False,
) -> None:
    """Run a pipeline: corpus, pretrain, evaluate, register, embed. The same command resumes."""
    from .verbs import run

    console = Console(stderr=as_json)
    try:
        made = run(file, *(overrides or []), out=out, fresh=fresh, force=force, quiet=quiet or as_json, console=console)
    except KeyboardInterrupt as interrupt:
        console.print(f"{str(interrupt) or 'interrupted'}; run the same command to resume", highlight=False)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(made, indent=1))


@app.command("check")
def check_(file: Pipeline, overrides: Overrides = None, as_json: Json = False) -> None:
    """Check a pipeline and say what it needs; nothing is started."""
    from .verbs import check

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
    from .verbs import planned

    console = Console(stderr=as_json)
    options: dict[str, Any] = {"out": out, "fresh": fresh, "repeat": repeat, "quiet": quiet or as_json}
    options |= {"max_concurrent": max_concurrent, "time_budget": time_budget, "console": console}
    asked = planned(file, space, *(overrides or []), **options)
    if dry_run:
        if as_json:
            print(json.dumps(asked.drawn(), indent=1))
            return
        from .search.finish import preview

        preview(asked, console)
        return
    try:
        made = asked.run()
    except KeyboardInterrupt as interrupt:
        console.print(f"{str(interrupt) or 'interrupted'}; run the same command to resume", highlight=False)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(made, indent=1))


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
    from . import discovery
    from .recipe import shipped

    def modules(package: str, *without: str) -> dict[str, str]:
        folder = Path(__file__).parent / package
        names = sorted(p.stem for p in folder.glob("*.py") if p.stem not in ("__init__", *without))
        return {name: discovery.first_line(folder / f"{name}.py") for name in names}

    def pipelines() -> dict[str, str]:
        return {
            name: file.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ") for name, file in shipped().items()
        }

    def spaces() -> dict[str, str]:
        from .search.space import shipped as found

        return {n: f.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ") for n, f in found().items()}

    def optimizers() -> dict[str, str]:
        from .train import optimizers

        return {n: (optimizers.find(n).__doc__ or "").split("\n", 1)[0] for n in optimizers.names()}

    def fetchable() -> dict[str, str]:
        from .corpus import catalogue

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

    from . import discovery, encoders, objectives, probes, signature
    from .corpus import kinds as kinds_of_data
    from .recipe import Pretrain, locate, shipped
    from .train import optimizers
    from .views.image import ImageViews

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
    from .recipe import locate

    target = Path(name if name.endswith(".yaml") else f"{name}.yaml")
    if target.exists():
        raise UserError(f"{target} exists already; choose another name or remove it")
    text = locate(like).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("name:")]
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join([*lines[:first], f"name: {target.stem}", *lines[first:]]) + "\n", encoding="utf-8")
    Console().print(f"wrote {target}; edit it, then: selfray check {target}", highlight=False)


@app.command("evaluate")
def evaluate_(
    model: Annotated[str, typer.Argument(help="An encoder's folder or registry URI.")],
    corpus: Annotated[Path, typer.Argument(help="A prepared corpus with labels and a test split.")],
    out: Annotated[Path | None, typer.Option(help="Where results go; ./evaluation if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Probes and label-free scores of an encoder, beside the same encoder untrained and raw samples."""
    from .summary import table
    from .verbs import evaluate

    results = evaluate(model, corpus, out)
    if as_json:
        print(json.dumps(results, indent=1))
        return
    console = Console()
    if results["probes"]:
        console.print(table(results["probes"]))
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
    as_json: Json = False,
) -> None:
    """Embeddings of a whole corpus as Parquet, through Ray Data."""
    from .embedding import embed

    console = Console(quiet=as_json)
    with console.status("starting Ray ...") as status:
        rows = embed(model, corpus, out, gpu, lambda done, total: status.update(f"{done} of {total} shards"))
    if as_json:
        print(json.dumps({"rows": rows, "out": str(out)}))
    console.print(f"{rows:,} embeddings in {out}", highlight=False)


@app.command("report")
def report_(run: Annotated[Path, typer.Argument(help="The folder of a run.")]) -> None:
    """Build the HTML report of a run again."""
    from .report.build import build

    Console().print(f"wrote {build(run)}", highlight=False)


@corpora.command("fetch")
def fetch_(
    name: Annotated[str, typer.Argument(help="A corpus of `selfray list corpora`.")],
    destination: Annotated[Path | None, typer.Argument(metavar="[DST]", help="corpora/NAME if left out.")] = None,
) -> None:
    """Bring a known open corpus and prepare it."""
    from .corpus import catalogue
    from .paths import near

    console = Console()
    about = catalogue.describe(name)
    with console.status(f"fetching {name} ..."):
        folder = catalogue.fetch(name, destination)
    console.print(f"{near(folder)}: {about['summary']}\nlicence: {about['licence']}", highlight=False)
    console.print(f"next: selfray corpus inspect {near(folder)}", highlight=False)


@corpora.command("prepare")
def prepare_(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Raw data: a folder or a file.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="Folder of the prepared corpus.")],
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
    from omegaconf import OmegaConf

    from .corpus.ingest import prepare

    wrong = [text for text in settings or [] if "=" not in text]
    if wrong:
        raise UserError(f"{wrong[0]!r} is not of the form key=value, such as size=96")
    options: Any = OmegaConf.to_container(OmegaConf.from_dotlist(settings or []))
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
    if as_json:
        print(manifest.to_json())
        return
    rows = ", ".join(f"{manifest.rows(split):,} {split}" for split in sorted(manifest.splits, reverse=True))
    console.print(f"{destination}: {rows}; shape {' x '.join(map(str, manifest.shape))}", highlight=False)
    for reason, count in sorted(manifest.quarantined.items()):
        console.print(f"[yellow]quarantined[/] {count} {reason} -> {destination}/quarantine", highlight=False)
    console.print(f"quality: {destination}/quality.html", highlight=False)
    console.print(f"next: selfray corpus inspect {destination}", highlight=False)


@corpora.command("copy")
def copy_(
    folder: Annotated[Path, typer.Argument(help="A prepared corpus.")],
    destination: Annotated[
        str, typer.Argument(metavar="DST", help="A folder, s3://bucket/prefix or gs://bucket/prefix.")
    ],
) -> None:
    """Copy a prepared corpus to where a cluster can read it; an interrupted copy is continued by the same command."""
    from .corpus.copy import copy

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
    from .corpus.inspect import describe, draw

    found = describe(folder)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    console = Console()
    for key, value in found.items():
        console.print(f"[bold]{key:<14}[/] {_said(value)}", highlight=False)
    console.print(f"[bold]{'picture':<14}[/] {draw(folder, picture or folder / 'inspect.png')}", highlight=False)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_said(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_said(v) for v in value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run a command; what a user can mend is said in a sentence and ends with status 2."""
    errors = Console(stderr=True)
    try:
        app()
    except UserError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
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


if __name__ == "__main__":
    main()
