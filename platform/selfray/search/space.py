"""What a sweep searches: knobs with their values, constraints, metric, budget; checked before anything starts."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le
from pydantic import Field, field_validator

from .. import paths, signature
from ..bounds import NonNegativeInt, Positive, PositiveInt
from ..discovery import nearest
from ..errors import RecipeError, UserError
from ..recipe import HARMLESS, Recipe, Stage, flat, parse
from . import constraints
from .values import Values

Settings = dict[str, Any]
"""Values of knobs under their full keys, in the order of the space: {"pretrain.objective.temperature": 0.1}."""

PARTS = ("objective", "encoder", "optimizer")
LENGTH = ("batch", "epochs", "steps", "max_samples", "lanes")
"""Settings that fix which sample is trained on in which step; a running trial cannot change them."""
DRAWS = 1000


class Space(Stage):
    """A question about settings, and how hard to look for the answer."""

    knobs: dict[str, list[Values]] = Field(description="Recipe keys and the values that each may take.")
    constraints: list[str] = Field([], description="Conditions between settings: objective.queue_size % batch == 0.")
    metric: str = Field("auto", description="A probe, rankme, uniformity, feature_std or loss; auto: knn if labelled.")
    mode: Literal["max", "min"] | None = Field(None, description="What is better; known for every metric that ships.")
    search: Literal["random", "grid", "optuna"] = Field("random", description="Who chooses the settings of trials.")
    scheduler: Literal["none", "asha", "hyperband", "pbt"] = Field("asha", description="Who stops trials early.")
    trials: PositiveInt = Field(12, description="Settings to try; all of them with search: grid.")
    seeds: PositiveInt = Field(1, description="Trials of each setting, with seeds one after another.")
    steps: PositiveInt | None = Field(None, description="Steps of a whole trial; the pipeline's length by default.")
    epochs: Positive | None = Field(None, description="Or its epochs.")
    reports: PositiveInt = Field(4, description="How often a trial is judged, with scheduler none or pbt.")
    reduction: Annotated[int, Ge(2)] = Field(3, description="One of so many goes on at each look of asha, hyperband.")
    levels: Annotated[int, Ge(2)] = Field(3, description="Looks of asha and hyperband, the last at the end.")
    samples: PositiveInt = Field(5000, description="Samples that a judgement uses; a fifth of them are unseen labels.")
    gpu_share: Annotated[float, Ge(0.01), Le(1)] = Field(
        1.0, description="GPU of a trial where the pipeline has gpu: true."
    )
    seed: NonNegativeInt = Field(0, description="Fixes what is drawn.")

    @field_validator("knobs", mode="before")
    @classmethod
    def _listed(cls, knobs: Any) -> Any:
        return {k: v if isinstance(v, list) else [v] for k, v in knobs.items()} if isinstance(knobs, dict) else knobs

    def branches(self) -> list[tuple[str, Values]]:
        """Full key and distribution of everything; several of a key where it depends on others."""
        return [(full(key), one) for key, values in self.knobs.items() for one in values]

    def order(self) -> list[str]:
        """The full keys, each after those that it depends on."""
        needs: dict[str, set[str]] = {}
        for key, values in self.branches():
            needs.setdefault(key, set()).update(full(k) for k in values.when)
        ordered: list[str] = []
        while len(ordered) < len(needs):
            ready = [k for k in needs if k not in ordered and not (needs[k] & needs.keys()) - {*ordered}]
            if not ready:
                stuck = ", ".join(short(k) for k in needs if k not in ordered)
                raise UserError(f"the conditions (when) of {stuck} go round in a circle; remove one of them")
            ordered += ready
        return ordered

    def active(self, key: str, settings: Mapping[str, Any], base: Mapping[str, Any]) -> Values | None:
        """The distribution of a key that counts, given the settings drawn before and those of the pipeline."""
        for name, values in self.branches():
            if name == key and all(_meets(settings.get(full(k), base.get(full(k))), v) for k, v in values.when.items()):
                return values
        return None

    def judged(self) -> list[tuple[int, float]]:
        """When a trial is judged: a number that the scheduler counts by, and the share of its steps."""
        if self.scheduler == "asha":
            counts = [self.reduction**level for level in range(self.levels)]
        elif self.scheduler == "hyperband":
            counts = list(range(1, self.reduction ** (self.levels - 1) + 1))
        else:
            counts = list(range(1, self.reports + 1))
        return [(count, count / counts[-1]) for count in counts]


def full(key: str) -> str:
    """A key of the recipe; `pretrain.` may be left out in a space as on the command line."""
    return key if key.split(".")[0] in ("pretrain", *Recipe.model_fields, "register") else f"pretrain.{key}"


def short(key: str) -> str:
    """The key as people write it."""
    return key.removeprefix("pretrain.")


def _meets(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, list) else value == wanted


def shipped() -> dict[str, Path]:
    """Name -> file of every space that comes with selfray."""
    root = Path(str(paths.shipped("tune_spaces")))
    return {file.stem: file for file in sorted(root.glob("*.yaml"))}


def locate(name: str | Path) -> Path:
    """The file of a space given as a path or as the name of a shipped one."""
    if Path(name).is_file():
        return Path(name)
    known = shipped()
    plain = str(name).removeprefix("tune_spaces/").removesuffix(".yaml")
    if plain in known:
        return known[plain]
    raise UserError(f"no search space {name}{nearest(plain, list(known))}; shipped are {', '.join(known)}")


def load(name: str | Path, overrides: Sequence[str] = ()) -> Space:
    """Read a space and apply `key=value` overrides of it, such as `trials=6`.

    Raises:
        RecipeError: with every mistake of the file at once.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    file = locate(name)
    try:
        loaded = OmegaConf.load(file)  # reads 1e-4 as a number, which plain YAML does not
        merged: Any = OmegaConf.to_container(OmegaConf.merge(loaded, OmegaConf.from_dotlist(list(overrides))))
    except (YAMLError, OmegaConfBaseException, ValueError) as error:
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(merged, dict):
        raise UserError(f"{file} is not a mapping; see {shipped().get('temperature', 'docs/sweep.md')} for an example")
    found: list[str] = []
    knobs = merged.get("knobs")
    for key, values in knobs.items() if isinstance(knobs, dict) else ():
        for one in values if isinstance(values, list) else [values]:
            if isinstance(one, dict):
                found += signature.validate(Values, one, key)[1]
            else:
                found.append(f"{key}: write its values as a mapping, such as {{choice: [0.1, 0.2]}}")
    if not found:
        _, found = signature.validate(Space, merged, "")
    if found:
        raise RecipeError(str(file), found)
    return Space.model_validate(merged)


def apply(recipe: Recipe, settings: Settings) -> Recipe:
    """The recipe with these settings; a part that gets another name loses the settings of the old one.

    Raises:
        RecipeError: a key does not exist or a value is not allowed.
    """
    plain = deepcopy(recipe.plain())
    names = [k for k in settings if k.count(".") == 2 and k.endswith(".name")]
    for key in [*names, *(k for k in settings if k not in names)]:
        *path, last = key.split(".")
        place: dict[str, Any] = plain
        for part in path:
            inner = place.get(part)
            place[part] = inner if isinstance(inner, dict) else {}
            place = place[part]
        if key in names and path[-1] in PARTS and place.get("name") != settings[key]:
            place.clear()
        place[last] = settings[key]
    return parse(plain, "the search space")


def check(space: Space, recipe: Recipe) -> None:
    """Raise a RecipeError with everything that is wrong with searching this space of this recipe."""
    found: list[str] = []
    base = flat(recipe.plain())
    for key, values in space.branches():
        if key.split(".")[0] != "pretrain" or short(key).split(".")[0] in (*HARMLESS, "precision", "compile"):
            found.append(f"{short(key)}: does not change what is learned, so it cannot be searched")
            continue
        for other in values.when:
            if full(other) not in base and full(other) not in dict(space.branches()):
                known = [short(k) for k in (*base, *dict(space.branches()))]
                found.append(f"{short(key)}.when: there is no setting {other}{nearest(other, known)}")
        given = {full(k): v[0] if isinstance(v, list) else v for k, v in values.when.items()}
        tried = values.listed() if values.choice is not None else [values.at(0.0), values.at(0.37), values.at(1.0)]
        for value in tried:
            try:
                apply(recipe, {**given, key: value})
            except RecipeError as error:
                found += [problem.removeprefix("pretrain.") for problem in error.problems]
    order = space.order()
    if space.scheduler == "pbt":
        found += _changing(space, order)
    if space.scheduler == "pbt" and (space.search != "random" or space.seeds > 1):
        found.append("scheduler: pbt chooses settings itself; leave search at random and seeds at 1")
    if space.search == "optuna" and space.seeds > 1:
        found.append("seeds: optuna tries each setting once; use --repeat to train the best with more seeds")
    if space.steps and space.epochs:
        found.append("steps: give either steps or epochs")
    if not found:
        try:
            _possible(space, recipe)
        except RecipeError as error:
            found += error.problems
        except UserError as error:
            found.append(str(error))
    if found:
        raise RecipeError("the search space", list(dict.fromkeys(found)))


def _changing(space: Space, keys: Sequence[str]) -> list[str]:
    """Knobs that population-based training cannot turn while a trial goes on."""
    found = []
    for key in map(short, keys):
        if key in LENGTH:
            found.append(f"{key}: fixes the order of samples, so scheduler pbt cannot change it within a trial")
        elif key.startswith("encoder") or (key.startswith("optimizer.") and key != "optimizer.lr"):
            found.append(f"{key}: is part of the saved state, so scheduler pbt cannot change it within a trial")
        elif key == "objective.name":
            found.append(f"{key}: objectives do not share weights, so scheduler pbt cannot exchange them")
    return found


def _possible(space: Space, recipe: Recipe) -> None:
    """Raise unless some draw meets all constraints."""
    from .draw import draw, feasible

    random, base = np.random.default_rng(space.seed), flat(recipe.plain())
    if not draw(space, base, random):
        raise UserError(
            f"no knob of this space counts for objective {recipe.pretrain.objective['name']!r} with the settings of "
            "this pipeline; use another space, or change the conditions (when) of its knobs"
        )
    if not any(feasible(space, recipe, draw(space, base, random)) for _ in range(DRAWS if space.constraints else 1)):
        said = " and ".join(space.constraints)
        raise UserError(f"none of {DRAWS} draws meets {said}; change the values or the constraints")


def meets(space: Space, recipe: Recipe) -> bool:
    """Whether a recipe meets the constraints of the space."""
    values = flat(recipe.plain())
    return all(constraints.holds(text, values) for text in space.constraints)
