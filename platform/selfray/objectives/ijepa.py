"""I-JEPA: from a context block, the features of other blocks (Assran et al. 2023, arXiv:2301.08243)."""

from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn.functional import interpolate, layer_norm, smooth_l1_loss

from ..bounds import Fraction, Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.masks import chosen, most_in_a_box, random_boxes, random_order
from ..parts.momentum import Momentum
from ..parts.positions import sincos
from ..parts.precision import full_precision
from ..parts.schedules import linear_rise
from ..parts.transformer import Transformer
from ..views.random import OBJECTIVE
from .objective import Objective

Share = Annotated[float, Gt(0), Le(1)]


class IJEPA(Objective):
    """A predictor with mask tokens at the places of a block meets what a slow copy of the encoder makes of it.

    Blocks are drawn for each sample by itself: area and aspect ratio independently, and any place in the picture.
    The paper's code draws one size for the whole batch and cuts contexts to the shortest; here shorter ones are filled
    up with positions that attention does not see. The slow copy sees the whole input.

    Args:
        targets: Blocks to predict; 4 in the paper.
        target_scale: Smallest and largest share of the positions in a target block.
        target_ratio: Smallest and largest height / width of a target block.
        context_scale: The same share for the context block, whose positions in targets are taken out.
        context_limit: Largest share of the positions that the context may keep; surplus ones are dropped at random.
        width: Width of the predictor; 384 in the paper.
        layers: Layers of the predictor; 6 for ViT-B in the paper, 12 for larger ones.
        distance: `smooth_l1`, as in the paper's code, or `l2`, as in its text.
        momentum: Share of its old weights that the slow copy keeps at the first step.
        momentum_end: The same at the last step; linear in between.
    """

    views = "single"
    positions: Tensor

    def __init__(
        self,
        encoder: Encoder,
        targets: PositiveInt = 4,
        target_scale: tuple[Share, Share] = (0.15, 0.2),
        target_ratio: tuple[Positive, Positive] = (0.75, 1.5),
        context_scale: tuple[Share, Share] = (0.85, 1.0),
        context_limit: Share = 0.6,
        width: PositiveInt = 384,
        layers: PositiveInt = 6,
        distance: Literal["smooth_l1", "l2"] = "smooth_l1",
        momentum: Fraction = 0.996,
        momentum_end: Fraction = 1.0,
    ):
        super().__init__(encoder)
        encoder.needs_keep("ijepa")
        self.targets, self.target_scale, self.target_ratio = targets, target_scale, target_ratio
        self.context_scale, self.distance = context_scale, distance
        self.momentum, self.momentum_end = momentum, momentum_end
        self.register_buffer("positions", sincos(encoder.grid, width), persistent=False)
        self.most_kept = max(1, round(context_limit * len(self.positions)))
        self.most_targets = most_in_a_box(encoder.grid, target_scale[1], target_ratio)
        self.target_encoder = Momentum(encoder)
        self.enter = nn.Linear(encoder.width, width)
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.predictor = Transformer(width, layers)
        self.leave = nn.Linear(width, encoder.width)

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The distance averaged over the positions of each block, then over blocks and samples."""
        keep, kept, wanted, real = self.blocks(keys)
        target = self.target_encoder(images)[:, self.encoder.extra :]
        goal = normalised(target.gather(1, _rows(wanted.flatten(1), target.shape[2]))).unflatten(1, wanted.shape[1:])
        context = self.encoder(images, mask=~kept, keep=keep)[:, self.encoder.extra :]
        predicted = self._predicted(context, keep, kept, wanted, real)
        return block_distance(predicted, goal, real, self.distance), {
            "context_share": kept.sum(1).float().mean() / len(self.positions),
            "target_std": normalised(target.detach()).flatten(0, 1).std(0).mean(),
        }

    def blocks(self, keys: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Positions of the context and of the targets.

        Returns:
            keep: int64, (batch, most_kept), and kept: bool, which of them are real.
            wanted: int64, (batch, targets, most_targets), and real: bool, which of them are real.
        """
        grid, count = self.encoder.grid, self.targets
        targets = random_boxes(keys, OBJECTIVE, count, grid, self.target_scale, self.target_ratio).flatten(2)
        block = random_boxes(keys, OBJECTIVE + 1, 1, grid, self.context_scale, (1.0, 1.0)).flatten(1)
        order = random_order(keys, OBJECTIVE + 2, len(self.positions))
        keep, kept = chosen(block & ~targets.any(1), self.most_kept, order)
        wanted, real = chosen(targets.flatten(0, 1), self.most_targets)
        return keep, kept, wanted.unflatten(0, (-1, count)), real.unflatten(0, (-1, count))

    def _predicted(self, context: Tensor, keep: Tensor, kept: Tensor, wanted: Tensor, real: Tensor) -> Tensor:
        """(batch, targets, most_targets, encoder width): every block from the context alone."""
        batch, count, longest = wanted.shape
        seen = self.enter(context) + self.positions[keep]
        asked = (self.mask_token + self.positions[wanted]).flatten(0, 1)
        tokens = torch.cat([seen.repeat_interleave(count, 0), asked.to(seen.dtype)], dim=1)
        hidden = ~torch.cat([kept.repeat_interleave(count, 0), real.flatten(0, 1)], dim=1)
        answered = self.predictor(tokens, hidden)[:, -longest:]
        predicted: Tensor = self.leave(answered).unflatten(0, (batch, count))
        return predicted

    def after_step(self, progress: float) -> None:
        """Move the slow copy."""
        self.target_encoder.follow(self.encoder, linear_rise(self.momentum, self.momentum_end, 1.0, progress))

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """The context, and the first target block, of inputs with two sides."""
        if len(self.encoder.grid) != 2:
            return {}
        keep, kept, wanted, real = self.blocks(views["keys"])
        shown = {"context": (keep, kept), "first target": (wanted[:, 0], real[:, 0])}
        return {name: _lit(views["images"], *numbers, self.encoder.grid) for name, numbers in shown.items()}


def _rows(numbers: Tensor, width: int) -> Tensor:
    return numbers[..., None].expand(-1, -1, width)


def _lit(images: Tensor, numbers: Tensor, real: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Images that are dark except at some positions of the grid."""
    light = torch.zeros(len(images), grid[0] * grid[1], device=images.device).scatter(1, numbers, real.float())
    light = light.unflatten(1, grid)[:, None]
    return images * (0.2 + 0.8 * interpolate(light, images.shape[2:], mode="nearest"))


@full_precision
def normalised(features: Tensor) -> Tensor:
    """Every feature vector at mean 0 and deviation 1."""
    return layer_norm(features, features.shape[-1:])


@full_precision
def block_distance(predicted: Tensor, goal: Tensor, real: Tensor, distance: str) -> Tensor:
    """The distance averaged over width and the real positions of a block, then over all blocks.

    Args:
        predicted, goal: (batch, targets, positions, width).
        real: bool, (batch, targets, positions).
        distance: `smooth_l1` (with its bend at 1) or `l2`.
    """
    goal = goal.detach()
    errors = (
        smooth_l1_loss(predicted, goal, reduction="none") if distance == "smooth_l1" else (predicted - goal).square()
    )
    weights = real / real.sum(2, keepdim=True)
    return (errors.mean(3) * weights).sum(2).mean()
