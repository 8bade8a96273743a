"""Edges instead of colours."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

CHANNELS = 2
"""Of the result: the derivative along rows, and down columns."""

_KERNEL = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])


def sobel(images: Tensor) -> Tensor:
    """Sobel derivatives of the mean over channels: (batch, channels, h, w) -> (batch, 2, h, w).

    DeepCluster (arXiv:1807.05520, section 4) puts these before its network, since colours make clusters too easy.
    Borders are repeated outwards, so that they are no edges.
    """
    kernels = torch.stack([_KERNEL, _KERNEL.T])[:, None].to(images)
    grey = pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return conv2d(grey, kernels)
