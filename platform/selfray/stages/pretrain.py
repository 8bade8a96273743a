"""The pretraining stage: train to the last step, from where it was, and export the encoder."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from ..corpus import place
from ..errors import UserError
from ..progress import Training, clock
from ..recipe import HARMLESS
from ..train.start import FOLDER, NOTE
from . import notes
from .run import Run, settings
from .stage import Stage

FOLDERS = ("checkpoints", "trace", "encoder", "evaluation", "champion", "start", "ray", "embeddings")
FILES = (
    *("metrics.jsonl", "rows.jsonl", "mlflow.json", "summary.json", "gate.json"),
    *("views.npz", "clusters.npz", "report.html"),
)


def inputs(run: Run) -> dict[str, Any]:
    """Settings but those that change nothing, the seed, and what the corpus holds."""
    found = settings(run.recipe.pretrain, "pretrain", HARMLESS)
    return {**found, "seed": run.recipe.seed, "corpus": run.manifest.fingerprint}


def work(run: Run) -> dict[str, Any]:
    """Train and export."""
    from ..train import rules
    from ..train.launch import pretrain
    from ..train.loop import Job, total_steps

    settings, mix = run.recipe.pretrain, run.recipe.corpus.mix
    started = _start(run)
    from ..corpus import stream

    corpus = dict(mix) if mix else place.absolute(run.folder)
    plan = stream.plan(corpus, settings.batch, run.recipe.seed, settings.lanes, settings.max_samples)
    total = total_steps(settings, plan.order.steps)
    begun, rows, tracker = time.monotonic(), Rows(run.out / "metrics.jsonl"), run.track()
    asked = _objective(run)
    with Training(run.console, total, run.quiet) as shown:

        def warn(sentence: str) -> None:
            if shown.warn(sentence):
                run.warnings.append(sentence)

        def watch(row: dict[str, float]) -> None:
            if row["step"] > total * max(settings.warmup, 0.1):  # before that, everything looks collapsed
                for sentence in rules.warnings(row, asked.encoder.width):
                    warn(sentence)

        for sentence in asked.advice(run.manifest.rows(), settings.batch):
            warn(sentence)
        if earlier := steps_done(run):
            run.say(f"             continuing from step {earlier:,}")
        elif started:
            run.say(f"             beginning with {started['said']}")
        steps = pretrain(Job(run.recipe, corpus, str(run.out)), [rows, tracker, shown, watch])
    seconds = time.monotonic() - begun
    export(run, steps)
    made = {"steps": steps, "seconds": seconds, "said": f"{steps:,} steps in {clock(seconds)}"}
    return made | ({"start": started} if started else {})


def begin(run: Run, before: dict[str, Any]) -> None:
    """Remove a finished encoder of other data; one that is not finished must not meet other data."""
    known, now = before.get("inputs", {}).get("corpus", ""), run.manifest.fingerprint
    if known in ("", now) or run.force:
        return
    if before["state"] != notes.DONE:
        raise UserError(
            f"the corpus {run.manifest.name!r} is not the one that {run.out.name} began to train on; give --fresh to "
            "start anew, --force to go on with it, or another --out"
        )
    clear(run)


def clear(run: Run) -> None:
    """Remove what pretraining and the stages after it have made."""
    if run.recipe.pretrain.checkpoint.storage:
        from ..train.checkpoint import Checkpoints

        Checkpoints.of(run.recipe.pretrain.checkpoint, run.out).clear()
    for name in FOLDERS:
        shutil.rmtree(run.out / name, ignore_errors=True)
    for name in FILES:
        (run.out / name).unlink(missing_ok=True)


def _start(run: Run) -> dict[str, Any] | None:
    """The encoder to begin with, copied into the run's folder once, so that a champion that changes changes nothing."""
    from .warm import bring

    if not (wanted := run.recipe.pretrain.start_from):
        return None
    note = run.out / FOLDER / NOTE
    if not note.is_file():
        notes.save(note, bring(run, wanted))
    found: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    return found


def export(run: Run, steps: int, results: dict[str, Any] | None = None) -> None:
    """Write the encoder with its card, and a look at the views once."""
    from ..summary import export_encoder, write_views

    export_encoder(run.out, run.recipe, run.manifest, steps, results, run.folder)
    if results is None:
        write_views(run.out / "views.npz", run.recipe, run.folder)


def steps_done(run: Run) -> int:
    """The step of the newest checkpoint, 0 if there is none."""
    from ..train.checkpoint import Checkpoints

    newest = Checkpoints.of(run.recipe.pretrain.checkpoint, run.out).newest()
    return int(newest.name.removeprefix("step_")) if newest else 0


def _objective(run: Run) -> Any:
    """The objective without memory, to ask it questions."""
    import torch

    from ..train import build

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return build.objective(run.recipe.pretrain, run.manifest, 0)


def missing(run: Run) -> str:
    """The encoder, if it was removed."""
    return "" if (run.encoder / "encoder.json").is_file() else "the encoder is not there any more"


class Rows:
    """A sink that appends rows to a file of JSON lines, skipping those that an earlier attempt wrote."""

    def __init__(self, file: Path):
        from ..train.meter import finite

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


STAGE = Stage("pretrain", inputs, work, missing, begin=begin)
