"""TS2Vec: two overlapping crops agree step by step, on every time scale (Yue et al. 2021, arXiv:2106.10466)."""

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from ..bounds import Fraction, PositiveInt
from ..encoders.encoder import Encoder
from ..parts.average import Average
from ..parts.masks import chosen, random_order
from ..parts.precision import full_precision
from ..parts.ragged import lengths, masked_mean, part, shifted
from ..train.distributed import all_sum, gather, gather_detached, rows_before
from ..views.random import OBJECTIVE, uniform
from .objective import Objective

SHORTEST = 2  # steps of the overlap, where a series has them


class TS2Vec(Objective):
    """Hierarchical contrast of the features of a crop's steps with other series and with other steps.

    As in the paper's code, the extent of the crops is drawn once a step for all series and their place for each
    series; extents are shares of a series' own length. Dot products are neither normalised nor divided by a
    temperature. When the run ends, the encoder gets the mean of its weights over all steps.

    Args:
        alpha: Share of the contrast with other series at the same step; the rest is with other steps of the series.
        mask: Share of the steps that are hidden from the encoder in each crop.
        steps: Most steps of a series that are contrasted with each other on one scale; the cost grows with the square.
            More are sampled.
        average: Whether the encoder ends with averaged weights, as in the paper's code.
    """

    views = "single"

    def __init__(
        self,
        encoder: Encoder,
        alpha: Fraction = 0.5,
        mask: Fraction = 0.5,
        steps: PositiveInt = 1024,
        average: bool = True,
    ):
        super().__init__(encoder)
        encoder.needs_rows("ts2vec", stride=1)
        self.alpha, self.mask, self.steps = alpha, mask, steps
        self.average = Average(encoder) if average else None

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the scales (equation 3)."""
        rows = self.encoder.rows(images)
        first, second, valid = self._overlap(rows, keys)
        order = random_order(keys, OBJECTIVE + 4, rows.shape[1])
        instance, temporal = hierarchical(first, second, valid, order, self.steps)
        loss = self.alpha * instance + (1 - self.alpha) * temporal
        return loss, {"instance": instance.detach(), "temporal": temporal.detach()}

    def _overlap(self, rows: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of the steps that both crops have, (batch, time, width) each, and which of them there are."""
        batch_key = gather_detached(keys).sum().reshape(1)  # the same on all workers
        extents, place = uniform(batch_key, OBJECTIVE, 4), uniform(keys, OBJECTIVE + 1, 1)[:, 0]
        start, left, right, end = crops(lengths(rows), extents[0], place)
        features = []
        for view, (begin, finish) in enumerate(((start, right), (left, end))):
            seen = part(rows, begin, finish - begin)
            hidden = uniform(keys, OBJECTIVE + 2 + view, rows.shape[1]) < self.mask
            features.append(shifted(self.encoder.encode(seen, hidden), left - begin))
        valid = torch.arange(rows.shape[1], device=rows.device) < (right - left)[:, None]
        return features[0], features[1], valid

    def after_step(self, progress: float) -> None:
        """Add the weights to their mean, which the encoder gets at the end."""
        if self.average is not None:
            self.average.add(self.encoder)
            if progress >= 1:
                self.average.give(self.encoder)


def crops(length_B: Tensor, extents_4: Tensor, place_B: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where the first crop starts, where the overlap starts and ends, and where the second crop ends.

    Section 3.2: the crops are [start, right) and [left, end) with start <= left < right <= end.

    Args:
        length_B: Steps of each series.
        extents_4: Uniform numbers for the overlap, its place, and what each crop has besides.
        place_B: A uniform number for each series, by which everything is moved within it.
    """

    def below(limit: Tensor, draw: Tensor) -> Tensor:
        """A whole number from 0 to limit - 1."""
        return (limit * draw).floor().long().minimum(limit - 1)

    least = length_B.clamp_max(SHORTEST)
    overlap = least + below(length_B - least + 1, extents_4[0])
    left = below(length_B - overlap + 1, extents_4[1])
    right = left + overlap
    start = below(left + 1, extents_4[2])
    end = right + below(length_B - right + 1, extents_4[3])
    moved = below(length_B - (end - start) + 1, place_B) - start
    return start + moved, left + moved, right + moved, end + moved


@full_precision
def hierarchical(
    first_BTD: Tensor, second_BTD: Tensor, valid_BT: Tensor, order_BT: Tensor, most: int
) -> tuple[Tensor, Tensor]:
    """The instance-wise and the temporal contrast, each averaged over the scales (equation 3, section 3.3).

    From one scale to the next, neighbouring steps are pooled by their maximum until one is left; of an odd number
    the last is dropped, as in the paper's code.

    Args:
        first_BTD, second_BTD: Features of the same steps in both crops.
        valid_BT: Which steps there are: the first so many of each series.
        order_BT: A random order of the steps of each series.
        most: Steps that are contrasted with each other at most.
    """
    instance, temporal, scales = first_BTD.new_zeros(()), first_BTD.new_zeros(()), first_BTD.new_zeros(())
    while True:
        steps = first_BTD.shape[1]
        scales = scales + (all_sum(valid_BT.sum()) > 0)
        instance = instance + instance_contrast(first_BTD, second_BTD, valid_BT)
        if steps > most:
            numbers, there = chosen(valid_BT, most, order_BT[:, :steps].argsort(1).argsort(1))
            index = numbers[:, :, None].expand(-1, -1, first_BTD.shape[2])
            temporal = temporal + temporal_contrast(first_BTD.gather(1, index), second_BTD.gather(1, index), there)
        else:
            temporal = temporal + temporal_contrast(first_BTD, second_BTD, valid_BT)
        if steps == 1:
            return instance / scales, temporal / scales
        first_BTD, second_BTD = (max_pool1d(x.transpose(1, 2), 2).transpose(1, 2) for x in (first_BTD, second_BTD))
        valid_BT = valid_BT[:, : steps // 2 * 2].unflatten(1, (-1, 2)).all(2)


def instance_contrast(first_BTD: Tensor, second_BTD: Tensor, valid_BT: Tensor) -> Tensor:
    """A step finds itself in the other crop among both crops' same step of all series of all workers (equation 2)."""
    batch = len(valid_BT)
    mine = torch.cat([first_BTD, second_BTD]).transpose(0, 1)
    everyone = torch.cat([gather(first_BTD), gather(second_BTD)]).transpose(0, 1)
    there = gather_detached(valid_BT).T.repeat(1, 2)
    own = rows_before(batch) + torch.arange(batch, device=mine.device)
    half = everyone.shape[1] // 2
    return _contrast(
        mine @ everyone.transpose(1, 2),
        torch.cat([own, own + half]),
        torch.cat([own + half, own]),
        valid_BT.T.repeat(1, 2),
        there,
    )


def temporal_contrast(first_BTD: Tensor, second_BTD: Tensor, valid_BT: Tensor) -> Tensor:
    """A step finds itself in the other crop among both crops' steps of the same series (equation 1)."""
    both, steps = torch.cat([first_BTD, second_BTD], dim=1), first_BTD.shape[1]
    own = torch.arange(2 * steps, device=both.device)
    there = valid_BT.repeat(1, 2)
    return _contrast(both @ both.transpose(1, 2), own, own.roll(steps), there, there)


def _contrast(logits_GRC: Tensor, itself_R: Tensor, partner_R: Tensor, rows_GR: Tensor, columns_GC: Tensor) -> Tensor:
    """Cross-entropy of finding the partner among all columns but the row's own, over the rows that there are."""
    absent = rows_GR[:, :, None] & ~columns_GC[:, None]
    place = torch.arange(logits_GRC.shape[2], device=logits_GRC.device)
    logits = logits_GRC.masked_fill(absent | (place == itself_R[:, None]), float("-inf"))
    partner = logits_GRC.gather(2, partner_R[None, :, None].expand(len(logits), -1, 1))[:, :, 0]
    return masked_mean(logits.logsumexp(2) - partner, rows_GR)
