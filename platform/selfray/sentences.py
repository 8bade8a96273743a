"""From sentences to what a text encoder reads, with the tokenizer that an exported encoder carries."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import export
from .corpus import tokens
from .errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor


def tokenizer(uri: str | Path) -> "Callable[[Sequence[str]], Tensor]":
    """A function from texts to token numbers, int64 (texts, length), for `selfray.load(uri).embed`.

    Texts become [CLS] text [SEP], cut to what the encoder reads, with padding behind up to the longest of them.

    Args:
        uri: Folder of an exported encoder, or its registry URI.

    Raises:
        UserError: the encoder reads no text, or its tokenizer is missing.
    """
    folder = export.fetched(uri)
    config = export.read_config(folder)
    if config["kind"] != "text":
        raise UserError(f"the encoder in {folder} reads {config['kind']}, so it has no tokenizer")
    if not (folder / tokens.FILE).is_file():
        raise UserError(f"{folder / tokens.FILE} is missing; copy it from the folder of the corpus")
    made = tokens.load((folder / tokens.FILE).read_text(encoding="utf-8"))
    facts, longest = config["facts"], int(config["size"][0])

    def tokenize(texts: Sequence[str]) -> "Tensor":
        if isinstance(texts, str):
            raise UserError("tokenize takes a list of texts, not one text; put it in brackets")
        return rows(texts, made, facts, longest)

    return tokenize


def rows(texts: Sequence[str], tokenizer: "Tokenizer", facts: Mapping[str, Any], longest: int) -> "Tensor":
    """[CLS] text [SEP] of each text in at most `longest` tokens, padding behind: int64 (texts, length)."""
    import torch

    made = [[facts["cls"], *tokens.encode(tokenizer, text)[: longest - 2], facts["sep"]] for text in texts]
    found = torch.full((len(made), max(map(len, made), default=0)), facts["pad"], dtype=torch.long)
    for row, numbers in zip(found, made, strict=True):
        row[: len(numbers)] = torch.tensor(numbers)
    return found
