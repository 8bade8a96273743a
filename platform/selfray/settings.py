"""The keys of a pipeline file: a model a stage, with types, bounds, defaults and what each key is for."""

from typing import Annotated, Any, Literal

from annotated_types import Le
from pydantic import BaseModel, ConfigDict, Field, Strict, field_validator, model_validator

from . import gate as conditions
from .bounds import Fraction, NonNegativeInt, Positive, PositiveInt, Share

STAGES = ("corpus", "pretrain", "evaluate", "gate", "register", "embed", "notify")
"""In the order in which they run."""
SCHEMES = ("file", "s3", "gs")
"""Of addresses of data, as in storage.py, whose import costs more than reading a recipe."""
StageName = Literal["corpus", "pretrain", "evaluate", "gate", "register", "embed", "notify"]

Part = dict[str, Any]
"""A thing chosen by name with its settings: {name: simclr, temperature: 0.2}."""


class Stage(BaseModel):
    """What all stages have in common: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


def _allowed(place: str | None) -> None:
    """Raise a ValueError unless a place is a path or an address of a kind that is read here."""
    scheme, separator, _ = (place or "").partition("://")
    if separator and scheme not in SCHEMES:
        raise ValueError(f"{place} cannot be read; give a path or one of {', '.join(SCHEMES)}://")


class Corpus(Stage):
    """Where samples come from; give exactly one of fetch, path, mix and source."""

    fetch: str | None = Field(None, description="A known open corpus, brought and prepared: `selfray list corpora`.")
    path: str | None = Field(None, description="A corpus prepared earlier.")
    mix: dict[str, Positive] | None = Field(None, description="Prepared corpora and the weight of each in a batch.")
    source: str | None = Field(None, description="Raw data, prepared by the run, again when its files change.")
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
        for place in (self.path, self.source, *(self.mix or ())):
            _allowed(place)
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
    start_from: str | None = Field(None, description="Encoder to begin with: champion, models:/name@alias, a folder.")
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
        if self.batch % self.lanes:
            raise ValueError(f"batch {self.batch} is not a multiple of lanes {self.lanes}; change one of them")
        if self.workers > self.lanes:
            more = f"set lanes to {self.workers} or more"
            raise ValueError(f"workers {self.workers} are more than lanes {self.lanes}; {more}")
        if ":/" in (self.start_from or "") and not str(self.start_from).startswith("models:/"):
            raise ValueError(f"start_from {self.start_from}: give champion, models:/name@alias or a folder")
        return self


class Evaluate(Stage):
    """What is measured on the trained encoder, beside the same encoder untrained and raw samples."""

    probes: dict[str, Part] = Field({"knn": {}, "linear": {}}, description="`selfray list probes`.")
    corpus: str | None = Field(None, description="A labelled corpus other than the pretraining one.")
    max_samples: PositiveInt = Field(60_000, description="Labelled samples used for fitting probes at most.")
    labels: Annotated[PositiveInt, Strict()] | Share | None = Field(
        None, description="Fit probes on this share of each class's labels (0.01), or on so many of each (10); all."
    )
    label_shares: list[Annotated[Positive, Le(1)]] = Field(
        [], description="Fit probes of labels on these shares of them too (0.01, 0.1, 1): a curve."
    )

    @field_validator("corpus")
    @classmethod
    def _read(cls, place: str | None) -> str | None:
        _allowed(place)
        return place


class Gate(Stage):
    """Conditions that a candidate must meet to be registered and promoted."""

    require: list[str] = Field(min_length=1, description='Such as "knn >= 0.9" or "linear >= champion - 0.005".')

    @field_validator("require")
    @classmethod
    def _readable(cls, texts: list[str]) -> list[str]:
        for text in texts:
            conditions.parse(text)
        return texts


class Register(Stage):
    """The model registry."""

    model: str | None = Field(None, description="Name in the registry; the pipeline's name if left out.")
    alias: str = Field("candidate", description="Alias that the new version gets.")
    champion: str | None = Field("champion", description="Alias that it gets too if it passed the gate; none: never.")


class Embed(Stage):
    """Embeddings of a whole corpus as Parquet."""

    corpus: str | None = Field(None, description="The corpus; the pretraining one if left out.")
    out: str | None = Field(None, description="Where to; embeddings/ in the run's folder if left out.")
    index: bool = Field(False, description="Make an index too, for `selfray neighbors`; needs the extra index.")

    @field_validator("corpus")
    @classmethod
    def _read(cls, place: str | None) -> str | None:
        _allowed(place)
        return place


class Webhook(Stage):
    """An address that gets the summary as JSON by HTTP POST."""

    url: str = Field(description="http:// or https://; ${oc.env:NAME} where the address itself is a secret.")
    token: str | None = Field(None, description="Bearer token, always as ${oc.env:NAME}.")


class Email(Stage):
    """An SMTP server that sends the summary."""

    to: list[str] = Field(min_length=1, description="Addresses.")
    sender: str = Field(description="Address that it comes from.")
    host: str = Field(description="The SMTP server.")
    port: PositiveInt = Field(587, description="Its port.")
    security: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection is protected.")
    user: str | None = Field(None, description="Name to log in with.")
    password: str | None = Field(None, description="Its password, always as ${oc.env:NAME}.")


class Notify(Stage):
    """Who is told how a run ended; values keep `${oc.env:NAME}` until they are used."""

    when: list[Literal["done", "refused", "failed"]] = Field(
        ["done", "refused", "failed"], description="Which ends are told."
    )
    webhook: Webhook | None = Field(None, description="Where to post JSON.")
    email: Email | None = Field(None, description="Whom to write.")

    @model_validator(mode="after")
    def _secret(self) -> "Notify":
        if self.webhook is None and self.email is None:
            raise ValueError("give webhook, email or both")
        secrets = {
            "webhook.token": self.webhook.token if self.webhook else None,
            "email.password": self.email.password if self.email else None,
        }
        for key, value in secrets.items():
            if value is not None and not (value.startswith("${oc.env:") and value.endswith("}")):
                raise ValueError(f"{key} must come from the environment: write ${{oc.env:NAME}}")
        url = self.webhook.url if self.webhook else "${"
        if not url.startswith(("http://", "https://", "${")):
            raise ValueError("webhook.url must begin with http:// or https://")
        return self


class Schedule(Stage):
    """When the pipeline runs by itself: `selfray schedule`."""

    cron: str = Field(description='Minute, hour, day of the month, month, day of the week: "30 2 * * *".')
    timezone: str = Field("UTC", description="Whose clock the expression is read on, such as Europe/Berlin.")
    missed: Literal["skip", "latest", "all"] = Field(
        "latest", description="Which of the dates are made up for that passed while nothing ran."
    )
    late_minutes: Positive = Field(60.0, description="How late a run may begin before its date counts as missed.")
    leases: str | None = Field(None, description="Where schedulers agree: a folder or s3://; the folder of the runs.")

    @model_validator(mode="after")
    def _understood(self) -> "Schedule":
        from .schedule.cron import Cron

        Cron(self.cron, self.timezone)
        return self


class Attempts(Stage):
    """How often and how long a stage tries."""

    retries: NonNegativeInt = Field(3, description="Further attempts after a temporary failure.")
    backoff_seconds: Positive = Field(10.0, description="Wait before the first of them; doubled each time.")
    minutes: Positive | None = Field(None, description="Longest duration of all attempts together.")


class Recipe(Stage):
    """A pipeline: stages in the order in which they run."""

    name: str = Field(pattern=r"^[\w][\w.-]*$", description="Name of the run and its folder.")
    seed: NonNegativeInt = Field(0, description="Fixes the order, the views and the initial weights.")
    corpus: Corpus
    pretrain: Pretrain
    evaluate: Evaluate | None = None
    gate: Gate | None = None
    registry: Register | None = Field(None, alias="register")
    embed: Embed | None = None
    notify: Notify | None = None
    stages: dict[StageName, Attempts] = Field({}, description="Attempts and time limits, by the name of the stage.")
    schedule: Schedule | None = None

    @model_validator(mode="after")
    def _measured(self) -> "Recipe":
        if self.gate and self.evaluate is None:
            raise ValueError("a gate needs something to judge: add `evaluate: {}`")
        return self

    def to_yaml(self) -> str:
        """The resolved recipe, enough to repeat the run."""
        from omegaconf import OmegaConf

        return OmegaConf.to_yaml(OmegaConf.create(self.plain()))

    def plain(self) -> dict[str, Any]:
        """The resolved recipe as plain values, with the keys of the file."""
        return self.model_dump(by_alias=True)

    def asked(self) -> list[StageName]:
        """The stages of this pipeline, in order."""
        optional: dict[str, Stage | None] = {"evaluate": self.evaluate, "gate": self.gate, "register": self.registry}
        optional |= {"embed": self.embed, "notify": self.notify}
        return [name for name in STAGES if name not in optional or optional[name] is not None]  # type: ignore[misc]
