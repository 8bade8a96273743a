"""A pipeline: the stages of a recipe in one folder, with all that surrounds them."""

import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from .. import gate as conditions
from .. import notices, paths
from ..corpus.place import Place
from ..errors import Refused, UserError
from ..paths import only_one
from ..recipe import differences, parse
from ..settings import Recipe
from . import corpus, embed, engine, evaluate, gate, notes, notify, pretrain, register
from .attempts import said
from .run import Run

ALL = (corpus.STAGE, pretrain.STAGE, evaluate.STAGE, gate.STAGE, register.STAGE, embed.STAGE, notify.STAGE)


class Pipeline:
    """One recipe in one output folder.

    Args:
        recipe: What to do.
        out: The run's folder; `runs/<name>` if left out, `runs/<name>-<date>` with a date.
        fresh: Throw away what an earlier run left there.
        force: Go on with a run whose settings were others.
        first: The stage to begin with, done again even if it was done; those before it must be done.
        last: The stage to end with.
        date: The logical date, if the run has one.
        console: Where to say what happens.
        quiet: Say only what went wrong.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: str | Path | None = None,
        *,
        fresh: bool = False,
        force: bool = False,
        first: str | None = None,
        last: str | None = None,
        date: str | None = None,
        console: Console | None = None,
        quiet: bool = False,
    ):
        self.out = folder(recipe.name, out, date)
        self.context = Run(recipe, self.out, console or Console(stderr=True), quiet, force, date)
        self.recipe, self.fresh, self.first, self.last = recipe, fresh, first, last
        names = recipe.asked()
        self.stages = [stage for stage in ALL if stage.name in names]

    def plan(self) -> list[engine.Decision]:
        """What `run` would do, stage by stage; nothing is started or written."""
        if self.fresh:
            return [engine.Decision(stage.name, True, "--fresh") for stage in self.stages]
        if (changed := self._changed()) and not self.context.force:
            raise self._other_settings(changed)
        return engine.plan(self.stages, self.context, self.first, self.last)

    def corpus(self) -> Place:
        """Bring the corpus and no more; returns where it is."""
        corpus.STAGE.taken(self.context, corpus.STAGE.work(self.context))
        return self.context.folder

    def run(self) -> dict[str, Any]:
        """Run all stages; returns where everything is.

        Raises:
            Refused: a gate said no.
            UserError: a stage failed for a reason that the user can act on.
            KeyboardInterrupt: it was interrupted; the same call goes on.
        """
        begun, run = time.monotonic(), self.context
        if self.recipe.notify:
            notices.check(self.recipe.notify)
        if self.recipe.embed and self.recipe.embed.index:
            from ..neighbors import index

            index.needed()
        engine.selected(self.stages, self.first, self.last)
        self.out.mkdir(parents=True, exist_ok=True)
        with only_one(self.out):
            if self.fresh:
                pretrain.clear(run)
                run.notes.drop([stage.name for stage in ALL])
                for name in ("recipe.yaml", notes.STATUS):
                    (self.out / name).unlink(missing_ok=True)
            self._same_recipe()
            run.say(f"[bold]{self.recipe.name}[/] -> {paths.near(self.out)}")
            before = run.notes.status().get("status")
            end, state, reason, code = "FAILED", notes.FAILED, "", 1
            try:
                engine.execute(self.stages, run, self.first, self.last)
                whole = self.last in (None, self.stages[-1].name)
                end, state, code = "FINISHED", notes.DONE if whole else notes.PARTIAL, 0
            except KeyboardInterrupt:
                end, state, reason, code = "KILLED", "interrupted", "interrupted", 130
                raise
            except Refused as error:
                end, state, reason, code = "FINISHED", notes.REFUSED, str(error), error.exit
                raise
            except Exception as error:
                reason, code = said(error), error.exit if isinstance(error, UserError) else 1
                raise
            finally:
                hidden = suppress(OSError, UserError) if code else nullcontext()
                with hidden:  # what went wrong first is what the user must read
                    self._close(end, known=before in (notes.DONE, notes.REFUSED))
                with hidden:
                    engine.status(run, state, code, reason)
                    again = state == before == notes.REFUSED and run.tracker is None  # nothing was judged anew
                    if code not in (0, 130) and not again:
                        notify.tell(run, state, reason)
            return self._made(time.monotonic() - begun)

    def _same_recipe(self) -> None:
        changed = self._changed()
        if changed and not self.context.force:
            raise self._other_settings(changed)
        if changed:
            self.context.say(f"  going on with other settings, as forced:\n{_listed(changed)}")
        (self.out / "recipe.yaml").write_text(self.recipe.to_yaml(), encoding="utf-8")

    def _changed(self) -> list[str]:
        from omegaconf import OmegaConf

        file = self.out / "recipe.yaml"
        begun = any((self.out / trace).exists() for trace in ("checkpoints", f"{notes.FOLDER}/pretrain.json"))
        if not file.is_file() or not begun:  # settings may be mended as long as nothing was trained
            return []
        earlier = parse(OmegaConf.to_container(OmegaConf.load(file)), str(file))  # type: ignore[arg-type]
        return differences(earlier, self.recipe)

    def _other_settings(self, changed: Sequence[str]) -> UserError:
        return UserError(
            f"{paths.near(self.out)} holds a run with other settings; give --fresh to start anew there, "
            f"--force to go on with the new ones, or another --out:\n{_listed(changed)}"
        )

    def _close(self, end: str, known: bool) -> None:
        """Leave a report and a closed MLflow run whatever happened; `known` if an earlier process has done so."""
        run = self.context
        if run.tracker is None:
            if known or end != "FINISHED" or not (run.encoder / "encoder.json").is_file():
                return
            run.track()
        assert run.tracker is not None
        from ..report.build import build
        from ..summary import write

        write(self.out, self.recipe, run.manifest, run.folder, end, run.warnings)
        report = build(self.out)
        results = run.results() or {"probes": [], "scores": []}
        numbers = {
            f"probe/{r['probe']}/{k}": r[k] for r in results["probes"] for k in ("pretrained", "untrained", "raw")
        }
        numbers |= {name: value for name, value in conditions.values(results).items() if name.startswith("score/")}
        files = [report, *(self.out / name for name in ("recipe.yaml", "summary.json", "gate.json"))]
        run.tracker.finish(end, numbers, files)
        if run.tracker.problem:
            run.warn(run.tracker.problem)

    def _made(self, seconds: float) -> dict[str, Any]:
        from ..tracking import store

        run = self.context
        results = run.results()
        made = {
            "run": str(self.out),
            "status": run.notes.status()["status"],
            "date": run.date,
            "encoder": str(run.encoder),
            "report": str(self.out / "report.html"),
            "tracking_uri": store(self.out.parent),
            "model": run.notes.read("register").get("uri"),
            "seconds": seconds,
            "probes": results["probes"] if results else [],
            "corpus": str(run.folder),
            "stages": run.notes.status().get("stages", {}),
        }
        if not run.quiet and (run.encoder / "encoder.json").is_file():
            from ..summary import show

            show(run.console, made)
        return made


def folder(name: str, out: str | Path | None, date: str | None) -> Path:
    """Where a run leaves everything."""
    return Path(out or paths.runs() / (f"{name}-{date}" if date else name)).resolve()


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"  - {line}" for line in lines)
