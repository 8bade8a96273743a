"""An encoder in the form that other libraries load: Hugging Face transformers, and torch.export's programs."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from .encoders.encoder import Encoder
from .errors import UserError
from .export import fetched, load, read_config

Format = Literal["transformers", "pt2"]
FORMATS: tuple[str, ...] = get_args(Format)
PROGRAM, TOKENIZER = "encoder.pt2", "tokenizer.json"
SPECIAL = {"pad": "pad_token", "unk": "unk_token", "cls": "cls_token", "sep": "sep_token", "mask": "mask_token"}


def export(model: str | Path, out: str | Path, form: str = "transformers") -> Path:
    """Write an encoder for another library; what was written is loaded again and must give the same features.

    Args:
        model: an encoder's folder or registry URI.
        out: the folder to write, which must be new or empty.
        form: `transformers`: what `AutoModel.from_pretrained` and `AutoTokenizer.from_pretrained` load, of families
            whose network is of that library. `pt2`: `encoder.pt2`, a program of `torch.export` that maps a batch of
            any size to one vector a sample.

    Raises:
        UserError: no such format, the folder holds something, or the encoder cannot be written so.
    """
    if form not in FORMATS:
        raise UserError(f"there is no format {form!r}; choose one of {', '.join(FORMATS)}")
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; name a new folder")
    folder = fetched(model)
    encoder, config = load(folder), read_config(folder)
    out.mkdir(parents=True, exist_ok=True)
    if form == "pt2":
        _program(encoder, config, out / PROGRAM)
    else:
        _transformers(encoder, config, folder, out)
    return out


def _transformers(encoder: Encoder, config: dict[str, Any], folder: Path, out: Path) -> None:
    from transformers import AutoModel, PreTrainedModel

    network = getattr(encoder, "network", None)
    if not isinstance(network, PreTrainedModel):
        raise UserError(f"encoder {config['name']!r} is not of transformers; export it with --format pt2")
    plain = {"add_pooling_layer": False} if config["name"] in ("bert", "vit") else {}
    with _quiet():
        network.save_pretrained(out)
        again = AutoModel.from_pretrained(out, ignore_mismatched_sizes=True, **plain)
    changed = [name for name, weight in network.state_dict().items() if not _same(weight, again.state_dict().get(name))]
    if changed:
        raise UserError(
            f"transformers has no settings for this {config['name']!r}, such as for a stem for small images: "
            f"{changed[0]} comes back changed; export it with --format pt2"
        )
    if config["kind"] == "text":
        _tokenizer(encoder, folder, out)
    elif config["kind"] == "image":
        (out / "preprocessor_config.json").write_text(json.dumps(_preprocessor(encoder), indent=1), encoding="utf-8")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and tables: what matters is checked and said by us."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _same(weight: Tensor, other: Tensor | None) -> bool:
    return other is not None and weight.shape == other.shape and torch.equal(weight, other)


def _tokenizer(encoder: Encoder, folder: Path, out: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    from .corpus.tokens import SPECIAL as SPELLINGS

    known = {SPECIAL[name]: SPELLINGS[name] for name in SPECIAL if name in encoder.facts}
    PreTrainedTokenizerFast(
        tokenizer_file=str(folder / TOKENIZER), model_max_length=encoder.size[0], **known
    ).save_pretrained(out)


def _preprocessor(encoder: Encoder) -> dict[str, Any]:
    """What the encoder does to pixels by itself, as settings of transformers' image processor."""
    height, width = encoder.size
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": encoder.mean.tolist(),
        "image_std": encoder.std.tolist(),
    }


class _Embed(nn.Module):
    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: Tensor) -> Tensor:
        return self.encoder.embed(inputs)


def _program(encoder: Encoder, config: dict[str, Any], file: Path) -> None:
    two = example(encoder, config)  # the size of a batch of one would be taken for a constant
    try:
        made = torch.export.export(_Embed(encoder), (two,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:  # what it cannot trace it says in exceptions of many kinds
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"torch.export cannot trace encoder {config['name']!r}: {reason}") from None
    with warnings.catch_warnings():  # about constants that share memory, which are on the CPU here
        warnings.filterwarnings("ignore", "No complete tensor found in the group", UserWarning)
        torch.export.save(made, file)
    more = torch.cat([two, two, two[:1]])
    found = torch.export.load(file).module()(more)
    torch.testing.assert_close(found, encoder.embed(more), rtol=1e-4, atol=1e-5)


def example(encoder: Encoder, config: dict[str, Any], rows: int = 2) -> Tensor:
    """A random batch of what the encoder's `forward` takes."""
    generator = torch.Generator().manual_seed(0)
    if config["kind"] == "text":
        return torch.randint(5, config["channels"], (rows, *encoder.size), generator=generator)
    if config["kind"] == "image":
        return torch.rand(rows, config["channels"], *encoder.size, generator=generator)
    shape = (rows, *encoder.size) if config["kind"] == "audio" else (rows, *encoder.size, config["channels"])
    return torch.rand(shape, generator=generator) - 0.5
