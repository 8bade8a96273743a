"""Batch normalisation over the batch of all workers, on any device."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..train.distributed import all_sum, rows_of_all, world


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation whose statistics are those of all workers' samples (torch's own needs a GPU).

    For one worker it is ordinary batch normalisation, bit for bit.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (batch, channels, ...) per channel."""
        if world() == 1 or not self.training:
            return super().forward(input)
        values = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        others = [0, *range(2, values.dim())]
        count = sum(rows_of_all(values.numel() // values.shape[1]))
        mean = all_sum(values.sum(others)) / count
        shape = [1, -1] + [1] * (values.dim() - 2)
        centred = values - mean.view(shape)
        variance = all_sum(centred.square().sum(others)) / count
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum or 0.1)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum or 0.1)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)


def synchronise(module: nn.Module) -> nn.Module:
    """The same module with every batch normalisation over all workers; weights and state are shared."""
    if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm | nn.SyncBatchNorm):
        replacement = SyncBatchNorm(
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        )
        replacement._parameters, replacement._buffers = module._parameters, module._buffers
        replacement.train(module.training)
        return replacement
    for name, child in module.named_children():
        setattr(module, name, synchronise(child))
    return module
