"""The stages of a pipeline, in order: what is done is not done again, what was interrupted goes on."""

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from . import paths
from .corpus import place, stream
from .corpus.manifest import Manifest
from .errors import UserError
from .progress import Training, clock
from .recipe import HARMLESS, Recipe, differences, flat, parse

OWNED = ("checkpoints", "trace", "encoder", "evaluation", "stages", "ray", "embeddings")
OWNED_FILES = ("recipe.yaml", "metrics.jsonl", "rows.jsonl", "mlflow.json", "summary.json", "views.npz", "clusters.npz", "report.html")


class Pipeline:
    """One recipe in one output folder.

    Args:
        recipe: What to do.
        out: The run's folder; `runs/<name>` if left out.
        fresh: Throw away what an earlier run left there.
        force: Go on with a run whose settings were others.
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
        console: Console | None = None,
        quiet: bool = False,
    ):
        self.recipe, self.quiet = recipe, quiet
        self.out = Path(out or paths.runs() / recipe.name).resolve()
        self.console = console or Console(stderr=True)
        self.fresh, self.force = fresh, force
        self.tracker: Any = None
        self.warnings: list[str] = []
        self.results: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Run all stages; returns where everything is.

        Raises:
            UserError: a stage failed for a reason that the user can act on.
        """
        begun = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        with _only_one(self.out):
            if self.fresh:
                self._clear()
            self._same_recipe()
            status = "FAILED"
            try:
                self._say(f"[bold]{self.recipe.name}[/] -> {paths.near(self.out)}")
                self.folder = self._corpus()
                self.manifest = stream.manifest_of(self.recipe.corpus.mix or self.folder)
                self._track()
                self._stage("pretrain", self._pretrain)
                if self.recipe.evaluate:
                    self._stage("evaluate", self._evaluate)
                if self.recipe.registry:
                    self._stage("register", self._register)
                if self.recipe.embed:
                    self._stage("embed", self._embed)
                status = "FINISHED"
            except KeyboardInterrupt:
                status = "KILLED"
                raise
            finally:
                hidden = suppress(OSError, UserError) if status != "FINISHED" else nullcontext()
                with hidden:  # what went wrong first is what the user must read
                    self._close(status)
            return self._summary(time.monotonic() - begun)

    # The stages

    def _corpus(self) -> place.Place:
        settings = self.recipe.corpus
        if settings.mix:
            stream.manifest_of(settings.mix)
            folder: place.Place = next(iter(settings.mix))
        elif settings.path:
            folder = settings.path
            Manifest.read(folder)
        elif settings.fetch:
            from .corpus import catalogue

            folder = catalogue.fetch(settings.fetch)
        else:
            from .corpus.ingest import prepare

            folder = paths.corpora() / self.recipe.name
            prepare(
                str(settings.source),
                folder,
                name=self.recipe.name,
                kind=settings.kind,
                holdout=settings.holdout,
                max_bad_rate=settings.max_bad_rate,
                duplicates=settings.duplicates,
                **settings.prepare,
            )
        manifest = stream.manifest_of(settings.mix or folder)
        shape = " x ".join(map(str, manifest.shape))
        rows = " + ".join(f"{manifest.rows(split):,} {split}" for split in sorted(manifest.splits, reverse=True))
        self._say(f"  corpus     {manifest.name}: {rows} samples of {shape}")
        if manifest.about.get("licence"):
            self._say(f"             licence: {manifest.about['licence']}")
        return folder

    def _pretrain(self) -> dict[str, Any]:
        from .train.launch import pretrain
        from .train.loop import Job, total_steps

        settings = self.recipe.pretrain
        mix = self.recipe.corpus.mix
        corpus = dict(mix) if mix else place.absolute(self.folder)
        plan = stream.plan(corpus, settings.batch, self.recipe.seed, settings.lanes, settings.max_samples)
        total = total_steps(settings, plan.order.steps)
        begun, rows = time.monotonic(), _Rows(self.out / "metrics.jsonl")
        from .train import rules

        asked = self._objective()
        with Training(self.console, total, self.quiet) as shown:

            def watch(row: dict[str, float]) -> None:
                if row["step"] > total * max(settings.warmup, 0.1):  # before that, everything looks collapsed
                    for sentence in rules.warnings(row, asked.encoder.width):
                        self._warn(shown, sentence)

            for sentence in asked.advice(self.manifest.rows(), settings.batch):
                self._warn(shown, sentence)
            if earlier := self._step():
                self._say(f"             continuing from step {earlier:,}")

            job = Job(self.recipe, corpus, str(self.out))
            steps = pretrain(job, [rows, self.tracker, shown, watch])
        seconds = time.monotonic() - begun
        self._export(steps)
        return {"steps": steps, "seconds": seconds, "said": f"{steps:,} steps in {clock(seconds)}"}

    def _evaluate(self) -> dict[str, Any]:
        import torch

        from .evaluation.compare import compare
        from .export import build, load, read_config
        from .train import build as building

        settings = self.recipe.evaluate
        assert settings is not None
        encoder = self.out / "encoder"
        place = "cuda" if self.recipe.pretrain.gpu and torch.cuda.is_available() else "cpu"
        results = compare(
            load(encoder).to(place),
            build(read_config(encoder)).to(place),
            building.views(self.recipe.pretrain, self.manifest.facts),
            settings.corpus or self.folder,
            settings.probes,
            self.out / "evaluation",
            settings.max_samples,
        )
        self._export(self._step(), results)
        return {"said": results["verdict"]}

    def _register(self) -> dict[str, Any]:
        from .tracking import register

        settings = self.recipe.registry
        assert settings is not None
        self.tracker.wait_started()
        results = self._results()
        uri = register(self.out, self.out / "encoder", settings.model or self.recipe.name, settings.alias, results)
        return {"uri": uri, "said": f"{uri} (alias {settings.alias})"}

    def _embed(self) -> dict[str, Any]:
        from .embedding import embed

        settings = self.recipe.embed
        assert settings is not None
        out = Path(settings.out or self.out / "embeddings")
        rows = embed(self.out / "encoder", settings.corpus or self.folder, out, self.recipe.pretrain.gpu)
        return {"rows": rows, "said": f"{rows:,} rows in {paths.near(out)}"}

    # What surrounds them

    def _stage(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        note = self.out / "stages" / f"{name}.json"
        fingerprint = self._fingerprint(name)
        if note.is_file() and (known := json.loads(note.read_text()))["fingerprint"] == fingerprint:
            self._say(f"  {name:<10} done before: {known['said']}")
            self.results[name] = known
            return
        self._say(f"  {name:<10} ...", plain_only=name != "pretrain")
        begun = time.monotonic()
        result = {"fingerprint": fingerprint, **work()}
        result.setdefault("seconds", time.monotonic() - begun)
        note.parent.mkdir(exist_ok=True)
        note.write_text(json.dumps(result, indent=1))
        self._say(f"  {name:<10} {result['said']}")
        self.results[name] = result

    def _fingerprint(self, name: str) -> str:
        """Changes with anything that the stage's result depends on."""
        recipe = self.recipe.plain()
        for key in HARMLESS:
            recipe["pretrain"].pop(key)
        parts: list[Any] = [recipe["pretrain"], recipe["seed"], self.manifest.fingerprint]
        if name != "pretrain":
            parts += [name, recipe[name]]
        if name == "register":
            parts.append(recipe["evaluate"])
        if other := (recipe.get(name) or {}).get("corpus"):
            parts.append(Manifest.read(other).fingerprint)
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    def _same_recipe(self) -> None:
        file = self.out / "recipe.yaml"
        if file.is_file():
            from omegaconf import OmegaConf

            earlier = parse(OmegaConf.to_container(OmegaConf.load(file)), str(file))  # type: ignore[arg-type]
            changed = differences(earlier, self.recipe)
            lines = "\n".join(f"  - {line}" for line in changed)
            if changed and not self.force:
                raise UserError(
                    f"{paths.near(self.out)} holds a run with other settings; give --fresh to start anew there, "
                    f"--force to go on with the new ones, or another --out:\n{lines}"
                )
            if changed:
                self._say(f"  going on with other settings, as forced:\n{lines}")
        file.write_text(self.recipe.to_yaml(), encoding="utf-8")

    def _clear(self) -> None:
        if self.recipe.pretrain.checkpoint.storage:
            from .train.checkpoint import Checkpoints

            Checkpoints.of(self.recipe.pretrain.checkpoint, self.out).clear()
        for name in OWNED:
            shutil.rmtree(self.out / name, ignore_errors=True)
        for name in OWNED_FILES:
            (self.out / name).unlink(missing_ok=True)

    def _track(self) -> None:
        from .tracking import Tracker

        self.tracker = Tracker(self.out, self.recipe.name, flat(self.recipe.plain()), self.manifest, str(self.folder))

    def _step(self) -> int:
        from .train.checkpoint import Checkpoints

        newest = Checkpoints.of(self.recipe.pretrain.checkpoint, self.out).newest()
        return int(newest.name.removeprefix("step_")) if newest else 0

    def _warn(self, shown: Training, sentence: str) -> None:
        if shown.warn(sentence):
            self.warnings.append(sentence)

    def _objective(self) -> Any:
        """The objective without memory, to ask it questions."""
        import torch

        from .train import build

        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return build.objective(self.recipe.pretrain, self.manifest, 0)

    def _export(self, steps: int, results: dict[str, Any] | None = None) -> None:
        from .summary import export_encoder, write_views

        export_encoder(self.out, self.recipe, self.manifest, steps, results, self.folder)
        if results is None:
            write_views(self.out / "views.npz", self.recipe, self.folder)

    def _results(self) -> dict[str, Any] | None:
        file = self.out / "evaluation" / "results.json"
        return json.loads(file.read_text()) if file.is_file() else None

    def _close(self, status: str) -> None:
        """Leave a report and a closed MLflow run whatever happened."""
        from .report.build import build
        from .summary import write

        if self.tracker is None:
            return
        write(self.out, self.recipe, self.manifest, self.folder, status, self.warnings)
        report = build(self.out)
        results = self._results() or {"probes": [], "scores": []}
        numbers = {
            f"probe/{r['probe']}/{k}": r[k] for r in results["probes"] for k in ("pretrained", "untrained", "raw")
        }
        numbers |= {f"score/{r['score']}": r["pretrained"] for r in results["scores"]}
        self.tracker.finish(status, numbers, [report, self.out / "recipe.yaml", self.out / "summary.json"])
        if self.tracker.problem:
            self.console.print(f"  [yellow]warning:[/] {self.tracker.problem}", highlight=False)

    def _summary(self, seconds: float) -> dict[str, Any]:
        results = self._results()
        made = {
            "run": str(self.out),
            "encoder": str(self.out / "encoder"),
            "report": str(self.out / "report.html"),
            "tracking_uri": self.tracker.uri,
            "model": self.results.get("register", {}).get("uri"),
            "seconds": seconds,
            "probes": results["probes"] if results else [],
            "corpus": str(self.folder),
        }
        if not self.quiet:
            from .summary import show

            show(self.console, made)
        return made

    def _say(self, line: str, plain_only: bool = False) -> None:
        if not self.quiet and not (plain_only and not self.console.is_terminal):
            self.console.print(line, highlight=False, soft_wrap=True)


class _Rows:
    """A sink that appends rows to a file of JSON lines, skipping those that an earlier attempt wrote."""

    def __init__(self, file: Path):
        from .train.meter import finite

        self.file, self._finite, self.seen = file, finite, -1
        kept = []
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    self.seen = max(self.seen, int(json.loads(line)["step"]))
                    kept.append(line)
                except (ValueError, KeyError):
                    continue  # a line that was being written when the process was killed
            file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def __call__(self, row: dict[str, float]) -> None:
        if row["step"] > self.seen:
            with self.file.open("a", encoding="utf-8") as opened:
                opened.write(json.dumps(self._finite(row)) + "\n")
            self.seen = int(row["step"])  # workers that are started again report steps again


@contextmanager
def _only_one(out: Path) -> Iterator[None]:
    """Refuse a second process in the same run folder."""
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another process is running in {paths.near(out)}; wait for it or give another --out"
            ) from None
        yield
