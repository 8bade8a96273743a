"""What the device can do fast, and how batches get there."""

import ctypes
import os
import shutil
from collections.abc import Iterator

import torch
from torch import Tensor

from ..corpus.stream import Batch
from ..errors import UserError
from ..recipe import Pretrain

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h

COMPILE_PAYS_AFTER_STEPS = {"cpu": 4000, "cuda": 1000}
"""Steps that win back the minute or so of compilation."""


def choose(gpu: bool) -> torch.device:
    """The device of this worker.

    Raises:
        UserError: a GPU was asked for and there is none.
    """
    if not gpu:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError("gpu is true but this machine has no CUDA device that torch can use; set gpu=false")
    return torch.device("cuda", torch.cuda.current_device())


def precision(setting: str, device: torch.device) -> torch.dtype:
    """The type in which the encoder computes: bf16 where the device has instructions for it."""
    if setting == "fp32":
        return torch.float32
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast or setting == "bf16" else torch.float32


def compiles(setting: str | bool, device: torch.device, steps: int) -> bool:
    """Whether to compile the step: where the run is long enough to win the time back."""
    if setting != "auto":
        return bool(setting)
    # Without AMX, compiling convolutions gained nothing on a CPU: docs/experiments.md.
    gains = device.type == "cuda" or (torch.cpu._is_amx_tile_supported() and shutil.which("g++") is not None)
    return gains and steps >= COMPILE_PAYS_AFTER_STEPS[device.type]


def threads(settings: Pretrain) -> int:
    """Torch threads of a worker: its share of the cores (Ray would leave it one)."""
    if settings.threads:
        return settings.threads
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(1, settings.workers)) if not settings.gpu else max(1, min(4, cores))


def keep_memory() -> None:
    """Let glibc keep large freed buffers instead of returning them to the kernel in every step.

    Without this each step of a CPU run faults its activations in anew.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return  # another C library, which has no such habit
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def fed(batches: Iterator[Batch], device: torch.device) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    """Each batch with its samples and ids on the device; on a GPU the copy runs beside the previous step."""
    if device.type == "cpu":
        for batch in batches:
            yield batch, torch.tensor(batch.samples), torch.tensor(batch.ids)
        return
    side = torch.cuda.Stream(device)
    waiting: tuple[Batch, Tensor, Tensor] | None = None
    for batch in batches:
        with torch.cuda.stream(side):
            samples = torch.tensor(batch.samples).pin_memory().to(device, non_blocking=True)
            ids = torch.tensor(batch.ids).pin_memory().to(device, non_blocking=True)
        if waiting:
            yield waiting
        torch.cuda.current_stream(device).wait_stream(side)
        samples.record_stream(torch.cuda.current_stream(device))
        ids.record_stream(torch.cuda.current_stream(device))
        waiting = batch, samples, ids
    if waiting:
        yield waiting
