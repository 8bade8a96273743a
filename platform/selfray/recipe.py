"""A pipeline file: load it, override it, check it against signatures, resolve every default, save it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from . import paths, signature
from .bounds import Fraction, NonNegativeInt, Positive, PositiveInt
from .discovery import nearest
from .errors import RecipeError, UserError

Part = dict[str, Any]
"""A thing chosen by name with its settings: {name: simclr, temperature: 0.2}."""


class Stage(BaseModel):
    """What all stages have in common: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Corpus(Stage):
    """Where samples come from; give exactly one of fetch, path, mix and source."""

    fetch: str | None = Field(None, description="A known open corpus, brought and prepared: `selfray list corpora`.")
    path: str | None = Field(None, description="A corpus prepared earlier.")
    mix: dict[str, Positive] | None = Field(None, description="Prepared corpora and the weight of each in a batch.")
    source: str | None = Field(None, description="Raw data, prepared into corpora/<name> by the run.")
    kind: str | None = Field(None, description="The data type of a source that could be read as several.")
    prepare: dict[str, Any] = Field({}, description="Settings of the data type, `selfray show image`, and its reader.")
    holdout: Fraction = Field(0.0, description="Share of the source kept apart for evaluation.")
    duplicates: Literal["ignore", "report", "drop", "drop_near"] = Field(
        "report", description="Exact and near duplicates of a source: counted, or taken out."
    )
    max_bad_rate: Fraction = Field(0.01, description="Share of bad samples above which preparing fails.")

    @model_validator(mode="after")
    def _one(self) -> "Corpus":
        if sum(x is not None for x in (self.fetch, self.path, self.mix, self.source)) != 1:
            raise ValueError("give exactly one of fetch, path, mix and source")
        return self


class Checkpoints(Stage):
    """When the state of training is saved; always at the end too."""

    every_steps: PositiveInt | None = Field(None, description="Save after so many steps.")
    every_minutes: Positive = Field(5.0, description="Save when so many minutes have passed since the last time.")
    keep: PositiveInt = Field(2, description="How many of the newest to keep.")
    keep_every: PositiveInt | None = Field(None, description="Save and keep for ever every multiple of so many steps.")
    keep_best: str | None = Field(None, description="Keep the lowest of a number, train/loss; -name: the highest.")
    asynchronous: bool = Field(True, description="Write checkpoints while training goes on.")
    storage: str | None = Field(None, description="Where to: s3://bucket/prefix or a path; the run's folder.")


class Pretrain(Stage):
    """How the encoder learns."""

    objective: Part = Field(description="The method: `selfray list objectives`.")
    encoder: Part = Field(description="The network that is kept: `selfray list encoders`.")
    views: Part = Field(default_factory=dict, description="Settings of the data type's views: `selfray show views`.")
    optimizer: Part = Field(default_factory=dict, description="The optimizer, AdamW: `selfray list optimizers`.")
    batch: PositiveInt = Field(256, description="Samples of a step, over all workers.")
    epochs: Positive | None = Field(None, description="Passes over the corpus (or give steps).")
    max_samples: PositiveInt | None = Field(None, description="Samples of an epoch; all by default.")
    steps: PositiveInt | None = Field(None, description="Steps (or give epochs).")
    warmup: Fraction = Field(0.1, description="Share of the steps in which the learning rate rises linearly.")
    final_lr: Fraction = Field(0.0, description="What is left of the learning rate at the end of its cosine.")
    accumulate: PositiveInt = Field(1, description="Parts into which a worker cuts its batch to save memory.")
    clip: Positive | None = Field(None, description="Largest gradient norm; longer gradients are scaled down.")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where computed fast.")
    compile: Literal["auto"] | bool = Field("auto", description="torch.compile; auto: where the run is long enough.")
    workers: NonNegativeInt = Field(1, description="Ray Train workers; 0 trains in this process without Ray.")
    gpu: bool = Field(False, description="One GPU for each worker.")
    threads: PositiveInt | None = Field(None, description="Torch threads of a worker; its share of the cores.")
    cpus_per_worker: Positive | None = Field(None, description="CPUs that Ray reserves for a worker.")
    lanes: PositiveInt = Field(8, description="At least the number of workers to be used; fixes the order.")
    min_workers: PositiveInt | None = Field(None, description="Go on with so few when nodes are lost; all by default.")
    max_failures: NonNegativeInt = Field(3, description="How often lost workers are replaced.")
    log_every: PositiveInt = Field(20, description="Steps between two points of the learning curves.")
    health_every: PositiveInt = Field(50, description="Steps between two looks at the embeddings.")
    stall_seconds: Positive = Field(120.0, description="Give up when no data arrives for so long.")
    trace: bool = Field(False, description="Note in trace/ which samples every worker consumed in every step.")
    checkpoint: Checkpoints = Field(default_factory=Checkpoints, description="When to save.")  # type: ignore[arg-type]

    @model_validator(mode="after")
    def _length(self) -> "Pretrain":
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError("min_workers is more than workers")
        return self


class Evaluate(Stage):
    """What is measured on the trained encoder, beside the same encoder untrained and raw samples."""

    probes: dict[str, Part] = Field({"knn": {}, "linear": {}}, description="`selfray list probes`.")
    corpus: str | None = Field(None, description="A labelled corpus other than the pretraining one.")
    max_samples: PositiveInt = Field(60_000, description="Labelled samples used for fitting probes at most.")


class Register(Stage):
    """The model registry."""

    model: str | None = Field(None, description="Name in the registry; the pipeline's name if left out.")
    alias: str = Field("candidate", description="Alias that the new version gets.")


class Embed(Stage):
    """Embeddings of a whole corpus as Parquet."""

    corpus: str | None = Field(None, description="The corpus; the pretraining one if left out.")
    out: str | None = Field(None, description="Where to; embeddings/ in the run's folder if left out.")


class Recipe(Stage):
    """A pipeline: stages in the order in which they run."""

    name: str = Field(pattern=r"^[\w][\w.-]*$", description="Name of the run and its folder.")
    seed: NonNegativeInt = Field(0, description="Fixes the order, the views and the initial weights.")
    corpus: Corpus
    pretrain: Pretrain
    evaluate: Evaluate | None = None
    registry: Register | None = Field(None, alias="register")
    embed: Embed | None = None

    def to_yaml(self) -> str:
        """The resolved recipe, enough to repeat the run."""
        from omegaconf import OmegaConf

        return OmegaConf.to_yaml(OmegaConf.create(self.plain()))

    def plain(self) -> dict[str, Any]:
        """The resolved recipe as plain values, with the keys of the file."""
        return self.model_dump(by_alias=True)


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


def load(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a pipeline file, apply `key=value` overrides, check everything and fill in every default.

    A key may leave out its `pretrain.`: `objective.temperature=0.2`, `workers=8`.

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
        merged = OmegaConf.merge({"name": file.stem}, _without_replaced(loaded, changes), changes)
        plain: Any = OmegaConf.to_container(merged, resolve=True)
    except (YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    return parse(plain, str(file))


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
    resolved_probes: dict[str, Any] = {}
    probes = evaluate.get("probes", {"knn": {}, "linear": {}}) if isinstance(evaluate, dict) else {}
    for name, part in probes.items() if isinstance(probes, dict) else ():
        if not isinstance(part, dict | None):
            continue  # the stage's own check has said so
        resolved_probes[name], wrong = _part(_probe, {"name": name, **(part or {})}, f"evaluate.probes.{name}")
        resolved_probes[name].pop("name", None)
        found += wrong
    if found:
        raise RecipeError(source, found)
    settings["pretrain"].update(resolved)
    if settings["evaluate"]:
        settings["evaluate"]["probes"] = resolved_probes
    return Recipe.model_validate(settings)


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
