"""Colorization: which colour had each pixel of a grey picture (Zhang, Isola and Efros 2016, arXiv:1603.08511)."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate, log_softmax

from ..bounds import Fraction, Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.decoders import Decoder, channels_of
from ..parts.lab import class_weights, colours, grey, lab_to_rgb, rgb_to_lab, soft_classes
from ..parts.precision import full_precision
from ..train.distributed import all_sum
from .objective import Objective


class Colorization(Objective):
    """Cross entropy over quantised (a, b) of Lab, with rare colours weighted up.

    The encoder sees the lightness as a grey picture in three channels. How frequent colours are is counted while
    training, from all workers' batches of the steps before, where the paper counted its training set in advance.

    Args:
        shrink: How many times coarser than the picture the prediction is, as far as the encoder's stride allows; 4 in
            the paper.
        neighbours: Nearest colour classes among which a pixel's target is spread; 5 in the paper.
        rebalance: Share of the even distribution in the prior that the weights undo, lambda; 0.5 in the paper, and 1
            weighs all colours alike.
        annealing: Temperature of the mean that turns probabilities into a colour, for pictures only; 0.38 in the
            paper.
    """

    views = "single"
    centres: Tensor
    counts: Tensor

    def __init__(
        self,
        encoder: Encoder,
        shrink: PositiveInt = 4,
        neighbours: PositiveInt = 5,
        rebalance: Fraction = 0.5,
        annealing: Positive = 0.38,
    ):
        super().__init__(encoder)
        if encoder.kind != "image" or channels_of(encoder) != 3:
            raise UserError(
                "objective 'colorization' learns to predict colours, and the corpus has "
                f"{channels_of(encoder)} channel{'s' * (channels_of(encoder) > 1)} instead of red, green and blue; "
                "prepare it from colour images, or choose another objective"
            )
        classes = torch.tensor(colours())
        self.neighbours, self.rebalance, self.annealing = neighbours, rebalance, annealing
        self.register_buffer("centres", classes, persistent=False)
        self.register_buffer("counts", torch.zeros(len(classes)))
        self.decoder = Decoder(encoder, encoder.width, len(classes), shrink)
        self._fresh: list[Tensor] = []

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted cross entropy, averaged over pixels of the prediction."""
        lab, logits = self._predicted(images)
        ab = interpolate(lab[:, 1:], self.decoder.size, mode="area")
        numbers, shares = soft_classes(ab, self.centres, self.neighbours)
        nearest = numbers[..., 0]
        self._fresh.append(counted(nearest, self.counts))
        weights = class_weights(self.counts, self.centres, self.rebalance)
        right = (logits.detach().argmax(1) == nearest).float().mean()
        return rebalanced_cross_entropy(logits, numbers, shares, weights), {"colour_accuracy": right}

    def after_step(self, progress: float) -> None:
        """Count this step's colours of all workers; no step is weighted by its own."""
        with torch.no_grad():
            for fresh in self._fresh:
                self.counts += all_sum(fresh)
        self._fresh.clear()

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """The grey pictures, and the colours predicted for them (equation 5)."""
        lab, logits = self._predicted(views["images"])
        likely = torch.softmax(logits.float() / self.annealing, dim=1)
        ab = torch.einsum("bchw,cd->bdhw", likely, self.centres)
        ab = interpolate(ab, lab.shape[2:], mode="bilinear")
        lightness = lab[:, :1]
        return {
            "grey": grey(lightness).expand(-1, 3, -1, -1),
            "colourised": lab_to_rgb(torch.cat([lightness, ab], dim=1)),
        }

    def _predicted(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            lab = rgb_to_lab(images)
            seen = grey(lab[:, :1]).expand(-1, 3, -1, -1)
        return lab, self.decoder(self.encoder(seen)[:, self.encoder.extra :])


def counted(numbers: Tensor, like_C: Tensor) -> Tensor:
    """How often each class occurs: (C,), of the type of `like_C`."""
    return torch.zeros_like(like_C).index_add_(0, numbers.flatten(), like_C.new_ones(numbers.numel()))


@full_precision
def rebalanced_cross_entropy(logits_BChw: Tensor, numbers: Tensor, shares: Tensor, weights_C: Tensor) -> Tensor:
    """Cross entropy against soft classes, each pixel weighted by that of its nearest class (equations 2 and 3).

    Args:
        logits_BChw: Of all classes.
        numbers, shares: (B, h, w, K), the classes that a pixel is spread over, the nearest first, and its shares.
        weights_C: One a class.
    """
    picked = log_softmax(logits_BChw, dim=1).permute(0, 2, 3, 1).gather(3, numbers)
    return -((picked * shares).sum(3) * weights_C[numbers[..., 0]]).mean()
