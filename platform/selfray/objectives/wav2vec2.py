"""wav2vec 2.0: the quantised features of hidden positions are told from those of other ones (arXiv:2006.11477)."""

from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..bounds import Fraction, NonNegative, Positive, PositiveInt
from ..encoders.encoder import Encoder
from ..errors import UserError
from ..parts.precision import full_precision
from ..parts.quantizer import ProductQuantizer, perplexity
from ..parts.ragged import masked_mean
from ..parts.spans import random_others, random_spans
from ..views.random import OBJECTIVE, uniform
from .objective import Objective


class Wav2Vec2(Objective):
    """A contrastive loss over codes of the same utterance, and one that wants all codes to be used.

    Targets are codes of the unmasked features of the convolutions. In training they are drawn by the Gumbel
    distribution, whose temperature falls with every step.

    Args:
        share: Share of the positions where a hidden span starts; 0.065 in the paper.
        span: Positions of a span; 10 in the paper.
        negatives: Negatives of a hidden position; 100 in the paper.
        temperature: Divides the cosine similarities; 0.1 in the paper.
        groups: Groups of codes; 2 in the paper.
        codes: Codes of a group; 320 in the paper.
        code_width: Width of a code, all groups together; 256 in the paper's base model.
        width: Width in which predictions and codes are compared; 256 in the paper's base model.
        diversity: Weight of the diversity loss; 0.1 in the paper.
        gumbel: Temperature of the Gumbel distribution in the first step; 2 in the paper.
        gumbel_end: The lowest that it falls to; 0.5 in the paper's base model, 0.1 in its large one.
        gumbel_decay: What it is multiplied by in each step; 0.999995 in the paper.
        feature_gradient: What the gradient into the convolutions is multiplied by; 0.1 in the paper's base model.
    """

    views = "single"

    gumbel: Tensor

    def __init__(
        self,
        encoder: Encoder,
        share: Annotated[float, Gt(0), Le(1)] = 0.065,
        span: PositiveInt = 10,
        negatives: PositiveInt = 100,
        temperature: Positive = 0.1,
        groups: PositiveInt = 2,
        codes: PositiveInt = 320,
        code_width: PositiveInt = 256,
        width: PositiveInt = 256,
        diversity: NonNegative = 0.1,
        gumbel: Positive = 2.0,
        gumbel_end: Positive = 0.5,
        gumbel_decay: Fraction = 0.999995,
        feature_gradient: Annotated[float, Gt(0), Le(1)] = 0.1,
    ):
        super().__init__(encoder)
        encoder.needs_local("wav2vec2")
        if encoder.causal:
            raise UserError(
                "objective 'wav2vec2' fills gaps from both sides, and an encoder that sees only the past cannot; use "
                "encoder.name=wav2vec2"
            )
        if code_width % groups:
            raise UserError(f"objective.groups {groups} does not divide objective.code_width {code_width}")
        self.share, self.span, self.negatives, self.temperature = share, span, negatives, temperature
        self.diversity, self.feature_gradient = diversity, feature_gradient
        self.gumbel_end, self.gumbel_decay = gumbel_end, gumbel_decay
        self.token = nn.Parameter(torch.empty(encoder.width).uniform_())
        self.quantizer = ProductQuantizer(encoder.local_width, code_width, groups, codes)
        self.project_context = nn.Linear(encoder.width, width)
        self.project_codes = nn.Linear(code_width, width)
        self.register_buffer("gumbel", torch.tensor(gumbel))

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The contrastive loss, a mean over all workers' hidden positions, and the weighted diversity loss."""
        local, counted = self.encoder.local(images)
        hidden = random_spans(keys, OBJECTIVE, counted, self.share, self.span)
        others = random_others(keys, OBJECTIVE + 1, hidden, self.negatives)
        count = local.shape[1] * self.quantizer.groups * self.quantizer.codes
        draws = uniform(keys, OBJECTIVE + 2, count) if self.training else None
        return self.compared(local, counted, hidden, others, draws)

    def compared(
        self, local: Tensor, counted: Tensor, hidden: Tensor, others: Tensor, draws: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, all that is random being given; see `contrast` for the shapes."""
        local = local * self.feature_gradient + local.detach() * (1 - self.feature_gradient)
        context = self.project_context(self.encoder.context(local, counted, hidden, self.token))
        shaped = draws if draws is None else draws.view(*local.shape[:2], -1)
        found = self.quantizer(local, self.gumbel, shaped)
        targets = self.project_codes(found.values)
        contrastive, accuracy = contrast(context, targets, found.codes, hidden, others, self.temperature)
        used = perplexity(found.probabilities, hidden)
        total = self.quantizer.groups * self.quantizer.codes
        diversity = (total - used) / total
        scalars = {
            "contrastive": contrastive.detach(),
            "diversity": diversity.detach(),
            "code_perplexity": used.detach(),
            "accuracy": accuracy.detach(),
            "hidden": hidden.float().sum() / counted.sum(),
            "gumbel": self.gumbel.clone(),
        }
        return contrastive + self.diversity * diversity, scalars

    def after_step(self, progress: float) -> None:
        """Lower the temperature of the Gumbel distribution."""
        self.gumbel.mul_(self.gumbel_decay).clamp_(min=self.gumbel_end)


@full_precision
def contrast(
    context_BPD: Tensor,
    target_BPD: Tensor,
    codes_BPG: Tensor,
    hidden_BP: Tensor,
    others_BPK: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding each hidden position's target among those of others of its sample (equation 3).

    A negative with the codes of the positive does not count.

    Args:
        others_BPK: int64, the positions of the negatives.

    Returns:
        The mean over all workers' hidden positions, and how often the target is the most similar one.
    """
    similarity = normalize(context_BPD, dim=2) @ normalize(target_BPD, dim=2).mT / temperature
    same = (codes_BPG[:, :, None] == codes_BPG[:, None]).all(3)
    negative = similarity.masked_fill(same, float("-inf")).gather(2, others_BPK)
    positive = similarity.diagonal(dim1=1, dim2=2)
    logits = torch.cat([positive[:, :, None], negative], dim=2)
    loss = masked_mean(logits.logsumexp(2) - positive, hidden_BP)
    return loss, masked_mean((positive > negative.amax(2)).float(), hidden_BP)
