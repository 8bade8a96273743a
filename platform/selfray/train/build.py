"""From a recipe and a manifest to the modules of a run; the same on every worker."""

import inspect

import torch
from torch import Tensor, nn

from .. import encoders, objectives
from ..corpus.manifest import Manifest
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..objectives.objective import Objective
from ..recipe import Part, Pretrain
from ..views.image import ImageViews
from ..views.views import Views


def views(settings: Pretrain) -> Views:
    """The views of the recipe's data type."""
    return ImageViews(**settings.views)


def encoder(part: Part, manifest: Manifest, size: tuple[int, int]) -> Encoder:
    """A freshly initialised encoder that normalises by the corpus's statistics."""
    options = dict(part)
    kind = encoders.find(options.pop("name"))
    if kind.kind != manifest.kind:
        raise UserError(
            f"encoder {part['name']!r} reads {kind.kind}, but corpus {manifest.name!r} holds {manifest.kind}"
        )
    built = kind(manifest.channels, size, **options)
    built.set_statistics(manifest.mean, manifest.std)
    return built


def view_size(settings: Pretrain, manifest: Manifest) -> tuple[int, int]:
    """Height and width in pixels of what the encoder sees."""
    side = settings.views.get("size")
    return (side, side) if side else (manifest.shape[0], manifest.shape[1])


def objective(settings: Pretrain, manifest: Manifest, seed: int) -> Objective:
    """The objective of a recipe with its encoder, freshly initialised from the seed."""
    torch.manual_seed(seed)
    options = dict(settings.objective)
    kind = objectives.find(options.pop("name"))
    views(settings).check(kind.views)
    return kind(encoder(settings.encoder, manifest, view_size(settings, manifest)), **options)


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
