"""BEST-RQ: hidden positions tell the code that a fixed random quantiser gives them (arXiv:2202.01855)."""

from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn.functional import pad

from ..bounds import NonNegative, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.decoders import channels_of
from ..parts.losses import classified
from ..parts.quantizer import RandomQuantizer
from ..parts.ragged import inside
from ..parts.spans import random_spans
from ..views.random import OBJECTIVE, normal
from .objective import Objective


class BestRQ(Objective):
    """Spans of the input are replaced by noise, and a linear layer predicts their codes by cross-entropy.

    The rows that a position covers are stacked, normalised as the encoder has them, before they are quantised.

    Args:
        share: Share of the positions where a hidden span starts; 0.01 of the frames in the paper.
        span: Positions of a span; 400 ms in the paper.
        codes: Codes of the quantiser; 8192 in the paper.
        code_width: Width of the random projection; 16 in the paper.
        noise: Deviation of what hidden values are replaced by; 0.1 in the paper.
    """

    views = "single"

    def __init__(
        self,
        encoder: Encoder,
        share: Annotated[float, Gt(0), Le(1)] = 0.04,
        span: PositiveInt = 10,
        codes: PositiveInt = 8192,
        code_width: PositiveInt = 16,
        noise: NonNegative = 0.1,
    ):
        super().__init__(encoder)
        encoder.needs_rows("best_rq")
        self.share, self.span, self.noise = share, span, noise
        values: int = getattr(encoder, "row_width", channels_of(encoder))
        self.quantizer = RandomQuantizer(values * encoder.row_stride, code_width, codes)
        self.head = nn.Linear(encoder.width, codes)

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy over hidden positions, and how many codes the batch's hidden positions use."""
        stride = self.encoder.row_stride
        rows = self.encoder.rows(images)
        padded = pad(rows, (0, 0, 0, -rows.shape[1] % stride), value=float("nan"))
        stacked = padded.unflatten(1, (-1, stride))
        counted = inside(padded).unflatten(1, (-1, stride)).any(2)
        codes = self.quantizer(stacked.nan_to_num().flatten(2))
        hidden = random_spans(keys, OBJECTIVE, counted, self.share, self.span)
        noise = self.noise * normal(keys, OBJECTIVE + 1, padded[0].numel()).view(padded.shape)
        there = hidden.repeat_interleave(stride, dim=1)[:, :, None] & ~padded.isnan()
        seen = torch.where(there, noise, padded)[:, : rows.shape[1]]
        logits = self.head(self.encoder.encode(seen)[:, self.encoder.extra :])
        loss, right = classified(logits, codes, hidden)
        used = torch.zeros(logits.shape[2], device=codes.device).scatter_add_(
            0, codes.flatten(), hidden.float().flatten()
        )
        share = used / used.sum().clamp_min(1)
        return loss, {"accuracy": right.detach(), "code_perplexity": torch.special.entr(share).sum().exp()}
