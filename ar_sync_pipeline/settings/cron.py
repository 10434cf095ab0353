"""Validation of cron expressions of five fields: syntax, ranges, and a day that exists.

Dagster understands more dialects (six fields, ``@daily``, ``L``, ``#``). A settings file may use
only what ``crontab(5)`` documents, so that it means the same to every reader.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_DAY = dict(
    zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True)
)
_ITEM = re.compile(r"(?P<all>\*)|(?P<low>[0-9a-z]+)(-(?P<high>[0-9a-z]+))?", re.ASCII)


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()

    def number(self, text: str) -> int | None:
        """Return the value of a number or of a word such as ``mon``; None outside the range."""
        if text in self.words:
            return self.words.index(text) + self.low
        if not re.fullmatch(r"[0-9]{1,2}", text, re.ASCII):
            return None
        return int(text) if self.low <= int(text) <= self.high else None


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 7, _WEEKDAYS),
)


def cron_problem(expression: str) -> str | None:
    """Return what is wrong with a cron expression; None if it is valid."""
    texts = expression.lower().split()
    if len(texts) != len(_FIELDS):
        return f"has {len(texts)} fields instead of five"
    values = {}
    for field, text in zip(_FIELDS, texts, strict=True):
        found = _values(field, text)
        if found is None:
            return f"its {field.name} is not in {field.low}-{field.high} or not in cron's syntax"
        values[field.name] = found
    # crontab(5): if day and weekday are both restricted, either may match.
    if texts[4] == "*" and not any(
        min(values["day"]) <= _LONGEST_DAY[month] for month in values["month"]
    ):
        return "names a day that none of its months has"
    return None


def _values(field: _Field, text: str) -> set[int] | None:
    """Return all values that one field names; None if it is not in cron's syntax."""
    values: set[int] = set()
    for item in text.split(","):
        found = _item_values(field, item)
        if found is None:
            return None
        values |= found
    return values


def _item_values(field: _Field, item: str) -> set[int] | None:
    span, slash, step_text = item.partition("/")
    match = _ITEM.fullmatch(span)
    if match is None or (slash and not re.fullmatch(r"[1-9][0-9]?", step_text, re.ASCII)):
        return None
    if match["all"]:
        low, high = field.low, field.high
    else:
        first = field.number(match["low"])
        last = field.number(match["high"]) if match["high"] else first
        if first is None or last is None or first > last:
            return None
        if match["high"] and first == last:
            return None  # Dagster's croniter reads 5-5 as *
        if slash and not match["high"]:
            return None  # a step needs a range: 5/15 means different things to different crons
        low, high = first, last
    step = int(step_text) if slash else 1
    return set(range(low, high + 1, step)) if step <= max(1, high - low) else None
