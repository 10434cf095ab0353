"""Messages for operators from errors of the database while an archive's rows are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Self

import psycopg

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.postgres.connect import SET_THE_PATH, lacks_name, names_function
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.server_message import shown, shown_place
from ar_sync_pipeline.postgres.table_facts import ForeignKey, TableFacts

_MOST_NAMES = 5
_OF_ENCODINGS = (psycopg.errors.UntranslatableCharacter, psycopg.errors.CharacterNotInRepertoire)
# Such as a timestamp that its precision rounded out of the range.
_NOT_TAKEN_BACK = (
    psycopg.errors.DatetimeFieldOverflow,
    psycopg.errors.InvalidBinaryRepresentation,
)
# A statement of the load is at fault, or somebody alters the table.
_INVALID = (
    psycopg.errors.SyntaxError,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.AmbiguousColumn,
)
_OF_WHAT = re.compile("permission denied for (schema|function|type|sequence) ")
GRANT = (
    "GRANT SET ON PARAMETER session_replication_role to the role of the receiver's URL"
    " (PostgreSQL 15 or later)"
)
"""What lets the merge write without side effects."""

_CORRECT = (
    "correct the function at the receiver, or what calls it for these rows, such as a CHECK"
    " constraint, a generated column or an index"
)
_SET_THE_PATH = SET_THE_PATH.format("... (the role of the receiver's URL)", "receiver")
_REMEDY_OF_PARTITION = (
    "if this foreign key is one of or to a single partition, which a load does not follow, declare"
    " it between the partitioned tables, or delete the rows that refer by it; otherwise make it"
    " DEFERRABLE; the archive is tried again by itself"
)
VERIFY = "run ar-sync verify on the archive and look at the sender's version"
"""Remedy for an archive whose rows are not those that it describes."""


class UnprovenDeletionError(LoadRefusedError):
    """A partial would delete a row of which it does not say that the sender deleted it.

    Attributes:
        table: Table of the row; None: the partial was applied before, and an older archive brings
            the row again.
        after_gap: Whether an archive before the partial is missing, which may say it.
    """

    def __init__(self, problem: str, table: str | None, *, after_gap: bool) -> None:
        or_missing = ", or with the missing one" if after_gap else ""
        super().__init__(
            f"{problem}, and what became of that row is not in this archive",
            remedy=f"no action is needed: it comes with the next complete archive{or_missing}",
        )
        self.table = table
        self.after_gap = after_gap
        self._what = problem

    def of_older_archive(self, partial: str) -> Self:
        """Return the error of the archive after which the partial is applied again."""
        problem = f"after it, {partial} is applied again: {self._what}"
        return type(self)(problem, None, after_gap=self.after_gap)


def remedy_of_own_reference(key: ForeignKey, child: TableFacts, *, changes: bool) -> str:
    """Return the remedy for receiver-only references to rows that the sender changed or deleted.

    A load deletes rows or clears their references where the sender deleted a row, whatever the
    key's ``ON DELETE`` says.

    Args:
        child: Table of the key.
        changes: Whether the sender may have changed the values to which they refer.
    """
    follow = changes and not key.on_update.writes
    cascade = f"let {key.name} cascade ON UPDATE, or " if follow else ""
    return (
        f"{cascade}change or delete these rows at the receiver{or_disable(child)}; the archive is"
        " tried again by itself"
    )


def or_disable(table: TableFacts) -> str:
    """Return the further remedy for rows that triggers or rules of their table may keep."""
    if not table.triggers:
        return ""
    names = ", ".join(table.triggers[:_MOST_NAMES])
    return f", or disable the trigger or rule that keeps them as they are ({names})"


def remedy_of_transformed(key: str) -> str:
    """Return the remedy for a foreign key by whose transformed columns rows would be orphans."""
    return (
        f"let these rows refer to others, or drop {key} at the receiver, or let the transform write"
        " to a receiver-only column; the archive is tried again by itself"
    )


def refusal(
    error: psycopg.Error,
    *,
    fired: Sequence[str] = (),
    table: str | None = None,
    suppressed: bool = False,
    between: Iterable[str] = (),
    of_partition: bool = False,
) -> LoadRefusedError:
    """Return the message for an error that the archive's rows caused.

    It names table and constraint and never repeats values, which may be personal data.

    Args:
        fired: Triggers and rules that fired for the rows; each may be the cause.
        table: Name of the written table, for errors that do not name it.
        suppressed: Whether nothing fired that the role could suppress with a grant.
        between: As in `LoadRefusedError`.
        of_partition: Whether a foreign key is violated that may be one of a single partition.
    """
    where = _where(error, table)
    if fired:
        where += f"; these fire for replicated rows: {', '.join(fired[:_MOST_NAMES])}"
    if isinstance(error, _INVALID) and not names_function(error.diag.context):
        return LoadRefusedError(
            f"the receiver cannot run a statement of the load ({shown(error)}{where})",
            remedy="if nobody altered the table meanwhile, report this with the table's definition:"
            " it is a defect of ar-sync; the archive is tried again by itself",
            between=between,
        )
    remedy = _remedy(error, "" if suppressed else f", or {GRANT}", fires=bool(fired))
    return LoadRefusedError(
        f"the receiver refuses the archive's rows ({shown(error)}{where})",
        remedy=_REMEDY_OF_PARTITION if of_partition else remedy,
        between=between,
    )


def _where(error: psycopg.Error, table: str | None) -> str:
    diag = error.diag
    parts = [
        f"{label} {printable(name)}"
        for label, name in (
            ("table", diag.table_name or table),
            ("column", diag.column_name),
            ("constraint", diag.constraint_name),
            ("type", diag.datatype_name),
        )
        if name and name not in shown(error)
    ]
    context = (diag.context or "").partition("\n")[0]
    if "PL/pgSQL" in context:
        # "PL/pgSQL function f() line 1 at RAISE", in the language of the server.
        name = re.search(r"\S+\(.*?\)", context)
        parts.append(f"PL/pgSQL function {printable(name[0])}" if name else shown_place(error))
    return f"; {', '.join(parts)}" if parts else ""


def _remedy(error: psycopg.Error, or_grant: str, *, fires: bool) -> str:
    hint = error.diag.message_hint
    if isinstance(error, psycopg.IntegrityError):
        action = _remedy_of_constraint(error, or_grant)
    elif isinstance(error, psycopg.NotSupportedError):
        action = f"drop the rule at the receiver{or_grant}"
    elif lacks_name(error):
        action = f"{_SET_THE_PATH}; or {_CORRECT}{or_grant}"
    elif isinstance(error, psycopg.errors.InsufficientPrivilege):
        action = _remedy_of_right(error, or_grant)
    elif isinstance(error, psycopg.errors.ObjectNotInPrerequisiteState) and hint:
        # Such as a table of a publication that has no replica identity.
        action = f"do what the server says ({shown(error, hint.rstrip('.'))})"
    elif names_function(error.diag.context):
        action = _CORRECT + or_grant
    else:
        action = _remedy_of_value(error)
    if fires and GRANT not in action:
        action += or_grant
    return f"{action}; the archive is tried again by itself"


def _remedy_of_right(error: psycopg.errors.InsufficientPrivilege, or_grant: str) -> str:
    if "row-level" in str(error):
        return "ALTER ROLE ... BYPASSRLS for the role of the receiver's URL"
    if names_function(error.diag.context):
        return f"GRANT what the function needs to the role of the receiver's URL{or_grant}"
    if (denied := _OF_WHAT.match(str(error))) is not None:
        right = {"function": "EXECUTE"}.get(denied[1], "USAGE")
        of_columns = " if it is a column's" if denied[1] == "sequence" else ""
        return (
            f"GRANT {right} ON that {denied[1]} to the role of the receiver's URL, or run the"
            f" output of `ar-sync grants receiver`{of_columns}"
        )
    return (
        "run the output of `ar-sync grants receiver`, which takes back a GRANT of your own; if that"
        " is not enough, name that table in `receiver_tables` of the receiver's catalog, unless it"
        " is replicated, and run it again; or BYPASSRLS for the role of the receiver's URL if a"
        " policy hides rows"
    )


def _remedy_of_value(error: psycopg.Error) -> str:
    if isinstance(error, _OF_ENCODINGS):
        return (
            "recreate the receiver's database with the sender's encoding (SHOW server_encoding),"
            " or correct the text at the sender"
        )
    compare = "compare the table's columns and types with the sender's"
    if isinstance(error, _NOT_TAKEN_BACK):
        return (
            f"{compare}; if they are alike, correct the value at the sender: PostgreSQL reads it"
            " and does not write it"
        )
    return compare


def _remedy_of_constraint(error: psycopg.IntegrityError, or_grant: str) -> str:
    name = printable(error.diag.constraint_name or "the constraint")
    if isinstance(error, psycopg.errors.NotNullViolation):
        return "drop NOT NULL of the column at the receiver"
    if not error.diag.constraint_name and names_function(error.diag.context):
        return _CORRECT + or_grant
    if isinstance(error, psycopg.errors.ForeignKeyViolation):
        return f"make {name} DEFERRABLE, or drop it at the receiver{or_grant}"
    if not isinstance(error, psycopg.errors.CheckViolation):
        return f"compare {name} with the sender's schema and alter it at the receiver"
    if error.diag.constraint_name:
        return (
            f"drop or loosen {name} at the receiver; if the sender has the same, some of its rows"
            " violate it: it is NOT VALID there, or depends on the locale, the time zone or the"
            " time"
        )
    return "create the partition of these rows at the receiver, as at the sender"
