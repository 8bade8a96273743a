"""Two schedulers: one at a time, no date twice, on a disk and in a real S3 server."""

import threading

import pytest

from selfray.schedule import lease as leases
from selfray.schedule.lease import BUSY, DONE, Lease, Leases
from selfray.storage import Storage


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path):
    """A place that several schedulers share."""
    return Storage.at(f"{request.getfixturevalue('bucket')}/leases" if request.param == "s3" else tmp_path / "leases")


def test_of_many_that_ask_at_once_one_gets_the_lease(place):
    got, start = [], threading.Barrier(6)

    def ask():
        start.wait()
        got.append(Leases(place, "nightly").claim("2026-01-01"))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(one) for one in got].count(Lease) == 1
    assert got.count(BUSY) == 5


def test_while_one_runs_no_other_date_of_the_pipeline_begins_but_other_pipelines_do(place):
    mine, other = Leases(place, "nightly"), Leases(place, "nightly")
    with mine.claim("2026-01-01") as held:
        assert other.claim("2026-01-01") == BUSY
        assert other.claim("2026-01-02") == BUSY
        assert other.holder()["date"] == "2026-01-01"
        assert isinstance(Leases(place, "weekly").claim("2026-01-01"), Lease)
        assert held.end({"status": "done", "exit": 0})
    assert other.holder() is None
    assert other.claim("2026-01-01") == DONE
    assert other.ended("2026-01-01")["status"] == "done"
    assert isinstance(other.claim("2026-01-02"), Lease)


def test_what_was_interrupted_may_be_run_by_another(place):
    with Leases(place, "nightly").claim("2026-01-01"):
        pass
    assert isinstance(Leases(place, "nightly").claim("2026-01-01"), Lease)


def test_a_holder_that_died_is_followed_after_a_silence_and_one_that_beats_is_not(place, monkeypatch):
    monkeypatch.setattr(leases, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.1)
    asking = Leases(place, "nightly")
    with Leases(place, "nightly").claim("2026-01-01") as alive:
        threading.Event().wait(1.0)
        assert asking.claim("2026-01-01") == BUSY
        assert not alive.lost.is_set()
    dead = Leases(place, "nightly").claim("2026-01-01")
    assert asking.claim("2026-01-01") == BUSY
    threading.Event().wait(0.7)
    follower = asking.claim("2026-01-01")
    assert isinstance(follower, Lease)
    assert not dead.beat()  # should it wake up, it learns that it has lost the lease
    assert follower.beat()
