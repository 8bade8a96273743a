"""A trial without Ray: judged where it should be, resumed where it was, its failures told."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from selfray.errors import UserError
from selfray.search import ledger, metric, outcome, trial
from selfray.search.space import Space, apply
from selfray.search.trial import Plan

TEMPERATURE = "pretrain.objective.temperature"


@pytest.fixture
def plan(recipe, digits, tmp_path):
    def make(exchanges: bool = False, folder: str = "sweep", **pretrain) -> Plan:
        judged = ((1, 0.25), (3, 1.0))
        return Plan(recipe(**pretrain), str(digits), str(tmp_path / folder), "knn", judged, 300, 1, exchanges)

    return make


class Killed(BaseException):
    """The process ends here."""


def test_a_trial_is_judged_at_its_marks_and_ends_as_an_uninterrupted_run_does(plan, fit, tmp_path):
    from safetensors.torch import load_file

    seen: list[dict] = []
    asked = plan()
    assert trial.run(asked, "one", {TEMPERATURE: 0.3}, 5, lambda row, _: seen.append(row)) == ""
    assert [(row["report"], row["step"]) for row in seen] == [(1, 2), (3, 8)]
    assert 0 <= seen[-1]["score"] <= 1
    assert seen[-1]["error"] == pytest.approx(math.sqrt(seen[-1]["score"] * (1 - seen[-1]["score"]) / 60))
    fit(asked.of({TEMPERATURE: 0.3}, 5), tmp_path / "whole")
    ours = next((tmp_path / "sweep/trials/one/checkpoints").glob("step_*")) / "objective.safetensors"
    theirs = next((tmp_path / "whole/checkpoints").glob("step_*")) / "objective.safetensors"
    one, other = load_file(ours), load_file(theirs)
    assert all(np.array_equal(one[name], other[name]) for name in other)


def test_a_killed_trial_goes_on_and_tells_again_what_it_told(plan, monkeypatch):
    def killed(row, checkpoint):
        raise Killed

    with pytest.raises(Killed):
        trial.run(plan(), "one", {TEMPERATURE: 0.3}, 0, killed)
    trained: list[int] = []
    real = trial.train
    monkeypatch.setattr(trial, "train", lambda job, *a, **k: trained.append(1) or real(job, *a, **k))
    seen: list[dict] = []
    assert trial.run(plan(), "one", {TEMPERATURE: 0.3}, 0, lambda row, _: seen.append(row)) == ""
    assert ([row["report"] for row in seen], len(trained)) == ([1, 3], 1)
    whole: list[dict] = []
    trial.run(plan(folder="other"), "one", {TEMPERATURE: 0.3}, 0, lambda row, _: whole.append(row))
    assert [row["score"] for row in seen] == [row["score"] for row in whole]


def test_a_trial_that_has_ended_is_told_again_and_not_trained(plan, monkeypatch, tmp_path):
    book = ledger.Ledger(tmp_path / "sweep")
    book.add("one", {TEMPERATURE: 0.3}, 0, "search", 8)
    ledger.append(book.of("one"), {"report": 1, "step": 2, "score": 0.5, "seconds": 1.0})
    book.update("one", status=ledger.STOPPED)
    monkeypatch.setattr(trial, "train", lambda *a, **k: pytest.fail("trained again"))
    seen: list[dict] = []
    assert trial.run(plan(), "one", {TEMPERATURE: 0.3}, 0, lambda row, _: seen.append(row)) == ""
    assert [row["score"] for row in seen] == [0.5]


def test_a_trial_goes_on_from_the_checkpoint_of_another(plan, tmp_path):
    parcel = tmp_path / "parcel"

    def pack(row, checkpoint):
        import shutil

        if row["report"] == 1:
            shutil.copytree(checkpoint, parcel / checkpoint.name)
            (parcel / "judged.json").write_text(json.dumps({**row, "id": "donor"}))

    trial.run(plan(True), "donor", {TEMPERATURE: 0.1}, 0, pack)
    seen: list[dict] = []
    trial.run(plan(True), "taker", {TEMPERATURE: 0.1}, 0, lambda row, _: seen.append(row), parcel)
    assert [row["step"] for row in seen] == [8]
    curves = [ledger.curve(tmp_path / "sweep/trials" / id) for id in ("donor", "taker")]
    assert curves[0][-1]["score"] == curves[1][-1]["score"]  # the same state and settings: the same end
    assert curves[1][0]["from"] == "donor"


def test_failures_come_back_as_a_reason(plan, monkeypatch):
    settings = {"pretrain.optimizer.name": "sgd", "pretrain.optimizer.lr": 1e30}
    assert "infinite or not a number" in trial.run(plan(log_every=1), "diverges", settings, 0, lambda *_: None)
    monkeypatch.setattr(trial.metric, "judge", lambda *_: {"score": 0.1, "feature_std": 0.001, "rankme": 1.2})
    assert "collapse: at step 8" in trial.run(plan(), "collapses", {TEMPERATURE: 0.2}, 0, lambda *_: None)

    def full(*_, **__):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(trial, "train", full)
    assert "out of memory; lower batch" in trial.run(plan(), "large", {TEMPERATURE: 0.2}, 0, lambda *_: None)


def test_the_metric_follows_the_labels_and_never_reads_the_test_split(digits, monkeypatch):
    read: list[str] = []
    real = metric.load
    monkeypatch.setattr(metric, "load", lambda folder, split, limit: read.append(split) or real(folder, split, limit))
    metric._samples.cache_clear()
    assert metric.choose("auto", None, str(digits), 200) == ("knn", "max")
    assert set(read) == {"train"}
    assert metric.choose("uniformity", None, str(digits), 200) == ("uniformity", "min")
    with pytest.raises(UserError, match="did you mean 'rankme'"):
        metric.choose("rank_me", None, str(digits), 200)
    monkeypatch.setattr(metric, "labelled", lambda *_: False)
    assert metric.choose("auto", None, str(digits), 200) == ("rankme", "max")
    with pytest.raises(UserError, match="needs labels"):
        metric.choose("linear", None, str(digits), 200)


def test_a_torn_line_of_a_curve_does_not_count(tmp_path):
    ledger.append(tmp_path, {"report": 1, "step": 2, "score": 0.5, "seconds": 1.0})
    with (tmp_path / "curve.jsonl").open("a") as opened:
        opened.write('{"report": 3, "st')
    assert [row["report"] for row in ledger.curve(tmp_path)] == [1]


def test_an_append_after_a_torn_line_is_not_lost(tmp_path):
    (tmp_path / "curve.jsonl").write_text('{"report": 3, "st')
    ledger.append(tmp_path, {"report": 1, "step": 2, "score": 0.5, "seconds": 1.0})
    assert [row["report"] for row in ledger.curve(tmp_path)] == [1]


def book_of(tmp_path: Path, scores: dict[float, tuple[str, list[float]]]) -> ledger.Ledger:
    book = ledger.Ledger(tmp_path / "book")
    for temperature, (status, values) in scores.items():
        id = f"t{temperature}"
        book.add(id, {TEMPERATURE: temperature}, 0, "search", 10 * 3)
        for n, value in enumerate(values, start=1):
            ledger.append(book.of(id), {"report": n, "step": 10 * n, "score": value, "error": 0.01, "seconds": 1.0})
        book.update(id, status=status, reason="collapse" if status == ledger.FAILED else "")
        book.refresh(id)
    return ledger.Ledger(tmp_path / "book")  # as another process would read it


def test_the_best_went_all_the_way_and_the_outcome_is_a_pipeline(tmp_path, recipe):
    ended = {
        0.01: (ledger.STOPPED, [0.95]),  # high early on, but nobody knows how it would have ended
        0.1: (ledger.FINISHED, [0.3, 0.6, 0.8]),
        0.2: (ledger.FINISHED, [0.4, 0.7, 0.9]),
        0.5: (ledger.FAILED, [0.2]),
        1.0: (ledger.STOPPED, [0.1]),
        **{2.0 + n: (ledger.STOPPED, [0.1 - n / 100]) for n in range(4)},
    }
    book = book_of(tmp_path, ended)
    space = Space.model_validate({"knobs": {"objective.temperature": {"loguniform": [0.01, 10]}}, "scheduler": "asha"})
    found = outcome.collect(space, "knn", "max", book)
    assert found["best"]["settings"] == {TEMPERATURE: 0.2}
    assert found["counts"] == {"finished": 2, "stopped": 6, "failed": 1, "running": 0}
    assert found["saved"]["share"] == pytest.approx(1 - (60 + 60) / 240)
    assert found["importance"]["trials"] == 8
    outcome.write(book.folder, recipe(), found)

    from selfray.recipe import load

    assert load(book.folder / "best.yaml").pretrain == apply(recipe(), {TEMPERATURE: 0.2}).pretrain

    import pyarrow.parquet as pq

    assert pq.read_table(book.folder / "trials.parquet")["objective.temperature"].to_pylist() == list(ended)

    from selfray.recipe import flat
    from selfray.search import page

    text = page.build(book.folder, "mine", found, space, flat(recipe().plain()), "selfray run best.yaml").read_text()
    assert "objective.temperature=0.2, with 90.0%" in text
    assert "Stopping 6 trials early saved 50% of the steps" in text
    assert "://" not in text


def test_names_of_strangers_do_not_reach_the_page_as_markup(tmp_path, recipe):
    from selfray.search import page

    book = book_of(tmp_path, {0.1: (ledger.FINISHED, [0.5]), 0.2: (ledger.FINISHED, [0.6])})
    book.update("t0.1", reason="<script>alert(1)</script>")
    space = Space.model_validate({"knobs": {"objective.temperature": {"choice": [0.1, 0.2]}}})
    found = outcome.collect(space, "knn", "max", book)
    assert "<script>" not in page.build(book.folder, "<script>", found, space, {}, "x").read_text()
