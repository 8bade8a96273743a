"""Losses and normalisations compute in fp32, whatever precision the encoder runs in."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function of tensors outside autocast, with bf16 and fp16 arguments turned into fp32."""

    def widen(value: object) -> object:
        half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
        return value.float() if half and isinstance(value, Tensor) else value

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next((a.device.type for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), "cpu")
        with torch.autocast("cpu" if device == "meta" else device, enabled=False):
            widened = {k: widen(v) for k, v in kwargs.items()}
            return function(*(widen(a) for a in args), **widened)  # type: ignore[arg-type]

    return wrapped
