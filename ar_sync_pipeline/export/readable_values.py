"""Errors of values that the server cannot read, with the name of the table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.server_message import shown


@contextmanager
def readable(table: str) -> Iterator[None]:
    """Name the table whose values the server cannot read or encode in UTF-8.

    Errors that `connect` translates are not changed; the server's text about a value is left out.

    Raises:
        SchemaError: The block failed at a value.
    """
    try:
        yield
    except (
        psycopg.errors.CharacterNotInRepertoire,
        psycopg.errors.UntranslatableCharacter,
    ) as error:
        raise SchemaError(
            f"table {table} holds text that is not valid in the database's encoding or in UTF-8",
            remedy="correct the text, or recreate a SQL_ASCII database with the encoding that its"
            " texts really have",
        ) from error
    except (
        psycopg.errors.DatetimeFieldOverflow,
        psycopg.errors.NumericValueOutOfRange,
    ) as error:
        # Only what a rule computes can leave the range of its type.
        raise SchemaError(
            f"a column rule of table {table} cannot be computed for one of its values"
            f" ({shown(error)})",
            remedy="correct the value at the end of its type's range, such as a date before"
            ' 4700 BC, or give the column the mask "null" or { constant = VALUE }, or name it in'
            " `exclude`",
        ) from error
    except (psycopg.DataError, psycopg.InternalError) as error:
        raise SchemaError(
            f"table {table} cannot be read ({shown(error)})",
            remedy="read the table with psql to find the row, and restore or correct it",
        ) from error
