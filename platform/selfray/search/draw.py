"""Settings of trials: drawn at random, or every point of a grid; the same seed gives the same ones."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import UserError
from ..recipe import Recipe, flat
from .space import Settings, Space, apply, meets

LARGEST_GRID = 1000
TRIES = 200  # a new setting, before the space is taken to be used up


def draw(space: Space, base: Mapping[str, Any], random: np.random.Generator) -> Settings:
    """One draw; knobs whose condition is not met are left out."""
    found: Settings = {}
    for key in space.order():
        values = space.active(key, found, base)
        if values is not None:
            found[key] = values.sample(random)
    return found


def feasible(space: Space, recipe: Recipe, settings: Settings) -> bool:
    """Whether settings meet the constraints."""
    return not space.constraints or meets(space, apply(recipe, settings))


def random_settings(space: Space, recipe: Recipe, count: int) -> list[Settings]:
    """Different settings that meet the constraints; fewer than `count` where there are no more."""
    random, base = np.random.default_rng(space.seed), flat(recipe.plain())
    found: dict[str, Settings] = {}
    missed = 0
    while len(found) < count and missed < TRIES:
        settings = draw(space, base, random)
        if identity(settings, 0) in found or not feasible(space, recipe, settings):
            missed += 1
            continue
        found[identity(settings, 0)], missed = settings, 0
    return list(found.values())


def grid(space: Space, recipe: Recipe) -> list[Settings]:
    """Every combination that meets the constraints, in the order of the file; for ASHA in one that the seed draws.

    ASHA judges a trial by those that came before it, so that along a rising knob too many would pass.
    """
    base = flat(recipe.plain())

    def expand(keys: list[str], settings: Settings) -> Iterator[Settings]:
        if not keys:
            yield settings
            return
        values = space.active(keys[0], settings, base)
        for value in values.listed() if values else ():
            yield from expand(keys[1:], {**settings, keys[0]: value})
        if values is None:
            yield from expand(keys[1:], settings)

    found: list[Settings] = []
    for settings in expand(space.order(), {}):
        if feasible(space, recipe, settings):
            found.append(settings)
        if len(found) > LARGEST_GRID:
            raise UserError(
                f"the grid has more than {LARGEST_GRID:,} points; lower points or search fewer knobs, "
                "or use search: random"
            )
    if space.scheduler == "asha":
        found = [found[i] for i in np.random.default_rng(space.seed).permutation(len(found))]
    return found


def nudged(space: Space, recipe: Recipe, settings: Settings, random: np.random.Generator) -> Settings:
    """Settings near the given ones that meet the constraints, as population-based training wants; else the same."""
    base = flat(recipe.plain())
    for _ in range(TRIES):
        found: Settings = {}
        for key in space.order():
            values = space.active(key, found, base)
            if values is not None:
                found[key] = values.nudged(settings[key], random) if key in settings else values.sample(random)
        if feasible(space, recipe, found):
            return found
    return settings


def identity(settings: Settings, seed: int) -> str:
    """Eight letters that name a trial: the same settings and seed are the same trial."""
    return hashlib.sha256(json.dumps([settings, seed], sort_keys=True).encode()).hexdigest()[:8]
