"""Bytes to clean text, and what makes a text unfit to learn from."""

import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bad import BadSample

JUDGED = 1_000_000  # characters of a document that its repetition is judged by
FEWEST_WORDS, FEWEST_LINES = 50, 10  # below these a share of repeated words or lines says nothing
LONGEST_WORD = 24  # longer ones are cut: text without spaces repeats itself too
_REPLACEMENT, _KEPT_CONTROLS = "\ufffd", "\t\n\f\v\x85"
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads numbers over all bits
_SEEDS = np.random.default_rng(0).integers(0, 1 << 63, 14 * 8, np.uint64)


@dataclass(frozen=True)
class Limits:
    """What a text may have; shares are of characters unless they say otherwise."""

    max_characters: int
    min_words: int
    max_undecodable: float
    max_symbols: float
    max_duplicate_lines: float
    max_top_ngram: float
    max_duplicate_ngrams: float


def decoded(data: str | bytes, limits: Limits) -> str:
    """Text with Unix line ends, stripped at both ends, with nothing in it that UTF-8 cannot hold.

    Raises:
        BadSample: `empty`, `too_long`, or `wrong_encoding`.
    """
    if isinstance(data, bytes):
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise BadSample("wrong_encoding", "it begins like UTF-16; convert it to UTF-8")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadSample("wrong_encoding", f"byte {error.start} is no UTF-8: {error.reason}") from None
    else:
        text = data.removeprefix("\ufeff")
        if any("\ud800" <= letter <= "\udfff" for letter in set(text)):
            raise BadSample("wrong_encoding", "it has half a surrogate pair, which no encoding can hold")
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise BadSample("empty", "no text")
    if len(text) > limits.max_characters:
        raise BadSample("too_long", f"{len(text):,} characters, more than {limits.max_characters:,}")
    return text


def check(text: str, limits: Limits) -> None:
    """Refuse a text that is not worth learning from; its language is not judged.

    The measures of repetition are those of Rae et al. 2021 (Gopher, arXiv:2112.11446, table A1), for documents of at
    least 50 words or 10 lines, on their first million characters.

    Raises:
        BadSample: `wrong_encoding`, `mostly_symbols`, `too_few_words` or `repetition`.
    """
    characters = Counter(text)
    odd = sum(n for letter, n in characters.items() if _is_undecodable(letter)) / len(text)
    if odd > limits.max_undecodable:
        raise BadSample("wrong_encoding", f"{odd:.1%} control or replacement characters")
    seen = sum(n for letter, n in characters.items() if not letter.isspace())
    symbols = sum(n for letter, n in characters.items() if not letter.isspace() and not _is_word(letter)) / (seen or 1)
    if symbols > limits.max_symbols:
        raise BadSample("mostly_symbols", f"{symbols:.1%} of it are neither letters nor digits")
    if limits.min_words > 1 and (number := len(text.split(maxsplit=limits.min_words))) < limits.min_words:
        raise BadSample("too_few_words", f"{number} words, fewer than {limits.min_words}")
    _check_repetition(text[:JUDGED], limits)


def _check_repetition(text: str, limits: Limits) -> None:
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    if len(lines) >= FEWEST_LINES and (share := duplicate_lines(lines)) > limits.max_duplicate_lines:
        raise BadSample("repetition", f"{share:.1%} of it are lines that came before")
    words = [word[at : at + LONGEST_WORD] for word in text.split() for at in range(0, len(word), LONGEST_WORD)]
    if len(words) < FEWEST_WORDS:
        return
    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.uint64)
    sizes = np.array([len(word) for word in words])
    if (share := max(top_ngram(ids, sizes, n) for n in (2, 3, 4))) > limits.max_top_ngram:
        raise BadSample("repetition", f"{share:.1%} of it are one phrase")
    if (share := duplicate_ngrams(ids, sizes, 5)) > limits.max_duplicate_ngrams:
        raise BadSample("repetition", f"{share:.1%} of it are runs of five words that came before")


def duplicate_lines(lines: list[str]) -> float:
    """Share of the characters that are in a line which came before."""
    return 1 - sum(map(len, dict.fromkeys(lines))) / sum(map(len, lines))


def top_ngram(words: NDArray[np.uint64], sizes: NDArray[np.int64], n: int) -> float:
    """Share of the characters in the commonest run of n words, if it occurs more than once.

    Args:
        words: a number for each word (words).
        sizes: characters of each word (words).
    """
    _, first, counts = np.unique(_ngrams(words, n), return_index=True, return_counts=True)
    most = int(counts.argmax())
    if counts[most] < 2:
        return 0.0
    return min(1.0, float(counts[most] * sizes[first[most] : first[most] + n].sum() / sizes.sum()))


def duplicate_ngrams(words: NDArray[np.uint64], sizes: NDArray[np.int64], n: int) -> float:
    """Share of the characters within runs of n words that came before, each character counted once."""
    ngrams = _ngrams(words, n)
    _, first = np.unique(ngrams, return_index=True)
    again = np.ones(len(ngrams), bool)
    again[first] = False
    ends = np.zeros(len(words) + 1, np.int64)
    np.add.at(ends, np.flatnonzero(again), 1)
    np.add.at(ends, np.flatnonzero(again) + n, -1)
    return float(sizes[np.cumsum(ends[:-1]) > 0].sum() / sizes.sum())


def near_keys(tokens: NDArray[np.integer[Any]]) -> list[int]:
    """Keys that texts with a similar set of runs of five tokens share: MinHash (Broder 1997) in 14 bands of 8.

    Two texts that share a part s of their runs share a key with probability 1 - (1 - s^8)^14: 0.92 at s = 0.8, and
    0.05 at s = 0.5.
    """
    if len(tokens) < 5:
        return []
    runs = np.unique(_ngrams(tokens.astype(np.uint64), 5))
    mixed = (runs[:, None] ^ _SEEDS) * _MULTIPLIER
    smallest = (mixed ^ (mixed >> np.uint64(29))).min(0).reshape(14, 8)
    keys = np.arange(1, 15, dtype=np.uint64)
    for column in smallest.T:
        keys = (keys ^ column) * _MULTIPLIER
        keys ^= keys >> np.uint64(32)
    return [int(key) for key in keys]


def _ngrams(words: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """A hash of every run of n words; among a million, two share one with probability 3e-8."""
    count = len(words) - n + 1
    mixed = np.zeros(count, np.uint64)
    for offset in range(n):
        mixed = (mixed ^ (words[offset : offset + count] + np.uint64(1))) * _MULTIPLIER
        mixed ^= mixed >> np.uint64(32)
    return mixed


def _is_undecodable(letter: str) -> bool:
    return letter == _REPLACEMENT or (unicodedata.category(letter) == "Cc" and letter not in _KEPT_CONTROLS)


def _is_word(letter: str) -> bool:
    """Letters, digits, and the marks that many scripts write vowels with."""
    return letter.isalnum() or unicodedata.category(letter).startswith("M")
