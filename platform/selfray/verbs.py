"""What the commands do, as functions for Python programs."""

from pathlib import Path
from typing import Any

from rich.console import Console

from .recipe import Recipe, evaluation, load


def run(
    pipeline: str | Path | Recipe,
    *overrides: str,
    out: str | Path | None = None,
    fresh: bool = False,
    force: bool = False,
    first: str | None = None,
    last: str | None = None,
    date: str | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Run a pipeline file; finished stages are skipped and an interrupted one goes on.

    Args:
        pipeline: A file, the name of a shipped pipeline such as `image/simclr`, or a loaded recipe.
        overrides: `key=value`, as on the command line.
        out: The run's folder; `runs/<name>` if left out, `runs/<name>-<date>` with a date.
        fresh: Throw away what an earlier run left there.
        force: Go on with a run whose settings were others.
        first: The stage to begin with, done again even if it was done.
        last: The stage to end with.
        date: The logical date, which `${date:}` stands for: `2026-01-31`.
        quiet: Say only what went wrong.
        console: Where to say it.

    Returns:
        Paths of the run, its encoder and report, the tracking URI, the registered model, the probes' results.

    Raises:
        UserError: it failed for a reason that the user can act on; `errors.Refused` if a gate said no,
            `errors.Temporary` if the same may succeed later.
    """
    from .stages import Pipeline

    recipe = pipeline if isinstance(pipeline, Recipe) else load(pipeline, overrides, date)
    options: dict[str, Any] = {"fresh": fresh, "force": force, "first": first, "last": last, "date": date}
    return Pipeline(recipe, out, **options, quiet=quiet, console=console).run()


def check(pipeline: str | Path, *overrides: str) -> dict[str, Any]:
    """Check a pipeline file and work out what it asks for; nothing is started or fetched."""
    from .estimate import estimate

    recipe = load(pipeline, overrides)
    return {"recipe": recipe.plain(), **estimate(recipe)}


def evaluate(
    model: str | Path,
    corpus: str | Path,
    *settings: str,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Probes and label-free scores of an exported encoder on a labelled corpus, beside the same encoder untrained.

    Args:
        model: An encoder's folder, or its registry URI.
        corpus: A prepared corpus with labels and a test split.
        settings: `key=value` of the stage `evaluate`, such as `probes.knn.neighbours=10` or `labels=0.01`; all probes
            that are usual for the data type if none is named.
        out: Where to write `results.json` and `samples.npz`; `./evaluation` if left out.
    """
    from . import export
    from . import views as view_families
    from .evaluation.compare import compare

    asked = evaluation(settings)
    folder = export.fetched(model)
    config = export.read_config(folder)
    kind, size = config["kind"], config["size"]
    views = view_families.find(kind)(**({"size": size[0]} if kind == "image" and size[0] == size[1] else {}))
    views.use(config.get("facts", {}))
    return compare(
        export.load(folder),
        export.build(config),
        views,
        corpus,
        asked.probes or {name: {} for name in _fitting(kind, corpus)},
        Path(out or "evaluation"),
        asked.max_samples,
        asked.labels,
        label_shares=asked.label_shares,
    )


def _fitting(kind: str, corpus: str | Path) -> list[str]:
    """The probes that are usual for a data type, and those whose file the corpus has."""
    from .evaluation import beside
    from .probes import find, names

    asks = ["labels", *(["steps"] if kind == "series" else [])]
    asks += [asked for asked in beside.FILES if beside.there(asked, corpus)]
    usual = {name: find(name).usual_for for each in asks for name in names(each)}
    return [name for name, kinds in usual.items() if not kinds or kind in kinds]


def sweep(
    pipeline: str | Path | Recipe,
    space: str | Path,
    *overrides: str,
    out: str | Path | None = None,
    fresh: bool = False,
    repeat: int = 0,
    max_concurrent: int | None = None,
    time_budget: float | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Search a space of settings of a pipeline; an interrupted sweep goes on, finished trials stay finished.

    Args:
        pipeline: A file, the name of a shipped pipeline such as `image/simclr`, or a loaded recipe.
        space: A file, or the name of a shipped space such as `temperature`.
        overrides: `key=value`, of the pipeline, or with `sweep.` before it, of the space.
        out: The sweep's folder; `runs/<pipeline>-<space>` if left out.
        fresh: Throw away what an earlier sweep left there.
        repeat: Train the best settings again with so many other seeds.
        max_concurrent: Trials at once; one a core or GPU share if left out.
        time_budget: Minutes of the search.
        quiet: Say only what went wrong.
        console: Where to say it.

    Returns:
        Paths of the sweep, the best pipeline and the page, the best settings with their score, counts of trials.
    """
    return planned(
        pipeline,
        space,
        *overrides,
        out=out,
        fresh=fresh,
        repeat=repeat,
        max_concurrent=max_concurrent,
        time_budget=time_budget,
        quiet=quiet,
        console=console,
    ).run()


def planned(pipeline: str | Path | Recipe, space: str | Path, *overrides: str, **options: Any) -> Any:
    """A checked `Sweep` that has not begun; see `sweep`."""
    from .search import space as spaces
    from .search.sweep import Sweep

    own = [text.removeprefix("sweep.") for text in overrides if text.startswith("sweep.")]
    rest = [text for text in overrides if not text.startswith("sweep.")]
    recipe = pipeline if isinstance(pipeline, Recipe) else load(pipeline, rest)
    return Sweep(recipe, spaces.load(space, own), spaces.locate(space).stem, **options)
