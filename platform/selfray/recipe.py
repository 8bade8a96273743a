"""A pipeline file: load it, override it, check it against signatures, resolve every default, save it."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import gate, paths, signature
from .discovery import nearest
from .errors import RecipeError, UserError
from .settings import Checkpoints, Evaluate, Part, Pretrain, Recipe, Stage

__all__ = ["HARMLESS", "Checkpoints", "Part", "Pretrain", "Recipe", "Stage"]

HARMLESS = (
    *("workers", "min_workers", "gpu", "threads", "cpus_per_worker", "max_failures"),
    *("log_every", "health_every", "trace", "stall_seconds", "checkpoint"),
)
"""Settings of `pretrain` that may change between a run and its continuation."""


def shipped() -> dict[str, Any]:
    """Name -> file of every pipeline that comes with selfray, such as `image/simclr`."""
    root = Path(str(paths.shipped("pipelines")))
    return {p.relative_to(root).with_suffix("").as_posix(): p for p in sorted(root.rglob("*.yaml"))}


def locate(name: str | Path) -> Path:
    """The file of a pipeline given as a path or as the name of a shipped one."""
    if Path(name).is_file():
        return Path(name)
    known = shipped()
    plain = str(name).removeprefix("pipelines/").removesuffix(".yaml")
    if plain in known:
        return Path(known[plain])
    raise UserError(f"no pipeline file {name}{nearest(plain, list(known))}; shipped are {', '.join(known)}")


def load(name: str | Path, overrides: Sequence[str] = (), date: str | None = None) -> Recipe:
    """Read a pipeline file, apply `key=value` overrides, check everything and fill in every default.

    A key may leave out its `pretrain.`: `objective.temperature=0.2`, `workers=8`. `${date:}` becomes the logical date,
    today in UTC if none is given. Values below `notify` keep their `${oc.env:NAME}`, for they may be secrets.

    Raises:
        RecipeError: with every mistake of the file at once.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    file = locate(name)
    try:
        loaded = OmegaConf.load(file)
        if not OmegaConf.is_dict(loaded):
            raise UserError(f"{file} is not a mapping of stages; see `selfray show quickstart` for an example")
        changes = OmegaConf.from_dotlist([_full(o) for o in overrides])
        merged: Any = OmegaConf.merge({"name": file.stem}, _without_replaced(loaded, changes), changes)
        _only_known_resolvers(_plain(merged, resolve=False), str(file))
        OmegaConf.register_resolver("date", _dated(date), replace=True)
        told = {key: value for key, value in _plain(merged, resolve=False).items() if key == "notify"}
        plain = _plain(OmegaConf.masked_copy(merged, [key for key in merged if key not in told]), resolve=True) | told
    except (YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    return parse(plain, str(file))


RESOLVERS = ("oc.env", "date")


def _plain(config: Any, resolve: bool) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(config, resolve=resolve)
    return dict(plain)


def _only_known_resolvers(values: Any, source: str) -> None:
    """Raise a UserError where a value asks for more than an environment variable, the date, or another key."""
    for key, value in flat(values).items():
        for texts in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            for name in re.findall(r"\$\{\s*([^${}:]+?)\s*:", str(texts)):
                if name not in RESOLVERS:
                    known = " and ".join(f"${{{known}:...}}" for known in RESOLVERS)
                    raise UserError(f"{source}: {key}: there is no ${{{name}:...}}; values know {known}")


def _dated(date: str | None) -> Any:
    """What `${date:}` and `${date:%Y/%m}` become."""
    from .schedule.cron import logical

    moment = logical(date) if date else datetime.now(UTC)

    def resolve(pattern: str = "") -> str:
        return moment.strftime(pattern) if pattern else date or moment.date().isoformat()

    return resolve


def _without_replaced(loaded: Any, changes: Any) -> Any:
    """The file without the settings of parts that an override replaces by another name: they were the old one's."""
    before, after = loaded.get("pretrain") or {}, changes.get("pretrain") or {}
    for key in _finders():
        old, new = (part.get(key) or {} for part in (before, after))
        if "name" in new and new["name"] != old.get("name", "adamw" if key == "optimizer" else None):
            before[key] = {}
    return loaded


def _full(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        raise UserError(f"override {override!r} is not of the form key=value")
    first = key.split(".")[0]
    if first not in Recipe.model_fields and first in Pretrain.model_fields:
        key = f"pretrain.{key}"
    return f"{key}={value}"


def parse(plain: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """Check plain values as `load` does."""
    settings, found = signature.validate(Recipe, plain, "")
    parts = plain.get("pretrain") if isinstance(plain.get("pretrain"), dict) else {}
    resolved: dict[str, Any] = {}
    for key, find in _finders().items():
        part = (parts or {}).get(key)
        if key == "optimizer" and isinstance(part, dict | None):
            part = {"name": "adamw", **(part or {})}
        if isinstance(part, dict):
            resolved[key], wrong = _part(find, part, f"pretrain.{key}")
            found += wrong
    family = _views((parts or {}).get("encoder"))
    if isinstance((parts or {}).get("views", {}), dict):
        resolved["views"], wrong = signature.check(family, (parts or {}).get("views", {}), "pretrain.views")
        found += wrong
    evaluate = plain.get("evaluate")
    probes = evaluate.get("probes", {"knn": {}, "linear": {}}) if isinstance(evaluate, dict) else {}
    resolved_probes, wrong = _probes(probes, "evaluate.")
    found += wrong
    if settings and settings["gate"]:
        from .evaluation.compare import MEANINGS

        found += gate.problems(settings["gate"]["require"], list(resolved_probes), list(MEANINGS))
    if found:
        raise RecipeError(source, found)
    settings["pretrain"].update(resolved)
    if settings["evaluate"]:
        settings["evaluate"]["probes"] = resolved_probes
    return Recipe.model_validate(settings)


def evaluation(overrides: Sequence[str]) -> Evaluate:
    """The settings of an evaluation by itself, of `key=value` with or without `evaluate.`; no probes if none is named.

    Raises:
        RecipeError: with every mistake at once.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        told = OmegaConf.from_dotlist([_full(override).removeprefix("evaluate.") for override in overrides])
        plain = {"probes": {}, **_plain(told, resolve=False)}
    except (YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"the settings cannot be read: {' '.join(str(error).split())}") from None
    settings, found = signature.validate(Evaluate, plain, "")
    probes, wrong = _probes(plain["probes"], "")
    if plain.get("corpus"):
        wrong.append("corpus: the corpus is an argument of its own here")
    if found or wrong:
        raise RecipeError("the evaluation", [*found, *wrong])
    return Evaluate.model_validate({**settings, "probes": probes})


def _probes(probes: Any, prefix: str) -> tuple[dict[str, Any], list[str]]:
    """Probes with every default, and what is wrong with them."""
    resolved, found = dict[str, Any](), list[str]()
    for name, part in probes.items() if isinstance(probes, dict) else ():
        if not isinstance(part, dict | None):
            continue  # the stage's own check has said so
        resolved[name], wrong = _part(_probe, {"name": name, **(part or {})}, f"{prefix}probes.{name}")
        resolved[name].pop("name", None)
        found += wrong
    return resolved, found


def _finders() -> dict[str, Any]:
    from . import encoders, objectives
    from .train import optimizers

    return {"objective": objectives.find, "encoder": encoders.find, "optimizer": optimizers.find}


def _views(encoder: Any) -> type:
    """The views of the data type that an encoder reads; of images if there is no such encoder (said elsewhere)."""
    from . import encoders, views

    try:
        return views.find(encoders.find(encoder["name"]).kind)
    except (UserError, KeyError, TypeError):
        return views.find("image")


def _probe(name: str) -> type:
    from . import probes

    return probes.find(name)


def _part(find: Any, part: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[str]]:
    rest = dict(part)
    name = rest.pop("name", None)
    if not isinstance(name, str):
        return {}, [f"{path}.name: is required"]
    try:
        settings, wrong = signature.check(find(name), rest, path)
    except UserError as error:
        return {}, [f"{path}.name: {error}"]
    return {"name": name, **settings}, wrong


def differences(old: Recipe, new: Recipe) -> list[str]:
    """What makes a run with `new` another run than with `old`, one line each; harmless settings are left out."""
    before, after = flat(old.plain()), flat(new.plain())
    harmless = tuple(f"pretrain.{key}" for key in HARMLESS)
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
        and not key.startswith(harmless)
        and key.split(".")[0] in ("seed", "corpus", "pretrain")
    ]


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted keys."""
    if isinstance(value, dict) and value:
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{prefix}.{key}".strip(".")).items()}
    return {prefix: value}
