"""A sweep in one folder: what is finished stays so, what was interrupted goes on, and the end explains it all."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from .. import paths
from ..corpus import place, stream
from ..errors import UserError
from ..paths import only_one
from ..recipe import HARMLESS, Recipe, flat
from . import draw, finish, ledger, metric, outcome, page
from .display import Display
from .space import Settings, Space, check, short
from .tuning import describe

EXTENSIBLE = ("trials", "seeds")
"""Of a space: a sweep may go on with more of them."""


class Sweep:
    """One space of one pipeline in one folder.

    Args:
        recipe: The pipeline.
        space: What is searched.
        name: Of the space.
        out: The sweep's folder; `runs/<pipeline>-<space>` if left out.
        fresh: Throw away what an earlier sweep left there.
        repeat: Train the best settings again with so many other seeds.
        max_concurrent: Trials at once; as many as there are CPUs, or GPU shares, if left out.
        time_budget: Minutes of the search.
        console: Where to say what happens.
        quiet: Say only what went wrong.

    Raises:
        RecipeError: the space does not fit the pipeline.
    """

    def __init__(
        self,
        recipe: Recipe,
        space: Space,
        name: str,
        out: str | Path | None = None,
        *,
        fresh: bool = False,
        repeat: int = 0,
        max_concurrent: int | None = None,
        time_budget: float | None = None,
        console: Console | None = None,
        quiet: bool = False,
    ):
        length = {key: getattr(space, key) for key in ("steps", "epochs") if getattr(space, key)}
        if length:
            update = {"steps": None, "epochs": None, **length}
            recipe = recipe.model_copy(update={"pretrain": recipe.pretrain.model_copy(update=update)})
        check(space, recipe)
        self.recipe, self.space, self.name = recipe, space, name
        self.out = Path(out or paths.runs() / f"{recipe.name}-{name}").resolve()
        self.fresh, self.repeat = fresh, repeat
        self.max_concurrent, self.time_budget = max_concurrent, time_budget
        self.console, self.quiet = console or Console(stderr=True), quiet

    def drawn(self) -> list[dict[str, Any]]:
        """Settings and seed of each trial; of a search by optuna, draws such as it may make."""
        listed = draw.grid if self.space.search == "grid" else None
        settings = listed(self.space, self.recipe) if listed else self._random()
        seeds = [self.recipe.seed + n for n in range(self.space.seeds)]
        return [{"settings": one, "seed": seed} for one in settings for seed in seeds]

    def _random(self) -> list[Settings]:
        return draw.random_settings(self.space, self.recipe, self.space.trials)

    def run(self) -> dict[str, Any]:
        """Run what is left to do; returns where everything is.

        Raises:
            UserError: no trial can be run, for a reason that the user can act on.
            KeyboardInterrupt: it was interrupted; the same call goes on.
        """
        begun = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        with only_one(self.out):
            if self.fresh:
                _clear(self.out)
            self._prepare()
            from .track import SweepTracker

            parameters = flat(self.recipe.plain()) | flat(self.space.model_dump(exclude={"knobs"}), "sweep")
            self.tracker = SweepTracker(self.out, self.recipe.name, parameters)
            status = "FAILED"
            try:
                over = self._search()
                if over and self.repeat:
                    over = self._repeat()
                status = "FINISHED" if over else "KILLED"
            except KeyboardInterrupt:
                status = "KILLED"
                raise
            finally:
                made = self._close(status, time.monotonic() - begun)
        if all(trial.status == ledger.FAILED for trial in self.book.trials.values()):
            first = next(iter(self.book.trials.values())).reason
            raise UserError(f"every trial failed, the first one because: {first}")
        return made

    def _prepare(self) -> None:
        from ..stages import Pipeline
        from .trial import Plan

        folder = Pipeline(self.recipe, self.out, console=self.console, quiet=True).corpus()
        mix = self.recipe.corpus.mix
        self.corpus: Any = dict(mix) if mix else place.absolute(folder)
        self.manifest = stream.manifest_of(self.corpus)
        judged = place.absolute(folder)
        self.metric, self.mode = metric.choose(self.space.metric, self.space.mode, judged, self.space.samples)
        self._same()
        self.book = ledger.Ledger(self.out)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.concurrent = min(self.max_concurrent or self._room(cores), self._count())
        self.plan = Plan(
            self.recipe,
            self.corpus,
            str(self.out),
            self.metric,
            tuple(self.space.judged()),
            self.space.samples,
            self.recipe.pretrain.threads or max(1, cores // self.concurrent),
            self.space.scheduler == "pbt",
        )
        if self.recipe.pretrain.workers > 1:
            self._say(
                f"  a trial is one process here: workers={self.recipe.pretrain.workers} counts for best.yaml only"
            )
        self._say(
            f"[bold]{self.out.name}[/] -> {paths.near(self.out)}\n"
            f"  {self._count()} trials, {self.concurrent} at once with {self.plan.threads} torch threads each, "
            f"{self.space.search} search, scheduler {self.space.scheduler}, judged by {metric.settle(self.metric)}"
        )

    def _room(self, cores: int) -> int:
        """Trials at once if nobody says: one a GPU share, else one a core, for small networks share cores badly."""
        if not self.recipe.pretrain.gpu:
            return cores
        import ray

        from .tuning import prepare_ray, room

        prepare_ray()
        gpus = ray.cluster_resources().get("GPU", 0)
        if not gpus:
            raise UserError("gpu is true, but the cluster has no GPU; set gpu=false")
        return room(gpus, self.space.gpu_share)

    def _count(self) -> int:
        return self.space.trials if self.space.search == "optuna" else len(self.drawn())

    def _same(self) -> None:
        """Refuse to mix trials of another pipeline, space or corpus."""
        plain = self.recipe.plain()
        for key in HARMLESS:
            plain["pretrain"].pop(key)
        told = {"recipe": {k: plain[k] for k in ("seed", "pretrain")}, "corpus": self.manifest.fingerprint}
        told["space"] = self.space.model_dump(exclude=set(EXTENSIBLE))
        told |= {"metric": self.metric}
        now = json.loads(json.dumps(told))
        file = self.out / "sweep.json"
        if file.is_file():
            earlier = json.loads(file.read_text(encoding="utf-8"))
            before, after = flat(earlier), flat(now)
            changed = [
                f"{k}: {before.get(k)} -> {after.get(k)}"
                for k in sorted({*before, *after})
                if before.get(k) != after.get(k)
            ]
            if changed:
                lines = "\n".join(f"  - {line}" for line in changed)
                raise UserError(
                    f"{paths.near(self.out)} holds a sweep with other settings; give --fresh to start anew there, or "
                    f"another --out:\n{lines}"
                )
        ledger.whole(file, json.dumps(now, indent=1))

    def _search(self) -> bool:
        """The search itself; whether it is over."""
        from . import tuning

        known = self.book.of_kind("search")
        if self.space.search == "optuna":
            if sum(t.ended for t in known) >= self.space.trials:
                return True
            tuning.prepare_ray()
            # the ones that ended come first, so that Optuna and the scheduler know them before they go on
            earlier = [t.settings for t in sorted(known, key=lambda t: not t.ended)]
            searcher = tuning.optuna(self.space, self.recipe, self.mode, earlier)
            return self._tune("search", searcher=searcher, count=self.space.trials)
        chosen = self.drawn()
        if self.plan.exchanges:
            chosen = [self._member(i, one) for i, one in enumerate(chosen)]
        return self._tune("search", chosen)

    def _member(self, place: int, drawn: dict[str, Any]) -> dict[str, Any]:
        """A member of the population with the settings that it has come to."""
        note = self.book.of(f"member-{place:05d}") / "settings.json"
        return {**drawn, "settings": json.loads(note.read_text())} if note.is_file() else drawn

    def _repeat(self) -> bool:
        top = outcome.best(self.book.of_kind("search"), self.mode)
        if top is None:
            return True
        first = self.recipe.seed + self.space.seeds
        self._say(f"  again with {self.repeat} other seeds: {describe(top.settings)}")
        return self._tune("repeat", [{"settings": top.settings, "seed": first + n} for n in range(self.repeat)])

    def _tune(self, kind: str, chosen: Any = (), searcher: Any = None, count: int = 0) -> bool:
        from . import tuning

        # a population's trials are named by place, all others by what they are
        plan = self.plan if kind == "search" else replace(self.plan, exchanges=False)
        ids = [f"member-{i:05d}" if plan.exchanges else draw.identity(**one) for i, one in enumerate(chosen)]
        done = {t.id for t in self.book.trials.values() if t.ended}
        if chosen and done >= {*ids}:
            return True
        order = sorted(range(len(chosen)), key=lambda i: ids[i] not in done) if not plan.exchanges else range(len(ids))
        tuning.prepare_ray()
        from .recorder import Recorder

        gpu = self.space.gpu_share if self.recipe.pretrain.gpu else 0.0
        seconds = 60 * self.time_budget if self.time_budget and kind == "search" else None
        deadline = time.monotonic() + seconds if seconds else None
        with Display(self.console, self.metric, self.mode, self.quiet) as display:
            display.count = count or len(chosen)
            tuning.tune_all(
                plan,
                self.mode,
                self.out / "ray",
                self.concurrent,
                gpu,
                Recorder(plan, self.book, self.tracker, display, kind, deadline),
                [chosen[i] for i in order],
                searcher,
                count,
                tuning.scheduler(self.space, self.recipe) if kind == "search" else None,
                seconds,
            )
        left = [t for t in self.book.of_kind(kind) if not t.ended]
        missing = max(0, (count or len({*ids})) - len(self.book.of_kind(kind)))
        if not left and not missing:
            return True
        if deadline and time.monotonic() >= deadline:
            self._say(f"  the time is over; the same command goes on with {len(left) + missing} trials")
            return False
        if count and not left:
            return True  # the searcher found no more settings that meet the constraints
        raise KeyboardInterrupt(f"stopped with {len(left) + missing} trials to go")

    def _close(self, status: str, seconds: float) -> dict[str, Any]:
        """Leave tables, the page and a closed MLflow run whatever happened."""
        found = outcome.collect(self.space, self.metric, self.mode, self.book)
        outcome.write(self.out, self.recipe, found)
        report = page.build(
            self.out, self.out.name, found, self.space, flat(self.recipe.plain()), f"selfray run {self.out}/best.yaml"
        )
        model = finish.keep_best(self, found) if status == "FINISHED" else None
        top = found["best"]
        files = [report, self.out / "trials.json", self.out / "best.yaml"]
        numbers = {"sweep/best": top["score"]} if top else {}
        self.tracker.finish(status, numbers | {"sweep/steps_saved": found["saved"]["share"]}, files)
        if self.tracker.problem:
            self.console.print(f"  [yellow]warning:[/] {self.tracker.problem}", highlight=False)
        made = {
            "sweep": str(self.out),
            "best": str(self.out / "best.yaml") if top else None,
            "settings": {short(k): v for k, v in top["settings"].items()} if top else None,
            "metric": self.metric,
            "score": top["score"] if top else None,
            "report": str(report),
            "table": str(self.out / "trials.parquet"),
            "tracking_uri": self.tracker.uri,
            "model": model,
            "counts": found["counts"],
            "seconds": seconds,
        }
        if not self.quiet:
            finish.show(self, made, found)
        return made

    def _say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, highlight=False, soft_wrap=True)


def _clear(out: Path) -> None:
    for name in ("trials", "ray", "encoder"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("sweep.json", "trials.json", "trials.parquet", "best.yaml", "mlflow.json", finish.MODEL, page.FILE):
        (out / name).unlink(missing_ok=True)
