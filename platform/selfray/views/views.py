"""What every data type's views have in common: one method for each kind of view that objectives can ask for."""

from typing import Any, ClassVar

from torch import Tensor

from ..errors import UserError


class Views:
    """Turns a batch of raw samples into what an objective's `loss` takes.

    Each kind of view is a method of that name, `kind(samples, keys) -> dict of tensors`, whose result becomes the
    keyword arguments of the objective's `loss`. `samples` is the batch as the stream delivers it (for images uint8,
    batch x height x width x channels), on the device. `keys` is one int64 a sample that already mixes seed, epoch
    and sample id (`random.sample_keys`): all randomness comes from it, so that a resumed run repeats it bit for bit.
    A method is compiled together with the model: no Python randomness, no host synchronisation, no data-dependent
    shapes.
    """

    kinds: ClassVar[tuple[str, ...]] = ("plain",)
    """The kinds of view there are. `plain` has one tensor, which is what the encoder takes, and no randomness."""

    def use(self, facts: dict[str, Any]) -> None:
        """Take what the corpus's manifest says of the data type, such as a sampling rate or a vocabulary."""

    def input_size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The size of what the encoder sees of samples of that shape: all axes but the channels."""
        return shape[:1]

    def make(self, kind: str, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """The views of a kind; see the method of that name."""
        self.check(kind)
        made: dict[str, Tensor] = getattr(self, kind)(samples, keys)
        return made

    def inputs(self, samples: Tensor, keys: Tensor) -> Tensor:
        """What the encoder takes of raw samples: the tensor of the plain view."""
        (only,) = self.make("plain", samples, keys).values()
        return only

    def check(self, kind: str) -> None:
        """Raise a UserError unless this data type has that kind of view."""
        if kind not in self.kinds:
            raise UserError(f"{type(self).__name__} makes {', '.join(self.kinds)} views, not {kind!r}")

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, for the report."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}
