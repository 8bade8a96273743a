"""What a run leaves behind for people: the exported encoder, its numbers, a look at the views, the next commands."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from . import export, paths
from .corpus import place
from .corpus.manifest import Manifest
from .corpus.place import Place
from .progress import clock
from .recipe import Recipe

if TYPE_CHECKING:
    from .objectives.objective import Objective  # imports torch, which only some of these functions need


def export_encoder(
    run: Path,
    recipe: Recipe,
    manifest: Manifest,
    steps: int,
    results: dict[str, Any] | None,
    corpus: Place | None = None,
) -> None:
    """Write the newest checkpoint's encoder to `encoder/`, with its config and model card.

    What lies beside the corpus's manifest, such as a tokenizer, goes with it.
    """
    from .train import build

    settings = recipe.pretrain
    encoder = trained_objective(run, recipe, manifest).encoder
    part = dict(settings.encoder)
    config: dict[str, Any] = {
        "selfray": version("selfray"),
        "kind": manifest.kind,
        "name": part.pop("name"),
        "settings": part,
        "channels": build.input_channels(manifest),
        "facts": manifest.facts,
        "size": list(build.view_size(settings, manifest)),
        "output_width": encoder.width,
        "mean": list(manifest.mean),
        "std": list(manifest.std),
        "training": {
            "run": recipe.name,
            "objective": settings.objective["name"],
            "corpus": manifest.name,
            "fingerprint": manifest.fingerprint,
            "rows": manifest.rows(),
            "steps": steps,
            "batch": settings.batch,
            "seed": recipe.seed,
            "parameters": sum(p.numel() for p in encoder.parameters()),
        },
    }
    card = export.model_card(config, results, manifest.about.get("licence", ""))
    folder = export.save(run / "encoder", encoder, config, card)
    if corpus is not None:
        for name in manifest.facts.get("files", {}):
            (folder / name).write_bytes(place.storage(place.absolute(corpus)).read(name))


def trained_objective(run: Path, recipe: Recipe, manifest: Manifest) -> "Objective":
    """The objective with the weights of the run's newest checkpoint."""
    from safetensors.torch import load_file

    from .train import build
    from .train.checkpoint import Checkpoints

    objective = build.objective(recipe.pretrain, manifest, recipe.seed)
    newest = Checkpoints.of(recipe.pretrain.checkpoint, run).newest()
    if newest is None:
        raise RuntimeError(f"no checkpoint in {run}")
    objective.load_state_dict(load_file(newest / "objective.safetensors"))
    return objective


def write_views(file: Path, recipe: Recipe, corpus: Place, count: int = 8) -> None:
    """Store some samples, what the objective saw of them, and the pictures that it makes of them once trained.

    Beside it, in `clusters.npz`, what the objective's own clusters hold, where it has clusters.
    """
    import torch

    from .corpus import stream
    from .evaluation import clusters, shown
    from .train import build
    from .views.random import sample_keys

    settings = recipe.pretrain
    plan = stream.plan(corpus, settings.batch, recipe.seed, settings.lanes)
    all_ids, all_samples, _ = next(plan.blocks(0, 1))
    ids, samples = torch.tensor(all_ids[:count]), torch.tensor(all_samples[:count])
    objective = trained_objective(file.parent, recipe, plan.manifest).eval()
    views = build.views(settings, plan.manifest.facts)
    seen = views.make(objective.views, samples, sample_keys(ids, recipe.seed, 0))
    with torch.inference_mode():
        made = seen | objective.pictures(seen)
    manifest = plan.manifest
    stored = shown.samples(samples.numpy(), manifest, corpus, "sample") | shown.views(made, manifest, corpus)
    np.savez_compressed(file, **stored)  # type: ignore[arg-type]  # names are free
    clusters.write(file.with_name("clusters.npz"), objective, views, plan)


def write(run: Path, recipe: Recipe, manifest: Manifest, corpus: Place, status: str, warnings: list[str]) -> None:
    """Write `summary.json`: the run in numbers."""
    import torch

    from .train import build, device

    settings = recipe.pretrain
    rows = [json.loads(line) for line in _lines(run / "metrics.jsonl")]
    speeds = [row["speed/samples_per_second"] for row in rows[1:] or rows]
    objective = build.objective(settings, manifest, recipe.seed)
    place = torch.device("cuda" if settings.gpu else "cpu")
    total = _stage(run, "pretrain").get("steps") or (rows[-1]["step"] if rows else 0)
    noted = run / "mlflow.json"
    summary = {
        "name": recipe.name,
        "status": status,
        "seed": recipe.seed,
        "steps": rows[-1]["step"] if rows else 0,
        "total_steps": total,
        "epochs": rows[-1]["epoch"] if rows else 0,
        "samples": rows[-1]["samples"] if rows else 0,
        "seconds": _stage(run, "pretrain").get("seconds") or (rows[-1]["seconds"] if rows else 0),
        "samples_per_second": float(np.median(speeds)) if speeds else 0.0,
        "device": place.type,
        "precision": str(device.precision(settings.precision, place)).removeprefix("torch."),
        "compile": device.compiles(settings.compile, place, int(total)),
        "workers": settings.workers,
        "threads": device.threads(settings),
        "parameters": {
            "encoder": sum(p.numel() for p in objective.encoder.parameters()),
            "objective": sum(p.numel() for p in objective.parameters()),
        },
        "objective": settings.objective["name"],
        "encoder": settings.encoder["name"],
        "corpus": {
            "name": manifest.name,
            "path": str(corpus),
            "rows": manifest.rows(),
            "shape": manifest.shape,
            "classes": len(manifest.classes),
            "fingerprint": manifest.fingerprint,
            "licence": manifest.about.get("licence", ""),
        },
        "mlflow": json.loads(noted.read_text()) if noted.is_file() else {},
        "versions": {name: version(name) for name in ("selfray", "torch", "ray", "mlflow", "pyarrow")},
        "warnings": sorted(set(warnings)),
    }
    (run / "summary.json").write_text(json.dumps(summary, indent=1))


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _stage(run: Path, name: str) -> dict[str, Any]:
    note = run / "stages" / f"{name}.json"
    return json.loads(note.read_text()) if note.is_file() else {}


def table(probes: list[dict[str, Any]]) -> Table:
    """The probes beside their baselines; accuracies are percentages."""
    accurate = all(row.get("metric", "accuracy") == "accuracy" for row in probes)
    title = "What the encoder learned (held-out " + ("accuracy)" if accurate else "samples)")
    lower = any(not row.get("higher_is_better", True) for row in probes)
    caption = "↓ lower is better" if lower else None
    shown = Table(title=title, title_justify="left", title_style="bold", caption=caption, caption_justify="left")
    shown.add_column("probe", no_wrap=True)
    if not accurate:
        shown.add_column("metric")
    raw = {str(row.get("raw_name", "raw")) for row in probes}
    for column in ("pretrained", "95 % interval", "untrained", raw.pop() if len(raw) == 1 else "raw"):
        shown.add_column(column, justify="right")
    if beside := any(row.get("beside") for row in probes):
        shown.add_column("other simple answers")
    for row in probes:
        form = "{:.1%}" if row.get("metric", "accuracy") == "accuracy" else "{:.3g}"
        low, high, trained, untrained, without = (
            form.format(value) for value in (*row["interval"], row["pretrained"], row["untrained"], row["raw"])
        )
        mark = "" if row.get("higher_is_better", True) else " ↓"
        metric = [] if accurate else [f"{row.get('metric', 'accuracy')}{mark}"]
        others = ", ".join(f"{name} {form.format(value)}" for name, value in row.get("beside", {}).items())
        cells = [f"[bold]{trained}[/]", f"{low} - {high}", untrained, without, *([others] if beside else [])]
        shown.add_row(row["probe"], *metric, *cells)
    return shown


def show(console: Console, made: dict[str, Any]) -> None:
    """The end of a run on the terminal: results, where everything is, what to do next."""
    if made["probes"]:
        console.print(table(made["probes"]))
    encoder = paths.near(made["encoder"])
    console.print(f"done in {clock(made['seconds'])}", highlight=False)
    lines = [
        ("report", paths.near(made["report"])),
        ("encoder", f'{encoder}   (python: selfray.load("{encoder}"))'),
        *([("model", made["model"])] if made["model"] else []),
        ("tracking", f"mlflow ui --backend-store-uri {made['tracking_uri']}"),
        ("next", f"selfray embed {encoder} {paths.near(made['corpus'])} embeddings"),
    ]
    for name, value in lines:
        console.print(f"  {name:<9} {value}", highlight=False, soft_wrap=True)
