"""SimCLR whose steps take a while, so that a fault can be aimed at one."""

import time

from torch import Tensor

from selfray.bounds import NonNegative
from selfray.encoders.encoder import Encoder
from selfray.objectives import simclr


class SlowSimCLR(simclr.SimCLR):
    """SimCLR that sleeps `pause` seconds in every step.

    Args:
        pause: seconds.
    """

    def __init__(self, encoder: Encoder, pause: NonNegative = 0.05):
        super().__init__(encoder, temperature=0.2, width=16)
        self.pause = pause

    def loss(self, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """SimCLR's, later."""
        time.sleep(self.pause)
        return super().loss(first, second)
