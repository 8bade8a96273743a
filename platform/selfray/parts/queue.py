"""A ring buffer of embeddings that every worker holds identically and checkpoints carry."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..train.distributed import gather_detached


class Queue(nn.Module):
    """The newest `size` rows of all workers; starts as random unit vectors (MoCo, arXiv:1911.05722, algorithm 1).

    Any size works with any batch: rows that reach the end continue at the beginning, and a batch larger than the
    queue leaves its last rows. The position lives on the device, so pushing never waits for it.
    """

    rows: Tensor
    position: Tensor

    def __init__(self, size: int, width: int):
        super().__init__()
        self.register_buffer("rows", normalize(torch.randn(size, width), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, local_BD: Tensor) -> None:
        """Replace the oldest rows by all workers' new ones, in rank order."""
        new = gather_detached(local_BD.to(self.rows.dtype))
        dropped, size = max(0, len(new) - len(self.rows)), len(self.rows)
        places = (self.position + dropped + torch.arange(len(new) - dropped, device=new.device)) % size
        self.rows.index_copy_(0, places, new[dropped:])
        self.position.copy_((self.position + len(new)) % size)
