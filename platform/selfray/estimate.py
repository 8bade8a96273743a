"""What a recipe will need, worked out on the meta device: nothing is allocated, started or fetched."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import paths
from .corpus import location, stream
from .corpus.manifest import Manifest
from .corpus.place import exists
from .errors import UserError
from .recipe import Recipe
from .train import build, device
from .train.loop import divisible, total_steps
from .views.random import sample_keys


def folder_of(recipe: Recipe) -> str:
    """Where the recipe's corpus is, or will be."""
    first = next(iter(recipe.corpus.mix), None) if recipe.corpus.mix else None
    if recipe.corpus.source:
        versions = (paths.corpora() / recipe.name).glob("*/manifest.json")
        newest = max(versions, key=lambda file: file.stat().st_mtime_ns, default=None)
        return str(newest.parent if newest else paths.corpora() / recipe.name)
    return recipe.corpus.path or first or str(paths.corpora() / str(recipe.corpus.fetch))


def estimate(recipe: Recipe) -> dict[str, Any]:
    """Parameters, steps, memory and arithmetic of a run, as far as they can be known before its corpus is there.

    Raises:
        UserError: the corpus that `corpus.path` names is missing, or settings do not fit it.
    """
    build.views(recipe.pretrain)
    if recipe.corpus.fetch:
        from .corpus import catalogue

        catalogue.describe(recipe.corpus.fetch)
    folder = folder_of(recipe)
    if recipe.corpus.source and not location.at(recipe.corpus.source).exists():
        raise UserError(f"corpus.source {recipe.corpus.source} does not exist")
    if not (recipe.corpus.path or recipe.corpus.mix) and not exists(folder, "manifest.json"):
        return {
            "corpus": None,
            "note": f"the corpus is not in {folder} yet, so sizes are not known; `selfray run` brings it",
        }
    manifest = stream.manifest_of(recipe.corpus.mix or folder)
    settings = recipe.pretrain
    corpus = recipe.corpus.mix or folder
    plan = stream.plan(corpus, settings.batch, recipe.seed, settings.lanes, settings.max_samples)
    divisible(replace(plan, world=max(1, settings.workers)), settings)
    total = total_steps(settings, plan.order.steps)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        objective = build.objective(settings, manifest, recipe.seed)
    advice = objective.advice(manifest.rows(), settings.batch)
    trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    weights = sum(t.numel() * t.element_size() for t in objective.state_dict().values())
    place = torch.device("cuda" if settings.gpu else "cpu")
    local = settings.batch // max(1, settings.workers) // settings.accumulate
    precision = device.precision(settings.precision, place) if not settings.gpu else torch.bfloat16
    activations, flops = _measured(objective, settings, manifest, local, precision)
    moments = {"adamw": 2, "lars": 1, "sgd": 1}.get(settings.optimizer["name"], 2)
    memory = weights + 4 * trained * (1 + moments) + activations
    return {
        "corpus": {"name": manifest.name, "rows": manifest.rows(), "shape": manifest.shape},
        "advice": advice,
        "steps": total,
        "steps_per_epoch": plan.order.steps,
        "parameters": {
            "encoder": sum(p.numel() for p in objective.encoder.parameters()),
            "trained": trained,
            "all": sum(p.numel() for p in objective.parameters()),
        },
        "memory_bytes_per_worker": memory,
        "activation_bytes": activations,
        "forward_flops_per_sample": flops / local,
        "precision": str(precision).removeprefix("torch."),
        "compile": device.compiles(settings.compile, place, total),
    }


def _measured(objective: Any, settings: Any, manifest: Manifest, batch: int, precision: torch.dtype) -> tuple[int, int]:
    """Bytes that backward keeps, and operations of a forward pass, for one batch of a worker."""
    from torch.utils.flop_counter import FlopCounterMode

    samples = torch.from_numpy(np.zeros((1, *manifest.shape), manifest.dtype))
    family = build.views(settings, manifest.facts)
    seen, more = (
        family.make(objective.views, samples.expand(n, *manifest.shape), sample_keys(torch.arange(n), 0, 0))
        for n in (5, 7)  # the axis that differs is the batch's
    )
    views = {
        name: torch.empty(
            *(batch if i == rows else n for i, n in enumerate(view.shape)),
            dtype=view.dtype,
            device="meta",
        )
        for name, view in seen.items()
        for rows in [next(i for i, (n, m) in enumerate(zip(view.shape, more[name].shape, strict=True)) if n != m)]
    }
    if build.asks_for_ids(objective):
        views["ids"] = torch.empty(batch, dtype=torch.long, device="meta")
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[id(tensor)] = tensor.numel() * tensor.element_size()
        alive.append(tensor)
        return tensor

    alive: list[Tensor] = []
    counter = FlopCounterMode(display=False)
    with (
        counter,
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", precision, enabled=precision != torch.float32),
    ):
        objective(views)
    owned = {id(p) for p in objective.parameters()}
    return sum(size for key, size in kept.items() if key not in owned), counter.get_total_flops()
