"""Small rows of tokens and what reads them, for tests."""

import torch

from selfray import encoders

FACTS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "vocabulary": 40, "pack": False}
LENGTH = 16


def encoder(name, facts=FACTS, length=LENGTH, **settings):
    """A small encoder that knows a corpus's facts; without dropout unless it is set."""
    settings = {"shape": "tiny", "layers": 1, "dropout": 0.0} | settings
    made = encoders.find(name)(facts["vocabulary"], (length,), **settings)
    made.facts = dict(facts)
    return made


def rows(count, facts=FACTS, length=LENGTH, seed=0):
    """[CLS] document [SEP] with padding behind; words follow one another in a way that can be learned."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(5, facts["vocabulary"], (count, 1), generator=generator)
    step = torch.randint(1, 4, (count, 1), generator=generator)
    words = 5 + (first + step * torch.arange(length)) % (facts["vocabulary"] - 5)
    size = torch.randint(length // 2, length - 1, (count, 1), generator=generator)
    along = torch.arange(length)
    words = torch.where(along == 0, facts["cls"], words)
    words = torch.where(along == size, facts["sep"], words)
    return torch.where(along > size, facts["pad"], words).to(torch.uint16)


def packed_rows(count, facts=FACTS, length=LENGTH, seed=0):
    """[CLS] then documents, each but the last ended by [SEP], without padding."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(5, facts["vocabulary"], (count, length), generator=generator)
    ends = torch.rand(count, length, generator=generator) < 0.2
    words = torch.where(ends, facts["sep"], words)
    words[:, 0] = facts["cls"]
    return words.to(torch.uint16)
