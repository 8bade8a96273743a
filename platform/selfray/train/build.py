"""From a recipe and a manifest to the modules of a run; the same on every worker."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import encoders, objectives
from .. import views as view_families
from ..corpus.manifest import Manifest
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..objectives.objective import Objective
from ..recipe import Part, Pretrain
from ..views.views import Views
from . import start


def views(settings: Pretrain, facts: Mapping[str, Any] | None = None) -> Views:
    """The views of the recipe's data type, which is its encoder's; `facts` are those of the corpus's manifest."""
    made = view_families.find(encoders.find(settings.encoder["name"]).kind)(**settings.views)
    made.use(dict(facts or {}))
    return made


def encoder(part: Part, manifest: Manifest, size: tuple[int, ...]) -> Encoder:
    """A freshly initialised encoder that normalises by the corpus's statistics."""
    options = dict(part)
    kind = encoders.find(options.pop("name"))
    if kind.kind != manifest.kind:
        raise UserError(
            f"encoder {part['name']!r} reads {kind.kind}, but corpus {manifest.name!r} holds {manifest.kind}"
        )
    built = kind(input_channels(manifest), size, **options)
    built.facts = dict(manifest.facts)
    built.set_statistics(manifest.mean, manifest.std)
    return built


def input_channels(manifest: Manifest) -> int:
    """Channels of a sample; of text, words of the vocabulary."""
    return int(manifest.facts.get("vocabulary", manifest.channels))


def view_size(settings: Pretrain, manifest: Manifest) -> tuple[int, ...]:
    """The size of what the encoder sees: of images height and width in pixels, else the length."""
    return views(settings, manifest.facts).input_size(manifest.shape)


def objective(settings: Pretrain, manifest: Manifest, seed: int, begin: Path | None = None) -> Objective:
    """The objective of a recipe, freshly initialised from the seed, its encoder with the weights in a folder if given.

    The weights come first, so that the copies of the encoder that some objectives make begin with them too.
    """
    torch.manual_seed(seed)
    options = dict(settings.objective)
    kind = objectives.find(options.pop("name"))
    views(settings, manifest.facts).check(kind.views)
    made = encoder(settings.encoder, manifest, view_size(settings, manifest))
    if begin is not None:
        start.fill(made, begin, manifest)
    return kind(made, **options)


def asks_for_ids(objective: Objective) -> bool:
    """Whether the loss takes the samples' numbers in the corpus."""
    return "ids" in inspect.signature(objective.loss).parameters


class Step(nn.Module):
    """Views and loss as one module, so that they are compiled together and wrapped once."""

    def __init__(self, objective: Objective, views: Views):
        super().__init__()
        self.objective, self.views = objective, views
        self.with_ids = asks_for_ids(objective)

    def forward(self, samples: Tensor, keys: Tensor, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch of raw samples."""
        with torch.no_grad(), torch.autocast(samples.device.type, enabled=False):
            seen = self.views.make(self.objective.views, samples, keys)
        if self.with_ids:
            seen["ids"] = ids
        result: tuple[Tensor, dict[str, Tensor]] = self.objective(seen)
        return result
