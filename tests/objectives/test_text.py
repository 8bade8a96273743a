"""Objectives on text against the heads of transformers with the same weights, and against the papers."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from selfray import objectives
from selfray.corpus.kinds.text import Text
from selfray.errors import UserError
from selfray.parts import vocabulary
from selfray.parts.pairs import pairs
from selfray.parts.vocabulary import word_losses
from selfray.views.random import sample_keys
from selfray.views.text import TextViews

sys.path.insert(0, str(Path(__file__).parents[1]))
import texts
from workers import together

PACKED = {**texts.FACTS, "pack": True}


def made(name, encoder="bert", facts=texts.FACTS, **settings):
    torch.manual_seed(0)
    return objectives.find(name)(texts.encoder(encoder, facts, layers=2), **settings).eval()


def views_of(objective, samples, **settings):
    views = TextViews(**settings)
    views.use(objective.encoder.facts)
    return views.make(objective.views, samples, sample_keys(torch.arange(len(samples)), 0, 0))


def marked(views):
    """The labels that transformers takes: -100 where nothing is asked."""
    chosen = torch.zeros_like(views["target"], dtype=torch.bool).scatter(1, views["places"], views["real"])
    return torch.where(chosen, views["target"], -100)


def test_mlm_equals_the_librarys_head():
    from transformers import BertForMaskedLM

    objective = made("mlm")
    views = views_of(objective, texts.rows(8))
    peer = BertForMaskedLM(objective.encoder.network.config).eval()
    peer.bert.load_state_dict(objective.encoder.network.state_dict())
    head = peer.cls.predictions
    head.transform.dense.load_state_dict(objective.head.dense.state_dict())
    head.transform.LayerNorm.load_state_dict(objective.head.norm.state_dict())
    objective.head.bias.data.normal_()
    head.bias.data.copy_(objective.head.bias)
    peer.tie_weights()
    loss, scalars = objective(views)
    expected = peer(
        input_ids=views["tokens"], attention_mask=(views["target"] != 0).long(), labels=marked(views),
        token_type_ids=torch.zeros_like(views["tokens"]),
    ).loss  # fmt: skip
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scalars["perplexity"], loss.detach().exp())


def test_next_token_equals_the_librarys_head_on_one_document():
    from transformers import GPT2LMHeadModel

    objective = made("next_token", "gpt")
    rows = texts.rows(8)
    peer = GPT2LMHeadModel(objective.encoder.network.config).eval()
    peer.transformer.load_state_dict(objective.encoder.network.state_dict())
    peer.tie_weights()
    loss, _ = objective(views_of(objective, rows))
    tokens = rows.long()
    labels = torch.where(tokens == 0, -100, tokens)
    expected = peer(input_ids=tokens, attention_mask=(tokens != 0).long(), labels=labels).loss
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


def test_next_token_on_packed_rows_is_the_mean_over_the_documents_read_alone():
    objective = made("next_token", "gpt", PACKED)
    rows = [[2, 9, 8, 3], [7, 6, 5, 3], [11, 12, 13]]
    loss, _ = objective(views_of(objective, torch.tensor([[token for row in rows for token in row]])))
    total = sum((len(row) - 1) * objective(views_of(objective, torch.tensor([row])))[0] for row in rows)
    torch.testing.assert_close(loss, total / sum(len(row) - 1 for row in rows))


def test_electra_judges_as_the_librarys_discriminator():
    from transformers import ElectraConfig, ElectraForPreTraining

    objective = made("electra", adversary=0.0, weight=1.0)
    views = views_of(objective, texts.rows(8), random_share=0.0, kept_share=0.0)
    seen = {}
    objective.encoder.register_forward_pre_hook(lambda _, inputs: seen.update(tokens=inputs[0]))
    loss, _ = objective(views)
    config = objective.encoder.network.config
    peer = ElectraForPreTraining(
        ElectraConfig(**{key: value for key, value in config.to_dict().items() if key != "model_type"},
                      embedding_size=config.hidden_size)
    ).eval()  # fmt: skip
    peer.electra.load_state_dict(objective.encoder.network.state_dict())
    peer.discriminator_predictions.dense.load_state_dict(objective.dense.state_dict())
    peer.discriminator_predictions.dense_prediction.load_state_dict(objective.judge.state_dict())
    valid = views["target"] != 0
    expected = peer(
        input_ids=seen["tokens"], attention_mask=valid.long(), labels=(seen["tokens"] != views["target"]).long(),
        token_type_ids=torch.cat([torch.zeros_like(valid[:, :1]), (views["target"] == 3)[:, :-1]], 1).long().cumsum(1),
    ).loss  # fmt: skip
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert (seen["tokens"] != views["target"]).any()
    assert torch.equal(seen["tokens"][~valid], views["target"][~valid])


def test_electra_draws_as_the_generator_predicts():
    hidden, words, bias = torch.randn(1, 8), torch.randn(5, 8), torch.randn(5)
    draws = torch.linspace(0, 1 - 2**-24, 20_000)
    drawn = word_losses(
        hidden.expand(20_000, 8), words, bias, torch.zeros(20_000, dtype=torch.long), torch.ones(20_000), draws
    ).drawn
    shares = linear(hidden, words, bias).softmax(1)[0]
    torch.testing.assert_close(drawn.bincount(minlength=5) / 20_000, shares, atol=2e-4, rtol=0)


def test_word_losses_in_pieces_equal_cross_entropy_with_all_gradients(monkeypatch):
    monkeypatch.setattr(vocabulary, "LOGITS", 3 * 11)  # three rows a piece
    torch.manual_seed(0)
    hidden, words, bias = (torch.randn(*shape, dtype=torch.double) for shape in ((10, 6), (11, 6), (11,)))
    target, weight = torch.randint(11, (10,)), (torch.rand(10) > 0.3).double()
    given = [tensor.clone().requires_grad_() for tensor in (hidden, words, bias)]
    said = word_losses(*given, target, weight)
    (2 * said.loss).backward()
    plain = [tensor.clone().requires_grad_() for tensor in (hidden, words, bias)]
    logits = linear(*plain)
    expected = (cross_entropy(logits, target, reduction="none") * weight).sum()
    (2 * expected).backward()
    torch.testing.assert_close(said.loss, expected)
    torch.testing.assert_close(said.right, ((logits.argmax(1) == target) * weight).sum())
    for one, other in zip(given, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def paired(count, order=False, per_document=2):
    """Pairs of rows of which every two are of one document; words say document and place."""
    ids = torch.arange(count) // per_document * Text.pieces + torch.arange(count) % per_document
    along = torch.arange(32)
    tokens = 100 + 100 * torch.arange(count)[:, None] + along
    tokens = torch.where(along == 0, 2, torch.where(along == 31, 3, tokens))
    return pairs(tokens, sample_keys(ids, 0, 0), ids, texts.FACTS, 0, order)


def test_pairs_are_balanced_and_wrong_ones_are_of_another_document():
    made = paired(2000)
    assert abs(made.wrong.float().mean() - 0.5) < 4 * 0.5 / 2000**0.5
    for number, (row, wrong) in enumerate(zip(made.tokens.tolist(), made.wrong.tolist(), strict=True)):
        assert row[0] == 2
        assert row.count(3) == 2
        cut, end = (at for at, token in enumerate(row) if token == 3)
        first, second = row[1:cut], row[cut + 1 : end]
        assert not any(row[end + 1 :])
        assert first == list(range(first[0], first[-1] + 1))
        assert first[0] == 101 + 100 * number
        assert second == list(range(second[0], second[-1] + 1))
        if wrong:
            assert (second[0] // 100 - 1) // 2 != number // 2
        else:
            assert second[0] == first[-1] + 1
        assert len(first) + len(second) == 29


def test_the_order_of_a_pair_is_exchanged_in_half_of_them():
    made = paired(2000, order=True)
    assert abs(made.wrong.float().mean() - 0.5) < 4 * 0.5 / 2000**0.5
    for row, wrong in zip(made.tokens.tolist(), made.wrong.tolist(), strict=True):
        cut = row.index(3)
        first, second = row[1:cut], row[cut + 1 : row.index(3, cut + 1)]
        assert (second + first if wrong else first + second) == list(range(min(row[1], row[cut + 1]), max(row) + 1))


def test_pairs_of_a_single_document_are_all_true():
    assert not paired(16, per_document=16).wrong.any()


def test_nsp_equals_the_librarys_two_losses():
    from transformers import BertForPreTraining

    objective = made("nsp")
    rows = texts.rows(8)
    ids = torch.arange(8) * Text.pieces
    peer = BertForPreTraining(objective.encoder.network.config).eval()
    peer.bert.load_state_dict(objective.encoder.network.state_dict(), strict=False)
    peer.bert.pooler.dense.load_state_dict(objective.pooler.state_dict())
    peer.cls.seq_relationship.load_state_dict(objective.judge.state_dict())
    head = peer.cls.predictions
    head.transform.dense.load_state_dict(objective.head.dense.state_dict())
    head.transform.LayerNorm.load_state_dict(objective.head.norm.state_dict())
    peer.tie_weights()
    seen = {}
    objective.encoder.register_forward_pre_hook(lambda _, inputs: seen.update(tokens=inputs[0]))
    keys = sample_keys(ids, 0, 0)
    loss, _ = objective({"tokens": rows.long(), "keys": keys, "ids": ids})
    made_pairs = pairs(rows.long(), keys, ids, texts.FACTS, 1 << 20)
    from selfray.parts.token_masks import choose
    from selfray.parts.words import ordinary

    chosen = choose(keys, (1 << 20) + 2, ordinary(made_pairs.tokens, texts.FACTS), 0.15)
    ends = (made_pairs.tokens == 3).long()
    expected = peer(
        input_ids=seen["tokens"], attention_mask=(made_pairs.tokens != 0).long(),
        token_type_ids=(ends.cumsum(1) - ends).clamp(max=1), labels=torch.where(chosen, made_pairs.tokens, -100),
        next_sentence_label=made_pairs.wrong.long(),
    ).loss  # fmt: skip
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "encoder", "facts", "sentence"),
    [
        ("mlm", "gpt", texts.FACTS, "objective 'mlm' needs an encoder that reads text in both directions"),
        ("next_token", "bert", texts.FACTS, "which 'bert' does not; use encoder.name=gpt"),
        ("nsp", "bert", PACKED, "prepare the corpus with pack=false"),
    ],
)
def test_what_an_objective_cannot_learn_from_is_refused(name, encoder, facts, sentence):
    with pytest.raises(UserError, match=sentence):
        made(name, encoder, facts)


def test_simclr_learns_from_dropout_alone():
    torch.manual_seed(0)
    objective = objectives.find("simclr")(texts.encoder("bert", dropout=0.1), width=16)
    views = views_of(objective, texts.rows(16))
    optimizer = torch.optim.Adam(objective.parameters(), 1e-3)
    losses = []
    for _ in range(15):
        loss, _ = objective(views)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] > 0  # the two views are not the same
    assert losses[-1] < losses[0]


CASES = {
    **{"mlm": {}, "nsp": {}, "electra": {}, "tsdae": {}, "simclr": {"width": 4}},
    "sentence_vae": {"latent": 4, "free_nats": 0.05, "rise": 0.0},
}


def trained(rank, world):
    """Loss and gradients of each objective with a worker's part of a batch."""
    from torch.nn.parallel import DistributedDataParallel

    from selfray.parts.norm import synchronise

    results = {}
    for name, settings in CASES.items():
        model = made(name, **settings).double().train()
        rows = texts.rows(8).chunk(world)[rank]
        ids = (torch.arange(8) * Text.pieces).chunk(world)[rank]
        views = TextViews(deletion=0.3)
        views.use(texts.FACTS)
        seen = views.make(model.views, rows, sample_keys(ids, 0, 0)) | ({"ids": ids} if name == "nsp" else {})
        if world > 1:
            synchronise(model)
            wrapped = DistributedDataParallel(model)
        else:
            wrapped = model
        loss, _ = wrapped(seen)
        loss.backward()
        results[name] = (loss.detach(), [p.grad for p in model.parameters()])
    return results


@pytest.mark.slow
def test_two_workers_equal_one():
    alone = trained(0, 1)
    one, other = together(2, trained, 2)
    for name, (loss, gradients) in alone.items():
        torch.testing.assert_close((one[name][0] + other[name][0]) / 2, loss)
        for mine, theirs in zip(one[name][1], gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)
