"""Optimizers by name: a function here is a name in a recipe, its keyword arguments are the settings."""

import sys
from collections.abc import Callable, Iterable
from inspect import getmembers, isfunction
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..bounds import Fraction, NonNegative, Positive
from ..discovery import nearest
from ..errors import UserError

Groups = list[dict[str, Any]]


def adamw(
    groups: Groups,
    lr: Positive = 1e-3,
    weight_decay: NonNegative = 0.05,
    betas: tuple[Fraction, Fraction] = (0.9, 0.999),
    eps: Positive = 1e-8,
) -> Optimizer:
    """Adam with decoupled weight decay (arXiv:1711.05101).

    Args:
        lr: Peak learning rate for the whole batch; nothing is scaled behind your back.
        weight_decay: For weights; biases and normalisation parameters are never decayed.
        betas: Decay of the first and second moment.
        eps: Added to the denominator.
    """
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps, fused=True)


def sgd(groups: Groups, lr: Positive = 0.03, weight_decay: NonNegative = 1e-4, momentum: Fraction = 0.9) -> Optimizer:
    """Stochastic gradient descent with momentum.

    Args:
        lr: Peak learning rate for the whole batch; MoCo uses 0.03 x batch / 256, SimSiam 0.05 x batch / 256.
        weight_decay: For weights; biases and normalisation parameters are never decayed.
        momentum: Share of the last update that is kept.
    """
    return torch.optim.SGD(groups, lr=lr, weight_decay=weight_decay, momentum=momentum, fused=True)


def lars(
    groups: Groups,
    lr: Positive = 4.8,
    weight_decay: NonNegative = 1e-6,
    momentum: Fraction = 0.9,
    trust: Positive = 1e-3,
) -> Optimizer:
    """Layer-wise adaptive rate scaling for very large batches (arXiv:1708.03888).

    Args:
        lr: Peak learning rate for the whole batch; SimCLR uses 0.3 x batch / 256.
        weight_decay: For weights; biases and normalisation parameters are neither decayed nor adapted.
        momentum: Share of the last update that is kept.
        trust: The trust coefficient (eta).
    """
    return LARS(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust})


class LARS(Optimizer):
    """SGD whose step is, for each weight, `trust x |weight| / |gradient|` times as long.

    The learning rate multiplies the velocity, not the gradient that enters it, so that a schedule acts at once.
    """

    def __init__(self, groups: Groups, defaults: dict[str, Any]):
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                gradient = weight.grad
                if weight.ndim > 1:
                    gradient = gradient.add(weight, alpha=group["weight_decay"])
                    size, slope = torch.linalg.vector_norm(weight), torch.linalg.vector_norm(gradient)
                    usable = (size > 0) & (slope > 0)
                    gradient = gradient * torch.where(usable, group["trust"] * size / slope, 1.0)
                state = self.state[weight]
                if "velocity" not in state:
                    state["velocity"] = torch.zeros_like(weight)
                state["velocity"].mul_(group["momentum"]).add_(gradient)
                weight.add_(state["velocity"], alpha=-group["lr"])


def names() -> list[str]:
    """The optimizers that ship with selfray."""
    here = sys.modules[__name__]
    own = [n for n, f in getmembers(here, isfunction) if f.__module__ == __name__ and f.__annotations__.get("groups")]
    return sorted(own)


def find(name: str) -> Callable[..., Optimizer]:
    """The function of that name."""
    if name not in names():
        raise UserError(f"no optimizer {name!r}{nearest(name, names())}; there are {', '.join(names())}")
    function: Callable[..., Optimizer] = getattr(sys.modules[__name__], name)
    return function


def build(name: str, modules: Iterable[nn.Module], **settings: Any) -> Optimizer:
    """The optimizer over the trainable parameters of the modules; only matrices and kernels are decayed."""
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    decayed, plain = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    return find(name)([{"params": decayed}, {"params": plain, "weight_decay": 0.0}], **settings)
