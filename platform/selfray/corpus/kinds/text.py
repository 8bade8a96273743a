"""Text as rows of token ids: documents packed into full rows, or one row a document with its label."""

from contextlib import suppress
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from ...bounds import Fraction, NonNegativeInt, PositiveInt
from ...errors import UserError
from .. import text, tokens
from ..bad import BadSample
from ..bits import packed_bits
from ..sources.source import Sample
from .kind import Draw, Kind, Row

Packed = tuple[int, list[int], str]
"""Id, token ids and source of a row."""


class Text(Kind):
    """Token ids, with the tokenizer beside the corpus.

    The special tokens are [PAD], [UNK], [CLS], [SEP] and [MASK]; the manifest's facts say their ids (`pad`, `unk`,
    `cls`, `sep`, `mask`) and the size of the `vocabulary`; `continues` has a bit for each token
    that goes on with a word (`bits.py`). Where one of them is spelled out in a document, it is
    ordinary text.

    Args:
        length: tokens of a row.
        pack: whether rows are filled with documents joined by [SEP], for pretraining; such rows have no label. A row
            starts with [CLS] wherever it begins in a document. False makes [CLS] document [SEP] of each document, with
            its label: for evaluation and for methods that compare sentences.
        long: what becomes of a document that does not fit if it is not packed: truncate, or cut into several rows.
        tokenizer: a `tokenizer.json`, or a folder with one; by default one is trained on about 20 MB of the source.
        algorithm: of a trained tokenizer: byte-level `bpe`, which can give back every text, or `wordpiece`.
        vocabulary: tokens of a trained tokenizer at most.
        lower: whether a trained tokenizer brings text to lower case; it composes Unicode (NFC) in any case.
        max_characters: above which a document is refused.
        min_words: below which a document is refused; a language without spaces has few.
        max_undecodable: share of control and replacement characters above which a document was read wrongly.
        max_symbols: share of the characters but spaces that are neither letters nor digits, above which a document is
            refused. Program text has a third.
        max_duplicate_lines: share of the characters in lines that came before. Gopher refuses web pages from 0.2.
        max_top_ngram: share of the characters in the commonest run of two, three or four words. Gopher refuses from
            0.2, 0.18 and 0.16.
        max_duplicate_ngrams: share of the characters in runs of five words that came before. Gopher refuses from 0.15.
    """

    title = "texts"
    wanted = 50_000
    wanted_bytes = 20_000_000
    pieces = 1 << 20

    def __init__(
        self,
        *,
        length: Annotated[int, Ge(8), Le(65536)] = 128,
        pack: bool = True,
        long: Literal["truncate", "cut"] = "truncate",
        tokenizer: str | None = None,
        algorithm: tokens.Algorithm = "bpe",
        vocabulary: PositiveInt = 16384,
        lower: bool = False,
        max_characters: PositiveInt = 10_000_000,
        min_words: NonNegativeInt = 1,
        max_undecodable: Fraction = 0.01,
        max_symbols: Fraction = 0.6,
        max_duplicate_lines: Fraction = 0.5,
        max_top_ngram: Fraction = 0.2,
        max_duplicate_ngrams: Fraction = 0.5,
    ):
        if vocabulary < tokens.SMALLEST:
            raise UserError(f"vocabulary is {vocabulary}; it must be at least {tokens.SMALLEST}: bytes, special tokens")
        if tokenizer is not None and lower:
            raise UserError("lower is for a tokenizer that is trained here; the one at tokenizer says so itself")
        self.length, self.pack, self.cut = length, pack, long == "cut"
        self._given, self._train = tokenizer, (algorithm, vocabulary, lower)
        self._limits = text.Limits(
            max_characters,
            min_words,
            max_undecodable,
            max_symbols,
            max_duplicate_lines,
            max_top_ngram,
            max_duplicate_ngrams,
        )
        self._packer = Packer(0, 0, length)
        self._last: tuple[Sample, list[int]] | None = None

    def settle(self, samples: Draw) -> dict[str, Any]:
        """The tokenizer's JSON: the given one, or one that is trained on the good samples."""
        if self._given is not None:
            return {"tokenizer": tokens.given(self._given)}
        texts: list[str] = []
        for sample in samples:
            with suppress(BadSample):  # counted when its fragment is done
                texts.append(self._clean(sample))
        if not texts:
            raise UserError("no readable text was found to train a tokenizer on; look at the source")
        return {"tokenizer": tokens.train(texts, *self._train)}

    def use(self, settled: dict[str, Any]) -> None:
        self._json: str = settled["tokenizer"]
        self._tokenizer = tokens.load(self._json)
        marks = tokens.continues(self._tokenizer)
        self.facts = {**tokens.facts(self._tokenizer), "pack": self.pack, "continues": marks and packed_bits(marks)}
        self.shape, self.dtype = (self.length,), "uint16" if self.facts["vocabulary"] <= 1 << 16 else "int32"
        self._packer = Packer(self.facts["cls"], self.facts["sep"], self.length)

    def files(self) -> dict[str, bytes]:
        """The tokenizer, for whoever reads the corpus or serves the encoder."""
        return {tokens.FILE: self._json.encode()}

    def encode(self, sample: Sample) -> list[Row]:
        """The rows that are full with this document, or its own rows."""
        ids = self._ids(sample)
        step = self.length - 2
        if not ids:
            raise BadSample("empty", "no token is left of it")
        if len(ids) > (self.pieces - 2) * step:
            raise BadSample("too_long", f"{len(ids):,} tokens, more than {(self.pieces - 2) * step:,}")
        if self.pack:
            return [self._row(*packed) for packed in self._packer.add(sample, ids)]
        last = len(ids) if self.cut else min(step, len(ids))
        cls, sep = self.facts["cls"], self.facts["sep"]
        rows = [[cls, *ids[at : at + step], sep] for at in range(0, last, step)]
        return [
            self._row(sample.id * self.pieces + piece, row, sample.source, sample.label, sample.group, sample.meta)
            for piece, row in enumerate(rows)
        ]

    def near(self, values: NDArray[Any]) -> tuple[list[int], bytes]:
        """MinHash keys of a document in a row of its own."""
        return text.near_keys(values[1:-1]), b""

    @property
    def by_sample(self) -> bool:
        """Documents that are packed are compared before that, since equal ones begin anywhere in a row."""
        return self.pack

    def signed(self, sample: Sample) -> tuple[bytes, list[int]]:
        """The tokens of a document, and its MinHash keys."""
        ids = np.array(self._ids(sample), self.dtype)
        return ids.tobytes(), text.near_keys(ids)

    def finish(self) -> list[Row]:
        """What is left of the last documents, as a shorter row."""
        return [self._row(*packed) for packed in self._packer.rest()]

    def _ids(self, sample: Sample) -> list[int]:
        """The tokens of a document; those of the last one are kept, since they are asked for twice."""
        if self._last is None or self._last[0] is not sample:
            self._last = sample, tokens.encode(self._tokenizer, self._clean(sample))
        return self._last[1]

    def _clean(self, sample: Sample) -> str:
        if isinstance(sample.data, BadSample):
            raise sample.data
        if not isinstance(sample.data, str | bytes):
            raise BadSample("undecodable", f"{type(sample.data).__name__}, not text")
        found = text.decoded(sample.data, self._limits)
        text.check(found, self._limits)
        return found

    def _row(
        self,
        id: int,
        ids: list[int],
        source: str,
        label: str | None = None,
        group: str | None = None,
        meta: str | None = None,
    ) -> Row:
        values = np.array(ids, self.dtype)
        return Row(id, values.tobytes(), values, label, group, meta, source)


class Packer:
    """Token ids of documents, each followed by `sep`, in rows that start with `cls`; nothing is lost.

    Args:
        length: tokens of a row, `cls` included.
    """

    def __init__(self, cls: int, sep: int, length: int):
        self._cls, self._sep, self._step = cls, sep, length - 1
        self._waiting: list[int] = []
        self._first: Sample | None = None  # the document that the next row begins in
        self._piece = 0  # rows that have begun in it

    def add(self, sample: Sample, ids: list[int]) -> list[Packed]:
        """The rows that are full now."""
        joined, at, full = [*self._waiting, *ids, self._sep], 0, []
        self._first = self._first or self._begun(sample)
        while at + self._step <= len(joined):
            full.append(self._made(joined[at : at + self._step]))
            at += self._step
            if self._first is not sample:  # what waited is less than a row, so the next one begins here
                self._first = self._begun(sample)
        self._waiting = joined[at:]
        if not self._waiting:
            self._first = None
        return full

    def rest(self) -> list[Packed]:
        """The last row, shorter than the others; a lone `sep` is left out."""
        last = [] if self._waiting in ([], [self._sep]) else [self._made(self._waiting)]
        self._waiting, self._first = [], None
        return last

    def _begun(self, sample: Sample) -> Sample:
        self._piece = 0
        return sample

    def _made(self, ids: list[int]) -> Packed:
        assert self._first is not None
        id = self._first.id * Text.pieces + self._piece
        self._piece += 1
        return id, [self._cls, *ids], self._first.source
