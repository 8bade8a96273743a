"""Tokenizers: trained on a corpus's own text or given as a file, with five special tokens whose ids are known."""

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Literal

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ..errors import UserError

Algorithm = Literal["bpe", "wordpiece"]
FILE = "tokenizer.json"
SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
SMALLEST = 256 + len(SPECIAL)  # every byte, and the special tokens
LARGEST_ALPHABET = 1000  # characters of a WordPiece vocabulary
PART = 1 << 16  # characters that are encoded at once: an encoding takes some hundred bytes a token

_SPELLINGS = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}  # RoBERTa's, XLM-R's


def train(texts: list[str], algorithm: Algorithm, vocabulary: int, lower: bool) -> str:
    """Train a tokenizer; the same texts give the same JSON.

    Byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909; bytes as in GPT-2) decodes to exactly the normalised text
    and knows every character. WordPiece splits at spaces and punctuation first, as BERT does.

    Args:
        vocabulary: tokens at most, special ones included; fewer if the texts do not have so many.
        lower: whether the text is brought to lower case, after its Unicode is composed (NFC).

    Returns:
        The JSON of a Hugging Face tokenizer.
    """
    normalizer = normalizers.Sequence([normalizers.NFC(), *([normalizers.Lowercase()] if lower else [])])
    special = list(SPECIAL.values())
    if algorithm == "bpe":
        made = Tokenizer(models.BPE())
        made.normalizer, made.pre_tokenizer = normalizer, pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        bytes_ = pre_tokenizers.ByteLevel.alphabet()
        made.train_from_iterator(
            texts,
            trainers.BpeTrainer(
                vocab_size=vocabulary, special_tokens=special, initial_alphabet=bytes_, show_progress=False
            ),
        )
        return str(made.to_str())
    counted: Counter[str] = Counter()
    for text in texts:
        counted.update(letter for letter in normalizer.normalize_str(text) if not letter.isspace())
    common = sorted(counted, key=lambda letter: (-counted[letter], letter))
    alphabet = sorted(common[: min(LARGEST_ALPHABET, (vocabulary - len(special)) // 4)])
    drawn = Tokenizer(models.WordPiece(unk_token=SPECIAL["unk"]))
    drawn.normalizer, drawn.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    # The trainer numbers characters within words in the order of a randomly seeded hash map unless it knows them
    inner = [f"##{letter}" for letter in alphabet]
    drawn.train_from_iterator(
        texts,
        trainers.WordPieceTrainer(
            vocab_size=vocabulary,
            special_tokens=[*special, *inner],
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        ),
    )
    made = Tokenizer(models.WordPiece(drawn.get_vocab(), unk_token=SPECIAL["unk"]))
    made.normalizer, made.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return str(made.to_str())


def given(path: str | Path) -> str:
    """The JSON of a tokenizer that is there already; special tokens that it lacks are added at its end.

    Args:
        path: a `tokenizer.json`, or the folder of a Hugging Face tokenizer with one.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"no tokenizer at {file}; name a {FILE}, or a folder that Hugging Face's save_pretrained wrote with one"
        )
    try:
        text = file.read_text(encoding="utf-8")
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare exceptions
        raise UserError(f"{file} is no readable tokenizer ({error}); save it again as {FILE}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    lacking = [token for name, token in SPECIAL.items() if _id(tokenizer, name) is None]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in lacking])
    return str(tokenizer.to_str())


@lru_cache(maxsize=2)  # a fragment builds its kind once a split, and a large vocabulary takes a second to read
def load(text: str) -> Tokenizer:
    """The tokenizer of a JSON; the names of special tokens in a text are text to it."""
    tokenizer = Tokenizer.from_str(text)
    tokenizer.encode_special_tokens = True
    return tokenizer


def facts(tokenizer: Tokenizer) -> dict[str, int]:
    """The ids of the special tokens, and the size of the `vocabulary`: one more than the largest id."""
    ids = {name: found for name in SPECIAL if (found := _id(tokenizer, name)) is not None}
    return {**ids, "vocabulary": max(tokenizer.get_vocab().values()) + 1}


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text without special tokens; long texts in parts that end with a line or word where they can."""
    found: list[int] = []
    at = 0
    while at < len(text):
        end = min(at + PART, len(text))
        if end < len(text):
            half = at + PART // 2
            end = text.rfind("\n", half, end) + 1 or text.rfind(" ", half, end) + 1 or end
        # This call leaves out the offsets of tokens and takes two thirds of the time of `encode`
        found += tokenizer.encode_batch_fast([text[at:end]], add_special_tokens=False)[0].ids
        at = end
    return found


def continues(tokenizer: Tokenizer) -> list[bool] | None:
    """Whether each token goes on with the word of the one before; None if the tokenizer does not mark words.

    WordPiece marks what goes on (##), byte-level BPE a space before (Ġ), SentencePiece the start of a word (▁). A word
    that follows a special token starts there in any case.
    """
    vocabulary = tokenizer.get_vocab()
    flags = [False] * (max(vocabulary.values()) + 1)
    special = {_id(tokenizer, name) for name in SPECIAL}
    if isinstance(tokenizer.model, models.WordPiece):
        marked = [number for token, number in vocabulary.items() if token.startswith("##")]
    else:
        signs = [sign for sign in ("Ġ", "▁") if any(token.startswith(sign) for token in vocabulary)]
        if not signs:
            return None
        starts = (*signs, "Ċ", "ĉ")  # a line's end and a tab too
        marked = [number for token, number in vocabulary.items() if not token.startswith(starts)]
    for number in marked:
        flags[number] = number not in special
    return flags


def _id(tokenizer: Tokenizer, name: str) -> int | None:
    for spelling in (SPECIAL[name], _SPELLINGS[name]):
        found = tokenizer.token_to_id(spelling)
        if found is not None:
            return int(found)
    return None
