"""Views of text: what is hidden, left out and moved, and what never is."""

import sys
from pathlib import Path

import pytest
import torch

from selfray.corpus.bits import packed_bits
from selfray.errors import UserError
from selfray.parts.words import ordinary, random_words
from selfray.views.random import sample_keys
from selfray.views.text import TextViews

sys.path.insert(0, str(Path(__file__).parents[1]))
import texts

LARGE = {**texts.FACTS, "vocabulary": 1000}


def made(kind, samples, facts=texts.FACTS, seed=0, ids=None, **settings):
    views = TextViews(**settings)
    views.use(facts)
    ids = torch.arange(len(samples)) if ids is None else ids
    return views.make(kind, samples, sample_keys(ids, seed, 0))


def test_a_pair_with_nothing_set_is_the_same_tokens_twice():
    samples = texts.rows(8)
    views = made("pair", samples)
    assert torch.equal(views["first"], samples.long())
    assert torch.equal(views["second"], samples.long())


def test_masks_over_a_million_tokens_match_the_definition():
    samples = texts.rows(8192, LARGE, 128)
    views = made("masked", samples, LARGE)
    tokens, target, allowed = views["tokens"], views["target"], ordinary(samples.long(), LARGE)
    chosen = torch.zeros_like(allowed).scatter(1, views["places"], views["real"])
    assert not (chosen & ~allowed).any()
    assert torch.equal(chosen.sum(1), (allowed.sum(1) * 0.15).round().clamp(min=1).long())  # no row has too few places
    assert torch.equal(tokens[~chosen], target[~chosen])
    hidden = (tokens[chosen] == LARGE["mask"]).double().mean()
    kept = (tokens[chosen] == target[chosen]).double().mean()
    count = chosen.sum()
    assert abs(hidden - 0.8) < 4 * (0.16 / count) ** 0.5
    assert abs(kept - (0.1 + 0.1 / 995)) < 4 * (0.09 / count) ** 0.5
    drawn = tokens[chosen & (tokens != target) & (tokens != LARGE["mask"])]
    assert ordinary(drawn[None], LARGE).all()
    assert drawn.unique().numel() > 900


def test_every_ordinary_word_is_drawn_and_no_special_one():
    facts = {"pad": 1, "unk": 3, "cls": 0, "sep": 2, "mask": 11, "vocabulary": 12}
    draws = torch.linspace(0, 1 - 2**-24, 7000)
    assert random_words(draws, facts).bincount(minlength=12).tolist() == [0, 0, 0, 0, *[1000] * 7, 0]


def test_masks_are_a_function_of_seed_and_id_alone():
    samples = texts.rows(32)
    whole, part = made("masked", samples), made("masked", samples[8:12], ids=torch.arange(8, 12))
    for name, values in part.items():
        assert torch.equal(whole[name][8:12], values), name
    assert not torch.equal(whole["tokens"], made("masked", samples, seed=1)["tokens"])


def test_whole_words_are_hidden_as_a_whole():
    continues = [number >= 20 for number in range(1000)]  # so words have 1 / 0.02 tokens on average
    facts = {**LARGE, "continues": packed_bits(continues)}
    samples = torch.where(torch.rand(2048, 128, generator=torch.Generator().manual_seed(0)) < 0.4, 7, 700)
    samples[:, 0], samples[:, 64] = facts["cls"], facts["sep"]
    views = made("masked", samples, facts, whole_words=True)
    chosen = torch.zeros_like(samples, dtype=torch.bool).scatter(1, views["places"], views["real"])
    same_word = (samples[:, 1:] == 700) & ordinary(samples, facts)[:, :-1]
    assert (chosen[:, 1:] == chosen[:, :-1])[same_word].all()
    assert abs(chosen.sum(1).double().mean() / 126 - 0.15) < 0.005
    assert chosen.any(1).all()


def test_whole_words_are_refused_where_the_corpus_does_not_mark_them():
    with pytest.raises(UserError, match="whole_words needs a corpus whose tokenizer marks where words begin"):
        TextViews(whole_words=True).use(texts.FACTS)


def test_deletion_leaves_out_that_share_and_the_order_of_the_rest():
    samples = texts.rows(4096, LARGE, 64)
    views = made("corrupted", samples, LARGE, deletion=0.6)
    assert torch.equal(views["target"], samples.long())
    before, after = ordinary(samples.long(), LARGE).sum(), ordinary(views["tokens"], LARGE).sum()
    assert abs(after / before - 0.4) < 0.01
    for row, left in zip(samples.tolist()[:50], views["tokens"].tolist()[:50], strict=True):
        kept = [token for token in left if token != LARGE["pad"]]
        rest = iter(row)
        assert all(token in rest for token in kept)  # a subsequence
        assert kept[0] == LARGE["cls"]
        assert kept[-1] == LARGE["sep"]


def test_one_word_stays_when_all_are_deleted():
    tokens = made("corrupted", texts.rows(64), deletion=1.0)["tokens"]
    assert (ordinary(tokens, texts.FACTS).sum(1) == 1).all()


def test_shuffled_spans_stay_in_their_document():
    facts = {**LARGE, "pack": True}
    samples = texts.packed_rows(256, facts, 64)
    view = made("pair", samples, facts, shuffle=1.0, span=3)["first"]
    special = ~ordinary(samples.long(), facts)
    assert torch.equal(view[special], samples.long()[special])
    assert (view != samples.long()).any(1).float().mean() > 0.9
    ends = special.long().cumsum(1)
    for row, moved, number in zip(samples.long(), view, ends, strict=True):
        for document in number.unique():
            part = number == document
            assert torch.equal(row[part].sort().values, moved[part].sort().values)


def test_cut_off_words_are_hidden_in_one_view_only_if_the_second_says_so():
    views = made("pair", texts.rows(512), cutoff=0.5, second={"cutoff": 0.0})
    assert torch.equal(views["second"], texts.rows(512).long())
    words = ordinary(views["second"], texts.FACTS)
    assert abs((views["first"][words] == texts.FACTS["mask"]).float().mean() - 0.5) < 0.03


def test_the_next_token_is_of_the_same_document_and_no_padding():
    facts = {**texts.FACTS, "pack": True}
    samples = torch.tensor([[2, 8, 9, 3, 7, 3, 0, 0]])
    views = made("next_token", samples, facts)
    valid = views["valid"]
    assert views["tokens"][valid].tolist() == [2, 8, 9, 7]
    assert views["target"][valid].tolist() == [8, 9, 3, 3]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"second": {"cutof": 0.1}}, "second: no setting 'cutof'"),
        ({"second": {"deletion": 2}}, "second.deletion should be less than or equal to 1, not 2"),
        ({"random_share": 0.7, "kept_share": 0.5}, "more than 1 together"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        TextViews(**settings)
