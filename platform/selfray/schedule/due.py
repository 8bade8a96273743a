"""Which of the dates that have become due are run, and which are left out."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from ..settings import Schedule


def choose(moments: Sequence[datetime], now: datetime, schedule: Schedule) -> tuple[list[datetime], list[datetime]]:
    """Moments to run and moments to leave out.

    Args:
        moments: That have become due since the last one that was dealt with, in order.
        now: At most `late_minutes` after the newest of them, it is on time; all others are missed.
        schedule: `missed` says what is made up for: nothing, the latest, or all.
    """
    if not moments:
        return [], []
    *older, newest = moments
    on_time = now - newest <= timedelta(minutes=schedule.late_minutes)
    if schedule.missed == "all":
        return list(moments), []
    if on_time or schedule.missed == "latest":
        return [newest], older
    return [], list(moments)
