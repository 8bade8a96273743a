"""The state of training as it was at one moment: taken, written to bytes, and put back.

Weights and random numbers are safetensors, the optimizer is torch's weights-only format; nothing is unpickled.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.optim import Optimizer

from ..errors import UserError
from ..objectives.objective import Objective
from . import distributed

OBJECTIVE, OPTIMIZER, RANDOM = "objective.safetensors", "optimizer.pt", "random.safetensors"
OVERHEAD = 1.02, 256 << 10  # of the files over the tensors in them: headers, alignment, blocks of the disk


@dataclass(frozen=True)
class Snapshot:
    """Copies in host memory, which later steps of training do not change."""

    objective: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    random: Mapping[str, Tensor]

    def size(self) -> int:
        """Bytes that the files will take, rather too much than too little."""
        tensors = [*self.objective.values(), *_tensors(self.optimizer), *self.random.values()]
        return int(OVERHEAD[0] * sum(t.numel() * t.element_size() for t in tensors)) + OVERHEAD[1]

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each file, made one at a time."""
        yield OBJECTIVE, to_bytes(dict(self.objective))
        buffer = io.BytesIO()
        torch.save(self.optimizer, buffer)
        yield OPTIMIZER, buffer.getvalue()
        yield RANDOM, to_bytes(dict(self.random))


def take(objective: Objective, optimizer: Optimizer) -> Snapshot:
    """Copy the state to host memory; it may be changed as soon as this returns."""
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        random["cuda"] = torch.cuda.get_rng_state()
    weights = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in objective.state_dict().items()}
    return Snapshot(weights, _copied(optimizer.state_dict()), random)


def put_back(folder: Path, objective: Objective, optimizer: Optimizer | None) -> None:
    """Load the files of a checkpoint in place.

    The random numbers are the first worker's, and only it takes them: equal ones on all workers would couple them.

    Raises:
        UserError: the checkpoint is of another network or optimizer.
    """
    try:
        objective.load_state_dict(load_file(folder / OBJECTIVE), strict=True)
        if optimizer is not None:
            optimizer.load_state_dict(torch.load(folder / OPTIMIZER, weights_only=True, map_location="cpu"))
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the checkpoint {folder} does not fit this recipe: {reason}; give --fresh to start anew, or another --out"
        ) from error
    if distributed.rank() == 0 and (folder / RANDOM).is_file():  # the first version had none
        random = load_file(folder / RANDOM)
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"])


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return type(value)(_copied(inner) for inner in value) if isinstance(value, list | tuple) else value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
