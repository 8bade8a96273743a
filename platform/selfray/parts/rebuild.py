"""What a decoder rebuilds of a sample: values at mean 0 and deviation 1 over the corpus, NaN where there is nothing.

Of images the pixels, of series the values over time, of sounds the log-mel frames if the encoder sees those, else the
waveform. B: batch, C: channels or bands, the sides are height and width or the time.
"""

import torch
from torch import Tensor

from ..encoders.encoder import Encoder
from ..errors import UserError
from ..views.random import OBJECTIVE, uniform
from .decoders import Decoder, RecurrentDecoder, VectorDecoder, channels_of, denormalise
from .mel import one_channel
from .precision import full_precision
from .ragged import masked_mean
from .runs import geometric_runs
from .sound import inside
from .spectrum import lengths


def sees_rows(encoder: Encoder) -> bool:
    """Whether the network sees rows of values over time: series, and sounds by their log-mel frames."""
    return type(encoder).rows is not Encoder.rows


def values(encoder: Encoder, inputs: Tensor) -> Tensor:
    """What is to be rebuilt of an encoder's inputs: (B, C, *sides)."""
    if sees_rows(encoder):
        return encoder.rows(inputs).transpose(1, 2)
    if encoder.kind == "image":
        return encoder.normalise(inputs)
    waves = one_channel(inputs)
    silent = ~inside(lengths(waves), waves.shape[1])
    return ((waves - encoder.mean.mean()) / encoder.std.mean()).masked_fill(silent, float("nan"))[:, None]


def features(encoder: Encoder, seen: Tensor) -> Tensor:
    """What the encoder makes of such values: (B, extra + positions, width)."""
    return encoder.encode(seen.transpose(1, 2)) if sees_rows(encoder) else encoder(_inputs(encoder, seen))


def shown(encoder: Encoder, **made: Tensor) -> dict[str, Tensor]:
    """Such values as its data type's views; none of log-mel frames, which are no sound any more."""
    if encoder.kind == "audio" and sees_rows(encoder):
        return {}
    found = {name: _inputs(encoder, one) for name, one in made.items()}
    return {name: one.clamp(0, 1) for name, one in found.items()} if encoder.kind == "image" else found


def _inputs(encoder: Encoder, made: Tensor) -> Tensor:
    if encoder.kind == "image":
        return denormalise(encoder, made)
    if encoder.kind == "series":
        return made.transpose(1, 2) * encoder.std + encoder.mean
    return made[:, 0].nan_to_num() * encoder.std.mean() + encoder.mean.mean()


def damaged(seen: Tensor, keys: Tensor, share: float, run: float = 1.0) -> Tensor:
    """Values with that share of the positions at the mean, all channels at once; what is missing stays so.

    Args:
        seen: (B, C, *sides).
        keys: of the samples.
        share: of the positions.
        run: mean number of positions in a row, of values with one side.
    """
    if not share:
        return seen
    if run > 1:
        hit = geometric_runs(keys, OBJECTIVE, seen.shape[2], 1, share, run).transpose(1, 2)
    else:
        hit = (uniform(keys, OBJECTIVE, seen[0, 0].numel()) < share).view(len(seen), 1, *seen.shape[2:])
    return torch.where(hit & ~seen.isnan(), 0.0, seen)


def decoder(encoder: Encoder, objective: str, width: int) -> Decoder:
    """From features of the positions, (B, positions, width), to values."""
    return Decoder(encoder, width, _channels(encoder, objective), _shrink(encoder))


def vector_decoder(
    encoder: Encoder, objective: str, width: int, inner: int, kind: str = "convolutional"
) -> VectorDecoder | RecurrentDecoder:
    """From one vector a sample, (B, width), to values.

    Raises:
        UserError: a recurrent one is asked for and the values are no rows over time, or there are none.
    """
    channels = _channels(encoder, objective)
    if kind == "convolutional":
        return VectorDecoder(encoder, width, channels, inner, _shrink(encoder))
    if not sees_rows(encoder):
        raise UserError(
            f"objective.decoder recurrent makes series and frames step by step, and encoder {_name(encoder)!r} reads "
            "neither; use objective.decoder=convolutional"
        )
    return RecurrentDecoder(width, channels, inner, -(-encoder.size[0] // _shrink(encoder)))


@full_precision
def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean over all known values of all workers; none of the target's gradient."""
    return masked_mean((prediction - target.nan_to_num().detach()).square(), ~target.isnan())


def _channels(encoder: Encoder, objective: str) -> int:
    if encoder.kind == "text":
        raise UserError(
            f"objective {objective!r} rebuilds values, and encoder {_name(encoder)!r} reads words; "
            "use objective.name=tsdae or objective.name=sentence_vae"
        )
    if encoder.kind == "audio":
        return int(getattr(encoder, "row_width", 1))
    return channels_of(encoder)


def _shrink(encoder: Encoder) -> int:
    """Inputs for each value along a side."""
    return encoder.stride // encoder.row_stride if sees_rows(encoder) else 1


def _name(encoder: Encoder) -> str:
    return type(encoder).__module__.rpartition(".")[2]
