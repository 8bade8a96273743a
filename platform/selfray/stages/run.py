"""What the stages of one run share: the recipe, its folder, the corpus once it is there, and where to say things."""

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..corpus.place import Place
from ..recipe import flat
from ..settings import Recipe
from .notes import Notes

if TYPE_CHECKING:
    from ..corpus.manifest import Manifest
    from ..tracking import Tracker


class Run:
    """One recipe in one folder.

    Args:
        recipe: What to do.
        out: The run's folder.
        console: Where to say what happens.
        quiet: Say only what went wrong.
        force: Go on with a run whose settings were others.
        date: The logical date, if the run has one.
    """

    def __init__(
        self, recipe: Recipe, out: Path, console: Console, quiet: bool, force: bool = False, date: str | None = None
    ):
        self.recipe, self.out, self.console, self.quiet, self.force = recipe, out, console, quiet, force
        self.date = date
        self.notes = Notes(out)
        self.warnings: list[str] = []
        self.folder: Place = ""  # of the corpus, once that stage is done
        self.tracker: Tracker | None = None

    @cached_property
    def manifest(self) -> "Manifest":
        """Of the corpus, or of the mixture."""
        from ..corpus import stream

        return stream.manifest_of(self.recipe.corpus.mix or self.folder)

    @property
    def evaluated(self) -> Place:
        """The corpus on which the encoder is judged."""
        return (self.recipe.evaluate and self.recipe.evaluate.corpus) or self.folder

    @property
    def model(self) -> str:
        """Name in the registry."""
        return (self.recipe.registry and self.recipe.registry.model) or self.recipe.name

    @property
    def encoder(self) -> Path:
        """The exported encoder."""
        return self.out / "encoder"

    def settle(self, folder: Place) -> None:
        """Say where the corpus is."""
        self.folder = folder
        self.__dict__.pop("manifest", None)

    def results(self) -> dict[str, Any] | None:
        """What the evaluation found, if there was one."""
        file = self.out / "evaluation" / "results.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def track(self) -> "Tracker":
        """The MLflow run, begun or gone on with when it is first asked for."""
        if self.tracker is None:
            from ..corpus import quality
            from ..tracking import Tracker

            parameters = flat(self.recipe.plain())
            self.tracker = Tracker(self.out, self.recipe.name, parameters, self.manifest, str(self.folder))
            if self.date:
                self.tracker.tag({"selfray.date": self.date})
            if not self.recipe.corpus.mix:
                self.tracker.measure(quality.metrics(self.folder))
        return self.tracker

    def say(self, line: str, plain_only: bool = False) -> None:
        """Tell the person who watches; `plain_only` leaves a line out where a live one takes its place."""
        if not self.quiet and not (plain_only and not self.console.is_terminal):
            self.console.print(line, highlight=False, soft_wrap=True)

    def warn(self, sentence: str) -> None:
        """Tell what may go wrong, even if quiet."""
        self.warnings.append(sentence)
        self.console.print(f"  [yellow]warning:[/] {sentence}", highlight=False, soft_wrap=True)


def settings(stage: Any, prefix: str, without: Iterable[str] = ()) -> dict[str, Any]:
    """A stage's settings under dotted keys, as inputs of its fingerprint."""
    left_out = tuple(f"{prefix}.{key}" for key in without)
    found = flat(stage.model_dump(mode="json"), prefix)
    return {k: v for k, v in found.items() if not any(k == key or k.startswith(f"{key}.") for key in left_out)}
