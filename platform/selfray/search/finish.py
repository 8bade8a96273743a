"""The end of a sweep: the encoder that is kept, and what is said; and what is said before one begins."""

import json
import shutil
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from .. import paths
from ..progress import clock
from ..recipe import flat
from . import ledger
from .display import table
from .space import short
from .words import paragraph

if TYPE_CHECKING:
    from .sweep import Sweep

MODEL = "model.json"


def keep_best(sweep: "Sweep", found: dict[str, Any]) -> str | None:
    """Export the best trial's encoder, register it if the pipeline wants that, and drop all other checkpoints."""
    from ..registry import register
    from ..summary import export_encoder

    if not found["best"]:
        return None
    same = [t for t in sweep.book.of_kind("search") if t.settings == found["best"]["settings"]]
    sign = 1 if sweep.mode == "max" else -1
    top = max((t for t in same if t.score is not None), key=lambda t: sign * (t.score or 0.0))
    folder = sweep.book.of(top.id)
    if (folder / "checkpoints").is_dir():
        export_encoder(folder, sweep.plan.of(top.settings, top.seed), sweep.manifest, top.steps, None)
        shutil.rmtree(sweep.out / "encoder", ignore_errors=True)
        shutil.copytree(folder / "encoder", sweep.out / "encoder")
        shutil.rmtree(folder / "encoder")
    for trial in sweep.book.trials.values():
        if trial.id != top.id:
            shutil.rmtree(sweep.book.of(trial.id) / "checkpoints", ignore_errors=True)
    settings = sweep.recipe.registry
    if settings is None or not (folder / "mlflow.json").is_file():
        return None
    note = sweep.out / MODEL
    known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    if known.get("trial") != top.id:  # else the same command was given again
        uri = register(folder, sweep.out / "encoder", settings.model or sweep.recipe.name, settings.alias, None)
        known = {"trial": top.id, "uri": uri}
        ledger.whole(note, json.dumps(known))
    return str(known["uri"])


def show(sweep: "Sweep", made: dict[str, Any], found: dict[str, Any]) -> None:
    """The end of a sweep on the terminal: all trials, the words, where everything is, what to do next."""
    trials = list(sweep.book.trials.values())
    sweep.console.print(table(trials, sweep.metric, sweep.mode, len(trials), made["seconds"]))
    sweep.console.print(paragraph(found, sweep.space, flat(sweep.recipe.plain())), highlight=False)
    sweep.console.print(f"done in {clock(made['seconds'])}", highlight=False)
    best = paths.near(made["best"]) if made["best"] else "-"
    for label, value in (
        ("page", paths.near(made["report"])),
        ("best", best),
        ("model", made["model"]),
        ("tracking", f"mlflow ui --backend-store-uri {made['tracking_uri']}"),
        ("next", f"selfray run {best}"),
    ):
        if value:
            sweep.console.print(f"  {label:<9} {value}", highlight=False, soft_wrap=True)


def preview(sweep: "Sweep", console: Console) -> None:
    """Print the trials that would be run; nothing is started or fetched."""
    drawn = sweep.drawn()
    shown = Table(box=None, padding=(0, 2), header_style="bold")
    keys = [short(key) for key in sweep.space.order()]
    for column in ("trial", *keys, "seed"):
        shown.add_column(column)
    for number, one in enumerate(drawn, start=1):
        values = [str(one["settings"].get(key, "-")) for key in sweep.space.order()]
        shown.add_row(str(number), *values, str(one["seed"]))
    console.print(shown)
    judged = ", ".join(f"{share:.0%}" for _, share in sweep.space.judged())
    said = " such as optuna may make; it chooses as it goes" if sweep.space.search == "optuna" else ""
    console.print(f"{len(drawn)} trials{said}; judged at {judged} of their steps by {sweep.space.scheduler}")
