"""Choice of the column that changes when a row changes: by names, types and statistics.

A wrong choice loses nothing if the watermark is used, and the next complete repairs the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ar_sync_pipeline.export.changed_at import ABSOLUTE_TIME, LOCAL_TIME
from ar_sync_pipeline.postgres.checks.column_statistics import ColumnStatistics, TableStatistics
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts
from ar_sync_pipeline.sync.setup.personal_columns import split_name

# First letters of a word.
_MOVES = re.compile(r"modif|updat|changed|edited|touched|actualiz|cambi")
_LAST = re.compile(r"last_?(change|edit|write|sync)", re.IGNORECASE)
# Names of which no word says that only something else than the row moves the column, as that of a
# password does.
_OF_THE_ROW = re.compile(
    r"(row|record|last|date|time|dt|ts|fecha|ultima)*"
    r"(modif(ied|y|ication|icado|icaci[oó]n)|updated?|changed?|edit(ed)?|touched|write|sync(ed)?"
    r"|actualiza(do|da|ci[oó]n)|cambi(o|ado))"
    r"(on|at|date|datetime|time|timestamp|stamp|ts|dt|utc)*"
)
_SEPARATOR = re.compile(r"[\W_]")
_STAMP = re.compile(r"time_?stamp", re.IGNORECASE)
_NEVER = re.compile(r"delet|remov|expir|birth|due|start|end|valid|publish|schedul", re.IGNORECASE)
# Moves with events that change no other column of the row.
_EVENT = re.compile(r"fail|attempt|throttl|login|logon|viewed|(?<![a-z])views_|seen", re.IGNORECASE)
# A time without another word is that of an event, which is set once.
_MADE = re.compile(r"creat|insert|added|joined|regist|made|^ts$|^at$|^time$", re.IGNORECASE)
# Score of a column that moves with something in the row, such as its password or price.
_WITH_SOMETHING = 2
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
        about: Description of the chosen column, and what its name says against it.
    """

    column: str | None
    local: str | None
    made: str | None
    event: str | None
    others: tuple[str, ...]
    about: str


def usual_changed_at(tables: Iterable[TableFacts]) -> str:
    """Return the name of the column that moves in most tables; empty if none has two."""
    names = Counter(
        column.name for table in tables for column in table.columns if _is_candidate(column, table)
    )
    name, count = max(
        names.items(), key=lambda one: (one[1], _is_of_the_row(one[0])), default=("", 0)
    )
    return name if count > 1 else ""


def choose_changed_at(table: TableFacts, statistics: TableStatistics, usual: str = "") -> ChangedAt:
    """Choose by name; among several prefer one without NULL, with an index, with newer values.

    For a table without a key nothing is chosen: all its rows are sent each time.

    Args:
        table: The table.
        statistics: Its statistics.
        usual: Result of `usual_changed_at`.
    """
    if not table.key:
        return ChangedAt(None, None, None, None, (), "")
    absolute = [c for c in table.columns if ABSOLUTE_TIME.match(c.type) and not c.generated]
    candidates = [c for c in table.columns if _is_candidate(c, table)]
    candidates.sort(
        key=lambda c: (c.name == usual, *_rank(c, statistics.column(c.name))), reverse=True
    )
    chosen = next((c for c in candidates if c in absolute), None)
    local = [c for c in candidates if c not in absolute]
    made = [c for c in absolute if _MADE.search(c.name)] if not (chosen or local) else []
    none = not (chosen or local or made)
    events = [c for c in absolute if none and _score(c) and _EVENT.search(c.name)]
    return ChangedAt(
        chosen.name if chosen else None,
        local[0].name if local and not chosen else None,
        made[0].name if made else None,
        events[0].name if events else None,
        tuple(_described(c, statistics) for c in absolute if c is not chosen),
        _about(chosen or local[0], statistics, usual) if chosen or local else "",
    )


def _is_candidate(column: ColumnFacts, table: TableFacts) -> bool:
    """Return whether a column moves when the row changes, by its name and type.

    A key is there to stay.
    """
    is_time = ABSOLUTE_TIME.match(column.type) or LOCAL_TIME.match(column.type)
    is_event = column.name in table.primary_key or _EVENT.search(column.name)
    return bool(is_time and _score(column) and not column.generated and not is_event)


def _about(column: ColumnFacts, statistics: TableStatistics, usual: str) -> str:
    about = _described(column, statistics)
    if column.name == usual or _score(column) != _WITH_SOMETHING:
        return about
    return (
        f"{about}, which by its name moves with some changes only: keep it if every other change"
        " moves it too"
    )


def _score(column: ColumnFacts) -> int:
    if _NEVER.search(column.name):
        return 0
    if _is_of_the_row(column.name):
        return _WITH_SOMETHING + 1
    moves = any(map(_MOVES.match, split_name(column.name))) or _LAST.search(column.name)
    return _WITH_SOMETHING if moves else int(bool(_STAMP.search(column.name)))


def _is_of_the_row(name: str) -> bool:
    return _OF_THE_ROW.fullmatch(_SEPARATOR.sub("", name).lower()) is not None


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
