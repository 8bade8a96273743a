"""When a schedule is due: cron's rules, the clock's changes, logical dates, and what is made up for."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from selfray.errors import UserError
from selfray.schedule.cron import Cron, logical
from selfray.schedule.due import choose
from selfray.settings import Schedule

BERLIN = ZoneInfo("Europe/Berlin")


def test_sunday_is_sunday_by_both_its_numbers():
    start = datetime(2026, 11, 22, 12, tzinfo=UTC)  # a Sunday
    assert [Cron(f"0 2 * * {day}").next(1, start)[0].date().isoformat() for day in ("0", "7", "SUN")] == [
        "2026-11-29"
    ] * 3


def test_where_the_clock_is_put_back_a_night_runs_once():
    cron = Cron("30 2 * * *", "Europe/Berlin")
    due = cron.between(datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 26, 12, tzinfo=UTC))
    assert [cron.label(moment) for moment in due] == ["2026-10-25", "2026-10-26"]


def test_where_the_clock_is_put_forward_a_night_runs_once_right_after():
    cron = Cron("30 2 * * *", "Europe/Berlin")
    (due,) = cron.between(datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 12, tzinfo=UTC))
    assert due.astimezone(UTC) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert cron.label(due) == "2026-03-29"


def test_the_date_is_that_of_the_schedules_clock():
    cron = Cron("30 0 * * *", "Europe/Berlin")
    (due,) = cron.next(1, datetime(2026, 7, 1, 12, tzinfo=UTC))
    assert due.astimezone(UTC).date().isoformat() == "2026-07-01"
    assert cron.label(due) == "2026-07-02"


def test_what_is_due_several_times_a_day_is_named_to_the_minute():
    cron = Cron("0 */12 * * *", "Europe/Berlin")
    dates = cron.dates("2026-01-01", "2026-01-01")
    assert dates == ["2025-12-31T2300Z", "2026-01-01T1100Z"]
    assert logical(dates[1]) == datetime(2026, 1, 1, 11, tzinfo=UTC)


def test_dates_of_a_backfill_are_those_on_which_the_pipeline_is_due():
    assert Cron("0 2 * * MON").dates("2026-11-01", "2026-11-30") == [
        *("2026-11-02", "2026-11-09", "2026-11-16", "2026-11-23", "2026-11-30")
    ]
    with pytest.raises(UserError, match="is never due from 2026-11-03 to 2026-11-04"):
        Cron("0 2 * * MON").dates("2026-11-03", "2026-11-04")


@pytest.mark.parametrize(
    ("expression", "zone", "said"),
    [
        ("0 2 * *", "UTC", "give five fields"),
        ("0 2 * * * *", "UTC", "give five fields"),
        ("0 25 * * *", "UTC", "Bad hour"),
        ("0 2 30 2 *", "UTC", "Bad day-of-month"),
        ("0 2 * * *", "Europe/Berlinn", "no time zone 'Europe/Berlinn'"),
        ("0 2 * * *", "../../etc/passwd", "no time zone"),
    ],
)
def test_what_cannot_be_understood_is_refused(expression, zone, said):
    with pytest.raises(ValueError, match=said):
        Cron(expression, zone)


@pytest.mark.parametrize("text", ["today", "2026-13-01", "2026-1-1", "2026-01-01T02:30", "20260101"])
def test_what_is_no_date_is_refused(text):
    with pytest.raises(UserError, match="is no date"):
        logical(text)


NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)
NIGHTS = [NOW - timedelta(days=days, minutes=-1) for days in (3, 2, 1)]


@pytest.mark.parametrize(
    ("missed", "latest_minutes_ago", "runs"),
    [
        ("skip", 600, 0),  # the machine was off, and it is too late now
        ("skip", 5, 1),  # a timer that is a little late has missed nothing
        ("latest", 600, 1),
        ("latest", 5, 1),
        ("all", 600, 4),
        ("all", 5, 4),
    ],
)
def test_of_what_was_missed_so_much_is_made_up_for(missed, latest_minutes_ago, runs):
    moments = [*NIGHTS[:2], NOW - timedelta(days=1), NOW - timedelta(minutes=latest_minutes_ago)]
    schedule = Schedule.model_validate({"cron": "0 12 * * *", "missed": missed})
    chosen, left_out = choose(moments, NOW, schedule)
    assert len(chosen) == runs
    assert sorted([*chosen, *left_out]) == moments
    assert chosen in ([], moments[-1:], moments)
    assert choose([], NOW, schedule) == ([], [])
