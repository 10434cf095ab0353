"""Cron expressions of five fields: validation (syntax, ranges, a day that exists), and pauses.

Dagster and cronsim understand more dialects (six fields, ``@daily``, ``L``, ``#``). A settings file
may use only what ``crontab(5)`` documents, so that it means the same to every reader.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_FIELDS = ("minutes", "hours", "days", "months", "weekdays")
_VALUE = r"[0-9]{1,2}|[A-Za-z]{3}"
_ITEM = re.compile(rf"(\*|(?P<low>{_VALUE})(-(?P<high>{_VALUE}))?)(/(?P<step>[0-9]+))?")
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_LONG_ENOUGH = timedelta(days=32)
_MOST_TICKS = 2000
_HOUR = 60


def cron_problem(expression: str) -> str | None:
    """Return what is wrong with a cron expression; None if it is valid."""
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        return f"has {len(fields)} fields instead of five"
    for place, field in enumerate(fields):
        if not all(_is_valid(item, place) for item in field.split(",")):
            return f"its {_FIELDS[place]} are out of range, or not in cron's syntax"
    try:
        # Dagster wants a day of a month that exists also where a weekday would do.
        CronSim(" ".join([*fields[:-1], "*"]), _ANY_TIME)
    except CronSimError:
        return "names a day that none of its months has"
    return None


def longest_pause(expression: str, timezone: str, now: datetime) -> timedelta:
    """Return the longest time between two ticks of a schedule, such as a weekend without ticks."""
    longest, last = timedelta(0), None
    ticks = CronSim(expression, now.astimezone(ZoneInfo(timezone)))
    for number, local in zip(range(_MOST_TICKS), ticks, strict=False):
        # Python subtracts two times of one zone as local times, without changes of the UTC offset.
        tick = local.astimezone(UTC)
        if last is not None:
            longest = max(longest, tick - last)
        last = tick
        if number > 1 and tick - now > _LONG_ENOUGH:
            break
    return longest


def minutes_between_ticks(expression: str) -> int | None:
    """Return the pause of a schedule that divides every hour evenly, in minutes; None for others.

    The first minute does not count: ``2-57/5 * * * *`` ticks every five minutes.
    """
    others = ["*"] * (len(_FIELDS) - 1)
    if cron_problem(expression) is not None or expression.split()[1:] != others:
        return None
    minutes = sorted(CronSim(expression, _ANY_TIME).minutes)
    pauses = {later - one for one, later in pairwise([*minutes, minutes[0] + _HOUR])}
    return pauses.pop() if len(pauses) == 1 else None


def _is_valid(item: str, place: int) -> bool:
    """Return whether an item of a field is valid, and means the same to every cron."""
    match = _ITEM.fullmatch(item)
    if match is None:
        return False
    low, high, step = match["low"], match["high"], match["step"]
    if low and (low == high or (step and not high)):
        return False  # Dagster reads 5-5 as *; 5/15 differs between crons
    others = ["*"] * len(_FIELDS)
    others[place] = item
    try:
        named = CronSim(" ".join(others), _ANY_TIME)
    except CronSimError:
        return False
    # Dagster refuses a step that is larger than its range.
    return not step or len(getattr(named, _FIELDS[place])) > 1
