"""Choice of the column that changes when a row changes: by names, types and statistics.

A wrong choice loses nothing if the watermark is used, and the next complete repairs the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ar_sync_pipeline.export.changed_at import ABSOLUTE_TIME, LOCAL_TIME
from ar_sync_pipeline.postgres.checks.column_statistics import ColumnStatistics, TableStatistics
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts

_MOVES = re.compile(
    r"modif|updat|changed|edited|touched|last_?(change|edit|write|sync)|actualiz|cambi",
    re.IGNORECASE,
)
_STAMP = re.compile(r"time_?stamp", re.IGNORECASE)
_NEVER = re.compile(r"delet|remov|expir|birth|due|start|end|valid|publish|schedul", re.IGNORECASE)
# Moves with events that change no other column of the row.
_EVENT = re.compile(r"fail|attempt|throttl|login|logon|viewed|(?<![a-z])views_|seen", re.IGNORECASE)
# A time without another word is that of an event, which is set once.
_MADE = re.compile(r"creat|insert|added|joined|regist|made|^ts$|^at$|^time$", re.IGNORECASE)
_DAY = 10


@dataclass(frozen=True)
class ChangedAt:
    """The choice for one table.

    Attributes:
        column: Column that can be used as it is; None if there is none.
        local: Column that needs the time zone in which it is written; None if there is none.
        made: Column that is set when a row is inserted, if there is no other; None if there is
            none.
        event: Column that moves with events such as logins, if there is no other; None if there
            is none.
        others: Other columns with times, each with a description.
        about: Description of the chosen column.
    """

    column: str | None
    local: str | None
    made: str | None
    event: str | None
    others: tuple[str, ...]
    about: str


def choose_changed_at(table: TableFacts, statistics: TableStatistics) -> ChangedAt:
    """Choose by name; among several prefer one without NULL, with an index, with newer values.

    For a table without a key nothing is chosen: all its rows are sent each time.
    """
    if not table.key:
        return ChangedAt(None, None, None, None, (), "")
    absolute = [c for c in table.columns if ABSOLUTE_TIME.match(c.type) and not c.generated]
    moving = [c for c in absolute if _score(c) and not _EVENT.search(c.name)]
    moving.sort(key=lambda c: _rank(c, statistics.column(c.name)), reverse=True)
    chosen = moving[0] if moving else None
    local = [
        c
        for c in table.columns
        if LOCAL_TIME.match(c.type) and _score(c) and not c.generated and not _EVENT.search(c.name)
    ]
    local.sort(key=lambda c: _rank(c, statistics.column(c.name)), reverse=True)
    made = [c for c in absolute if _MADE.search(c.name)] if not (chosen or local) else []
    none = not (chosen or local or made)
    events = [c for c in absolute if none and _score(c) and _EVENT.search(c.name)]
    return ChangedAt(
        chosen.name if chosen else None,
        local[0].name if local and not chosen else None,
        made[0].name if made else None,
        events[0].name if events else None,
        tuple(_described(c, statistics) for c in absolute if c is not chosen),
        _described(chosen or local[0], statistics) if chosen or local else "",
    )


def _score(column: ColumnFacts) -> int:
    if _NEVER.search(column.name):
        return 0
    return 2 if _MOVES.search(column.name) else int(bool(_STAMP.search(column.name)))


def _rank(column: ColumnFacts, known: ColumnStatistics) -> tuple[int, bool, bool, str]:
    return _score(column), not column.nullable, known.indexed, known.newest or ""


def _described(column: ColumnFacts, statistics: TableStatistics) -> str:
    known = statistics.column(column.name)
    parts = ["index" if known.indexed else "no index"]
    if column.nullable and known.null_fraction:
        parts.append(f"{known.null_fraction:.0%} NULL")
    if known.newest is not None:
        parts.append(f"newest value {known.newest[:_DAY]} at the last ANALYZE")
    return f"{column.name} ({', '.join(parts)})"
