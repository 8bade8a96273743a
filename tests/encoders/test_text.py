"""Encoders of text: padding and other documents do not leak."""

import sys
from pathlib import Path

import pytest
import torch

from selfray import encoders
from selfray.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1]))
import texts

OF_TEXT = [name for name in encoders.names() if encoders.find(name).kind == "text"]
PACKED = {**texts.FACTS, "pack": True}


def made(name, facts=texts.FACTS, **settings):
    torch.manual_seed(0)
    return texts.encoder(name, facts, layers=2, **settings).eval()


@pytest.mark.parametrize("name", OF_TEXT)
def test_features_and_embeddings_have_the_stated_width_from_any_integers(name):
    encoder, rows = made(name), texts.rows(3)
    assert encoder(rows.long()).shape == (3, texts.LENGTH, encoder.width)
    with torch.inference_mode():
        torch.testing.assert_close(encoder.embed(rows), encoder.embed(rows.int()))


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize("name", OF_TEXT)
def test_more_padding_changes_nothing(name, pooling):
    if name == "gpt" and pooling == "cls":
        pytest.skip("the first token has seen nothing")
    encoder = made(name, pooling=pooling)
    row = torch.tensor([[2, 9, 8, 7, 3]])
    padded = torch.nn.functional.pad(row, (0, 7))
    with torch.inference_mode():
        torch.testing.assert_close(encoder(padded)[:, :5], encoder(row))
        torch.testing.assert_close(encoder.embed(padded), encoder.embed(row))


@pytest.mark.parametrize("name", OF_TEXT)
def test_what_stands_under_a_mask_is_not_seen(name):
    encoder = made(name)
    rows = texts.rows(4).long()
    mask = torch.zeros_like(rows, dtype=torch.bool)
    mask[:, 3:6] = True
    other = rows.masked_scatter(mask, torch.randint(5, 40, (12,)))
    read = ~mask & (rows != texts.FACTS["pad"])
    with torch.inference_mode():
        torch.testing.assert_close(encoder(rows, mask)[read], encoder(other, mask)[read])


@pytest.mark.parametrize("name", OF_TEXT)
def test_documents_of_a_packed_row_are_read_as_if_alone(name):
    encoder = made(name, PACKED)
    with torch.inference_mode():
        together = encoder(torch.tensor([[2, 9, 8, 3, 7, 6, 5, 3, 11]]))
        alone = [encoder(torch.tensor([row])) for row in ([2, 9, 8, 3], [7, 6, 5, 3], [11])]
    torch.testing.assert_close(together, torch.cat(alone, dim=1))


def test_gpt_sees_what_came_before_only_and_bert_everything():
    row, other = torch.tensor([[2, 9, 8, 7, 3]]), torch.tensor([[2, 9, 8, 5, 3]])
    for name, same in (("gpt", True), ("bert", False)):
        encoder = made(name)
        with torch.inference_mode():
            assert torch.allclose(encoder(row)[:, :3], encoder(other)[:, :3]) == same


def test_every_weight_gets_a_gradient_but_those_that_nothing_asks_for():
    for name in OF_TEXT:
        encoder = made(name)
        encoder.embed(texts.rows(2)).square().sum().backward()
        assert [n for n, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", OF_TEXT)
def test_rows_that_are_too_long_are_refused(name):
    with pytest.raises(UserError, match="rows have 20 tokens, the encoder reads 16 at most"):
        made(name)(torch.full((1, 20), 7))


def test_features_equal_the_librarys_own_on_one_document():
    from transformers import BertModel, GPT2Model

    rows = texts.rows(3).long()
    valid = (rows != 0).long()
    for name, peer in (("bert", BertModel), ("gpt", GPT2Model)):
        encoder = made(name)
        other = peer(encoder.network.config, **({"add_pooling_layer": False} if name == "bert" else {})).eval()
        other.load_state_dict(encoder.network.state_dict())
        with torch.inference_mode():
            expected = other(input_ids=rows, attention_mask=valid).last_hidden_state
            torch.testing.assert_close(encoder(rows)[valid.bool()], expected[valid.bool()])
