"""Cron expressions on a time zone's clock, read by cronsim, which agrees with Debian's cron where others do not."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from ..errors import UserError

MOMENT = "%Y-%m-%dT%H%MZ"
"""A logical date that is finer than a day: UTC, and without a colon, since folders are named after it."""


class Cron:
    """An expression of five fields on a time zone's clock.

    Where the clock is put back, what is due once a day is due once; where it is put forward, what was due in the hour
    that is left out is due right after it.

    Raises:
        ValueError: the expression or the time zone cannot be understood.
    """

    def __init__(self, expression: str, timezone: str = "UTC"):
        self.expression, self.timezone = expression, timezone
        try:
            self.zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"no time zone {timezone!r}; use a name such as Europe/Berlin or UTC") from None
        if len(expression.split()) != 5:
            raise ValueError(f"{expression!r} is no cron expression; give five fields, such as '30 2 * * *'")
        try:
            first = CronSim(expression, datetime(2000, 1, 1))
        except CronSimError as error:
            raise ValueError(f"{expression!r} is no cron expression: {error}") from None
        self.explained = first.explain()
        self.daily = len(first.hours) == len(first.minutes) == 1

    def after(self, moment: datetime) -> Iterator[datetime]:
        """All moments after one, in order, on the zone's clock."""
        return iter(CronSim(self.expression, moment.astimezone(self.zone)))

    def between(self, first: datetime, last: datetime) -> list[datetime]:
        """Moments after `first` up to and with `last`."""
        return list(takewhile(lambda moment: moment <= last, self.after(first)))

    def next(self, count: int, moment: datetime | None = None) -> list[datetime]:
        """The next moments."""
        return list(islice(self.after(moment or datetime.now(UTC)), count))

    def label(self, moment: datetime) -> str:
        """The logical date of a moment: a date on the zone's clock, or UTC to the minute if due more than daily."""
        if self.daily:
            return moment.astimezone(self.zone).date().isoformat()
        return moment.astimezone(UTC).strftime(MOMENT)

    def dates(self, first: str, last: str) -> list[str]:
        """The logical dates of all moments from one date to another, both included.

        Raises:
            UserError: a date cannot be read, or there is none between them.
        """
        start, end = logical(first).date(), logical(last).date()
        begin = datetime.combine(start, time(), self.zone) - timedelta(microseconds=1)
        finish = datetime.combine(end + timedelta(days=1), time(), self.zone) - timedelta(microseconds=1)
        found = list(dict.fromkeys(self.label(moment) for moment in self.between(begin, finish)))
        if not found:
            raise UserError(f"{self.expression!r} is never due from {first} to {last}; give other dates")
        return found


def logical(text: str) -> datetime:
    """A logical date as a moment in UTC: `2026-01-31`, or `2026-01-31T0230Z` where a day has several.

    Raises:
        UserError: it is neither.
    """
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        return datetime.strptime(text, MOMENT).replace(tzinfo=UTC)
    except ValueError:
        raise UserError(f"{text!r} is no date; write 2026-01-31, or 2026-01-31T0230Z in UTC") from None
