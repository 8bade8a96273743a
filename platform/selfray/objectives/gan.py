"""Bidirectional GAN: an encoder and a generator fool a critic of pairs (arXiv:1605.09782, arXiv:1606.00704)."""

import torch
from torch import Tensor, nn

from ..bounds import NonNegative, PositiveInt
from ..encoders.encoder import Encoder
from ..parts import rebuild
from ..parts.adversary import Critic, critic_loss, fooling_loss, frozen, gradient_penalty
from ..views.random import OBJECTIVE, normal
from .objective import Objective


class GAN(Objective):
    """The critic tells pairs (x, E(x)) from pairs (G(z), z); where it cannot, E inverts G.

    The critic learns from detached pairs, and encoder and generator through a critic with detached weights, so that
    one backward pass gives each its own gradient. Their loss is the non-saturating one, with the labels swapped.
    Gaps and padding of series and sounds are the mean for the critic.

    Args:
        latent: Width of the code z, standard normal.
        width: Width of the generator's first layer.
        critic_width: Channels of the critic's first layer.
        spectral: Spectral normalisation of the critic (arXiv:1802.05957).
        penalty: Factor of the R1 gradient penalty at real pairs (arXiv:1801.04406); 0 for none.
        cycle: Weight of the squared error between x and G(E(x)), as in ALICE (arXiv:1709.01215, section 3.2). The
            critic alone leaves open which x a code stands for until late in training; 0 is the papers' game.
    """

    views = "single"
    adversarial = True

    def __init__(
        self,
        encoder: Encoder,
        latent: PositiveInt = 64,
        width: PositiveInt = 128,
        critic_width: PositiveInt = 32,
        spectral: bool = True,
        penalty: NonNegative = 0.0,
        cycle: NonNegative = 0.0,
    ):
        super().__init__(encoder)
        self.latent, self.penalty, self.cycle = latent, penalty, cycle
        self.code = nn.Linear(encoder.width, latent)
        self.generator = rebuild.vector_decoder(encoder, "gan", latent, width)
        size, channels = self.generator.size, self.generator.channels
        self.critic = Critic(size, channels, critic_width, code=latent, spectral=spectral)

    def loss(self, images: Tensor, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's loss plus that of encoder and generator; 2 ln 2 each where the critic is at a loss."""
        seen, drawn = rebuild.values(self.encoder, images), normal(keys, OBJECTIVE, self.latent)
        real = seen.nan_to_num()
        code, made = self.code(self.encoder.embed(images)), self.generator(drawn)
        real_says = self.critic(real, code.detach())
        fake_says = self.critic(made.detach(), drawn)
        critic = critic_loss(real_says, fake_says)
        # Swapped labels: the encoder wants its pairs taken for made ones, the generator its own for real ones.
        fooling = fooling_loss(-frozen(self.critic, real, code)) + fooling_loss(frozen(self.critic, made, drawn))
        loss = critic + fooling
        if self.penalty:
            loss = loss + self.penalty * gradient_penalty(self.critic, real, code)
        if self.cycle:
            loss = loss + self.cycle * rebuild.squared_error(self.generator(code), seen)
        right = torch.cat([real_says > 0, fake_says <= 0]).float().mean()
        return loss, {"critic": critic.detach(), "fooling": fooling.detach(), "critic_accuracy": right}

    def pictures(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the generator makes of the samples' codes, and of codes drawn from the prior."""
        codes = {
            "reconstructed": self.code(self.encoder.embed(views["images"])),
            "generated": normal(views["keys"], OBJECTIVE, self.latent),
        }
        return rebuild.shown(self.encoder, **{name: self.generator(code) for name, code in codes.items()})
