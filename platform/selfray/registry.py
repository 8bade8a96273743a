"""The model registry of MLflow: versions with their lineage, the champion, promotion and the way back.

A version is an encoder that passed its run's gate, or of a run without one. Aliases say what it is used for:
`candidate`, and `champion` for what is in use. A version remembers in its tags which one was champion before it.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import Temporary, UserError
from .tracking import pointed_at, quiet

FORMER, WEIGHTS, MEASURED = "selfray.former", "selfray.weights", "selfray.measured"
AWAY = ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")


@dataclass(frozen=True)
class Version:
    """A version of a model in the registry."""

    model: str
    version: str
    aliases: tuple[str, ...]
    created: str
    run_id: str
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        """Its address for `selfray.load`."""
        return f"models:/{self.model}/{self.version}"

    def measured(self) -> dict[str, Any]:
        """What was measured on it: `corpus` (fingerprint), `evaluate` (settings) and `metrics`; empty if not known."""
        found: dict[str, Any] = json.loads(self.tags.get(MEASURED, "{}"))
        return found


class Registry:
    """The registry of one tracking server or database."""

    def __init__(self, uri: str):
        from mlflow import MlflowClient

        quiet()
        self.uri = uri
        with reaching(uri):
            self.client = MlflowClient(uri, uri)

    def models(self) -> list[str]:
        """Names of all models."""
        with reaching(self.uri):
            return sorted(found.name for found in self.client.search_registered_models())

    def versions(self, model: str) -> list[Version]:
        """All versions of a model, the newest first.

        Raises:
            UserError: there is no such model.
        """
        from mlflow.exceptions import MlflowException

        from .discovery import nearest

        with reaching(self.uri):
            try:
                aliases = self.client.get_registered_model(model).aliases
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                known = self.models()
                listed = f"there are {', '.join(known)}" if known else "none is registered yet"
                raise UserError(f"no model {model!r} in {self.uri}{nearest(model, known)}; {listed}") from None
            found = self.client.search_model_versions(f"name='{model}'")
        return [_version(model, one, aliases) for one in sorted(found, key=lambda one: int(one.version), reverse=True)]

    def version(self, model: str, which: str) -> Version:
        """A version by its number or by an alias.

        Raises:
            UserError: there is none.
        """
        versions = self.versions(model)
        for one in versions:
            if which in (one.version, *one.aliases):
                return one
        known = [" ".join([one.version, *(f"({alias})" for alias in one.aliases)]) for one in versions]
        raise UserError(f"model {model!r} has no version {which!r}; it has {', '.join(known) or 'none'}")

    def by_alias(self, model: str, alias: str) -> Version | None:
        """The version with an alias; None if there is none, or no such model."""
        if model not in self.models():
            return None
        return next((one for one in self.versions(model) if alias in one.aliases), None)

    def promote(self, model: str, which: str, alias: str = "champion") -> Version:
        """Give a version an alias and note in its tags which one had it before; returns that version.

        Raises:
            UserError: there is no such version.
        """
        wanted, former = self.version(model, which), self.by_alias(model, alias)
        if former and former.version == wanted.version:
            return wanted
        with reaching(self.uri):
            # In this order a failure in between leaves the alias where it was, and repeating it does the rest
            self.client.set_model_version_tag(model, wanted.version, FORMER, former.version if former else "")
            self.client.set_model_version_tag(model, wanted.version, "selfray.promoted", _now())
            self.client.set_registered_model_alias(model, alias, wanted.version)
        return self.version(model, wanted.version)

    def rollback(self, model: str, alias: str = "champion") -> tuple[Version, Version]:
        """Give the alias back to the version that had it before; returns that one and the one that loses it.

        Raises:
            UserError: there is no champion, or none before it.
        """
        present = self.by_alias(model, alias)
        if present is None:
            raise UserError(f"model {model!r} has no {alias}; promote a version: selfray model promote {model} VERSION")
        former = present.tags.get(FORMER, "")
        if not former:
            raise UserError(
                f"version {present.version} of {model!r} is the first {alias}, so there is none to go back to; "
                f"choose one: selfray model promote {model} VERSION"
            )
        self.version(model, former)
        with reaching(self.uri):
            self.client.set_model_version_tag(model, present.version, "selfray.rolled_back", _now())
            self.client.set_registered_model_alias(model, alias, former)
        return self.version(model, former), self.version(model, present.version)

    def fetch(self, uri: str, folder: Path) -> Path:
        """Copy the encoder of `models:/name/1` or `models:/name@alias` into a folder.

        Raises:
            UserError: there is none.
        """
        import mlflow

        from .export import CONFIG

        name, _, which = uri.removeprefix("models:/").partition("@" if "@" in uri else "/")
        found = self.version(name, which)
        with reaching(self.uri), tempfile.TemporaryDirectory() as aside:
            source = self.client.get_model_version_download_uri(name, found.version)
            mlflow.artifacts.download_artifacts(source, dst_path=aside, tracking_uri=self.uri)
            config = next(iter(sorted(Path(aside).rglob(CONFIG))), None)
            if config is None:
                raise UserError(f"{uri} holds no encoder of selfray: {CONFIG} is missing")
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(config.parent, folder)
        return folder


def register(
    run: Path,
    encoder: Path,
    model: str,
    alias: str,
    results: Mapping[str, Any] | None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Log an exported encoder with the run and give it a version and an alias in the registry; returns its URI.

    The version holds a torch.export program for serving and, beside it, the folder that `selfray.load` reads; no
    file of it is a pickle. Repeated after a failure, it goes on with the version that it had made.
    """
    from .export import read_config

    noted, config = json.loads((run / "mlflow.json").read_text()), read_config(encoder)
    training, weights = config["training"], config["weights_sha256"]
    registry = Registry(noted["tracking_uri"])
    said = {f"selfray.{key}": str(training[key]) for key in ("objective", "corpus", "fingerprint", "steps", "seed")}
    said |= {f"selfray.{row['probe']}": f"{row['pretrained']:.4f}" for row in (results or {}).get("probes", [])}
    said |= {WEIGHTS: weights, "selfray.version": config["selfray"], **(tags or {})}
    earlier = registry.versions(model) if model in registry.models() else []
    version = next((v.version for v in earlier if v.run_id == noted["run_id"] and v.tags.get(WEIGHTS) == weights), "")
    with reaching(registry.uri):
        client = registry.client
        if not version:
            version = _add(registry, noted["run_id"], model, encoder, config, said)
        for key, value in said.items():
            client.set_model_version_tag(model, version, key, value)
        client.update_model_version(model, version, description=(encoder / "README.md").read_text(encoding="utf-8"))
        client.set_registered_model_alias(model, alias, version)
    return f"models:/{model}/{version}"


def _add(
    registry: Registry, run_id: str, model: str, encoder: Path, config: Mapping[str, Any], tags: Mapping[str, str]
) -> str:
    """A new version with what it needs to be found again."""
    import mlflow
    import torch
    from mlflow.models import infer_signature

    from .export import load

    module, example = load(encoder), _example(config)
    with torch.inference_mode():
        output = module.embed(torch.from_numpy(example)).numpy()
    with pointed_at(registry.uri):
        with mlflow.start_run(run_id):
            info = mlflow.pytorch.log_model(
                _Embedding(module).eval(),
                name="encoder",
                input_example=example,
                signature=infer_signature(example, output),
                extra_files=[str(f) for f in sorted(encoder.iterdir())],
                pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", "selfray"],
                serialization_format="pt2",
            )
        with suppress(mlflow.MlflowException):  # it exists already
            registry.client.create_registered_model(model)
        made = registry.client.create_model_version(
            model, info.model_uri, run_id=run_id, model_id=info.model_id, tags=dict(tags)
        )
    return str(made.version)


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Say of a server that is away that it is; everything else is raised as it is."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import ConnectionError as Unconnected
    from requests.exceptions import Timeout

    try:
        yield
    except (Unconnected, Timeout, ConnectionError) as error:
        raise Temporary(f"MLflow at {uri} cannot be reached ({type(error).__name__})") from error
    except MlflowException as error:
        lost = "API request" in str(error) and "failed" in str(error) and error.error_code == "INTERNAL_ERROR"
        if error.error_code in AWAY or lost:
            raise Temporary(f"MLflow at {uri} cannot be reached ({error.error_code})") from error
        raise


def _version(model: str, found: Any, aliases: Mapping[str, str]) -> Version:
    return Version(
        model=model,
        version=str(found.version),
        aliases=tuple(sorted(alias for alias, version in aliases.items() if str(version) == str(found.version))),
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        run_id=found.run_id or "",
        tags=dict(found.tags),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _example(config: Mapping[str, Any]) -> Any:
    """Four inputs as the encoder takes them."""
    import numpy as np

    random, size = np.random.default_rng(0), tuple(config["size"])
    if config["kind"] == "text":
        return random.integers(config["channels"], size=(4, *size))
    shape = {"image": (config["channels"], *size), "series": (*size, config["channels"])}.get(config["kind"], size)
    return random.random((4, *shape), dtype=np.float32)


def _Embedding(encoder: Any) -> Any:  # noqa: N802
    """A module whose forward pass is the encoder's embedding of float images, for torch.export."""
    from torch import Tensor, nn

    class Embedding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, images: Tensor) -> Tensor:
            embedding: Tensor = self.encoder.embed(images)
            return embedding

    return Embedding()
