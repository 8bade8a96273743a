"""The encoder as a folder that needs neither selfray's cluster nor a pickle: safetensors, JSON and a model card."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from . import encoders
from .encoders.encoder import Encoder
from .errors import UserError

WEIGHTS, CONFIG, CARD = "encoder.safetensors", "encoder.json", "README.md"


def save(folder: Path, encoder: Encoder, config: dict[str, Any], card: str) -> Path:
    """Write an encoder; `config` must hold its name, settings, channels and size."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in encoder.state_dict().items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    written = {"format": 1, **config, "width": encoder.width, "weights_sha256": digest}
    (folder / CONFIG).write_text(json.dumps(written, indent=1), encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")
    return folder


def load(uri: str | Path) -> Encoder:
    """An encoder from a folder that a run exported, or from the registry (`models:/name/1`, `models:/name@alias`).

    It is a plain `nn.Module` in evaluation mode; `embed` maps images, uint8 (batch, height, width, channels) or
    float (batch, channels, height, width) in [0, 1], to (batch, width). Nothing is unpickled.

    Raises:
        UserError: there is no encoder, or its weights are not those that were exported.
    """
    folder = fetched(uri)
    config = read_config(folder)
    if hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() != config["weights_sha256"]:
        raise UserError(f"{folder / WEIGHTS} is damaged: its checksum is not the one in {CONFIG}")
    encoder = build(config)
    encoder.load_state_dict(load_file(folder / WEIGHTS))
    return encoder.eval()


def build(config: dict[str, Any]) -> Encoder:
    """The encoder that a config describes, untrained but with the corpus's statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.get("training", {}).get("seed", 0))
        built = encoders.find(config["name"])(config["channels"], tuple(config["size"]), **config["settings"])
    built.facts = dict(config.get("facts", {}))
    built.set_statistics(tuple(config["mean"]), tuple(config["std"]))
    return built.eval()


def read_config(folder: str | Path) -> dict[str, Any]:
    """The JSON beside the weights.

    Raises:
        UserError: the folder holds no encoder.
    """
    if not (Path(folder) / CONFIG).is_file():
        raise UserError(f"no encoder at {folder}: {CONFIG} is missing; a run leaves one in its folder encoder/")
    config: dict[str, Any] = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    return config


def fetched(uri: str | Path) -> Path:
    """The local folder of an encoder, downloaded if the URI is a registry's."""
    uri = str(uri)
    if re.match(r"(models|runs|mlflow-artifacts):/", uri):
        import mlflow

        from . import paths
        from .tracking import pointed_at, store

        with pointed_at(store(paths.runs())):
            folder = Path(mlflow.artifacts.download_artifacts(uri))
        return next((p.parent for p in sorted(folder.rglob(CONFIG))), folder)
    return Path(uri)


def model_card(config: dict[str, Any], results: dict[str, Any] | None, licence: str) -> str:
    """A model card: what it is, what it was trained on, what it can do, how to use it."""
    training = config["training"]
    lines = [
        f"# {training['run']}",
        "",
        f"A self-supervised {config['kind']} encoder: `{config['name']}` with {training['parameters']:,} parameters "
        f"and {config['output_width']} features, pretrained with `{training['objective']}` by selfray "
        f"{config['selfray']}.",
        "",
        "## Use",
        "",
        "```python",
        "import selfray",
        "",
        'encoder = selfray.load("this/folder")      # a torch.nn.Module in evaluation mode',
        *_use(config),
        "```",
        "",
        "## Training",
        "",
        f"- Corpus: {training['corpus']}, {training['rows']:,} unlabeled samples, fingerprint "
        f"`{training['fingerprint']}`",
        f"- Licence of the corpus: {licence or 'not stated'}",
        f"- {training['steps']:,} steps of {training['batch']} samples, seed {training['seed']}",
        f"- Inputs: {_inputs(config)}",
        "",
        "## Evaluation",
        "",
    ]
    if results and results["probes"]:
        lines += ["| probe | pretrained | untrained | raw |", "|---|---|---|---|"]
        lines += [
            f"| {r['probe']} ({r['metric']}) | {r['pretrained']:.3f} | {r['untrained']:.3f} | {r['raw']:.3f} |"
            for r in results["probes"]
        ]
        lines += ["", results["verdict"]]
    else:
        lines += ["Not evaluated."]
    return "\n".join(lines) + "\n"


def _use(config: dict[str, Any]) -> list[str]:
    """Lines of Python that make features."""
    width = config["output_width"]
    if config["kind"] == "text":
        return [
            'tokenize = selfray.tokenizer("this/folder")',
            f'features = encoder.embed(tokenize(["A sentence."]))  # (n, {width})',
        ]
    given = {
        "image": f"(images)           # uint8 (n, height, width, {config['channels']})",
        "audio": "(sounds)           # int16 (n, time)",
        "series": f"(series)           # float32 (n, time, {config['channels']})",
    }[config["kind"]]
    return [f"features = encoder.embed{given} -> (n, {width})"]


def _inputs(config: dict[str, Any]) -> str:
    """What the encoder was trained on, in words."""
    size, channels = config["size"], config["channels"]
    if config["kind"] == "image":
        return f"{size[0]} x {size[1]} pixels, {channels} channels; normalised inside the encoder"
    if config["kind"] == "text":
        return f"{size[0]} tokens of a vocabulary of {channels:,}"
    return f"{size[0]} steps, {channels} channels"
