"""Views of text: the same tokens twice, masked tokens, and rows with words hidden, left out or moved."""

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from ..bounds import Fraction, PositiveInt
from ..corpus.bits import unpacked_bits
from ..discovery import nearest
from ..errors import UserError
from ..parts import token_masks, words
from .random import uniform
from .settings import checked
from .views import Views

MASKS = 8
"""The stream that masks are drawn from; those before are for views."""


@dataclass(frozen=True)
class Changes:
    """How a row is changed; see TextViews."""

    cutoff: Fraction
    deletion: Fraction
    shuffle: Fraction
    span: PositiveInt


class TextViews(Views):
    """Views of rows of tokens: integers (batch, length) in, int64 (batch, length) out, padding behind.

    With nothing set the two views of a pair are the same tokens, and differ by the encoder's dropout only, as in
    SimCSE (arXiv:2104.08821). [CLS], [SEP] and padding are never changed, and words stay in their document. Each of
    the changes is drawn for each row by itself.

    Args:
        mask_ratio: share of the tokens of a row that are chosen in `masked` views, rounded, at least one; 0.15 in BERT
            (arXiv:1810.04805).
        random_share: share of those chosen that become a random word instead of [MASK].
        kept_share: share of those chosen that stay as they are.
        whole_words: whether the tokens of a word are chosen together; the tokenizer must mark where words begin.
        cutoff: share of the tokens that become [MASK] in a view (token cut-off of ConSERT, arXiv:2105.11741).
        deletion: share of the tokens that are left out; 0.6 in TSDAE (arXiv:2104.06979). One token stays at least.
        shuffle: probability that the spans of a row are put in random order.
        span: tokens of such a span.
        second: settings of the second view where they differ from those of the first.
    """

    kinds: ClassVar[tuple[str, ...]] = ("plain", "single", "pair", "masked", "corrupted", "next_token")

    def __init__(
        self,
        *,
        mask_ratio: Annotated[float, Gt(0), Lt(1)] = 0.15,
        random_share: Fraction = 0.1,
        kept_share: Fraction = 0.1,
        whole_words: bool = False,
        cutoff: Fraction = 0.0,
        deletion: Fraction = 0.0,
        shuffle: Fraction = 0.0,
        span: PositiveInt = 5,
        second: dict[str, Any] | None = None,
    ):
        if random_share + kept_share > 1:
            raise UserError(f"random_share {random_share} and kept_share {kept_share} are more than 1 together")
        known = [field.name for field in fields(Changes)]
        for key in second or {}:
            if key not in known:
                raise UserError(f"second: no setting {key!r}{nearest(str(key), known)}; there are {', '.join(known)}")
        self.mask_ratio, self.random_share, self.kept_share = mask_ratio, random_share, kept_share
        self.whole_words, self.second = whole_words, second
        self.cutoff, self.deletion, self.shuffle, self.span = cutoff, deletion, shuffle, span
        self._first: Changes = checked(
            Changes, {"cutoff": cutoff, "deletion": deletion, "shuffle": shuffle, "span": span}
        )
        self._second: Changes = checked(Changes, asdict(self._first) | (second or {}), "second")
        self._facts: dict[str, Any] = {"pad": 0}
        self._continues: dict[torch.device, Tensor] = {}

    def use(self, facts: dict[str, Any]) -> None:
        """Take the numbers of the special tokens.

        Raises:
            UserError: whole words are wanted, but the corpus does not say where they begin.
        """
        self._facts = {"pad": 0} | facts
        if facts and self.whole_words:
            if not facts.get("continues"):
                raise UserError(
                    "whole_words needs a corpus whose tokenizer marks where words begin; prepare it again with "
                    "algorithm=wordpiece or algorithm=bpe"
                )
            flags = torch.from_numpy(unpacked_bits(facts["continues"], int(facts["vocabulary"])))
            self._continues = {flags.device: flags}

    def plain(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`tokens`: the samples as they are."""
        return {"tokens": samples.long()}

    def single(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`tokens`, and `keys`: what an objective draws from."""
        return {"tokens": samples.long(), "keys": keys}

    def pair(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`first` and `second`: two views of each row."""
        tokens = samples.long()
        first, second = (self._changed(tokens, keys, view) for view in (0, 1))
        return {"first": first, "second": second}

    def corrupted(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`tokens`: a view as the first of a pair; `target`: the row it was made from."""
        tokens = samples.long()
        return {"tokens": self._changed(tokens, keys, 0), "target": tokens}

    def next_token(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """`tokens`; `target`: the token behind each; `valid`: where there is one, in the same document if packed."""
        tokens = samples.long()
        facts = self._facts
        target = torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], facts["pad"])], dim=1)
        valid = target != facts["pad"]
        if facts.get("pack", False):
            valid &= tokens != facts["sep"]
        return {"tokens": tokens, "target": target, "valid": valid}

    def masked(self, samples: Tensor, keys: Tensor) -> dict[str, Tensor]:
        """Rows with some tokens hidden: what the network sees, what was there, and where.

        Returns:
            `tokens` and `target`, int64 (batch, length); `places`, int64 (batch, most), of the tokens chosen; `real`,
            bool (batch, most), false for places that fill up; `keys`, what an objective draws from.
        """
        tokens = samples.long()
        chosen = self.choose(tokens, keys)
        most = token_masks.most_chosen(tokens.shape[1], self.mask_ratio, self.whole_words)
        made = token_masks.hide(tokens, keys, MASKS + 1, chosen, most, self._facts, self.random_share, self.kept_share)
        return {**made._asdict(), "target": tokens, "keys": keys}

    def choose(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Which tokens of int64 rows are chosen in `masked` views: bool, (batch, length)."""
        allowed = words.ordinary(tokens, self._facts)
        number = None
        if self.whole_words:
            if tokens.device not in self._continues:
                self._continues[tokens.device] = next(iter(self._continues.values())).to(tokens.device)
            starts = ~(self._continues[tokens.device][tokens] & allowed)
            starts[:, 1:] |= ~allowed[:, :-1]
            number = (starts.long().cumsum(1) - 1).clamp(min=0)
        return token_masks.choose(keys, MASKS, allowed, self.mask_ratio, number)

    def _changed(self, tokens: Tensor, keys: Tensor, view: int) -> Tensor:
        how = (self._first, self._second)[view]
        length = tokens.shape[1]
        # Every number is drawn whatever the settings, so that switching one off leaves the others' draws alone.
        draws = uniform(keys, view, 3 * length + 1)
        hide, drop, order = draws[:, : 3 * length].chunk(3, dim=1)
        if how.shuffle:
            moved = shuffled(tokens, words.ordinary(tokens, self._facts), order, how.span, self._facts)
            tokens = torch.where(draws[:, -1:] < how.shuffle, moved, tokens)
        if how.cutoff:
            hidden = words.ordinary(tokens, self._facts) & (hide < how.cutoff)
            tokens = torch.where(hidden, self._facts["mask"], tokens)
        if how.deletion:
            tokens = without(tokens, words.ordinary(tokens, self._facts), drop, how.deletion, self._facts["pad"])
        return tokens


def without(tokens: Tensor, words_BL: Tensor, draws_BL: Tensor, share: float, pad: int) -> Tensor:
    """Rows without that share of the words but at least one of them; the others move up."""
    last = draws_BL.masked_fill(~words_BL, -1.0).argmax(1, keepdim=True)
    gone = (words_BL & (draws_BL < share)).scatter(1, last, False)
    order = (gone | (tokens == pad)).long().argsort(dim=1, stable=True)
    kept = (~gone & (tokens != pad)).sum(1, keepdim=True)
    along = torch.arange(tokens.shape[1], device=tokens.device)
    return torch.where(along < kept, tokens.gather(1, order), pad)


def shuffled(tokens: Tensor, words_BL: Tensor, draws_BL: Tensor, span: int, facts: dict[str, Any]) -> Tensor:
    """Rows whose spans of words are in random order; every document keeps its words and other tokens their places."""
    length = tokens.shape[1]
    number = words.documents(tokens, facts["sep"])
    spans = torch.arange(length, device=tokens.device) // span
    key = number + draws_BL[:, spans]  # a draw is below 1, so documents keep their order
    places = torch.where(words_BL, 0, 1).argsort(dim=1, stable=True)
    order = torch.where(words_BL, key, length + 1.0).argsort(dim=1, stable=True)
    return torch.empty_like(tokens).scatter(1, places, tokens.gather(1, order))
