"""Functions for fake data inside PostgreSQL: the same seed and number give the same value.

``random()`` would depend on the order of rows and on the version of the server; hashes of a row
number do not. All functions are temporary: they end with the session.

* ``pg_temp.draw(number, salt)``: a double in [0, 1)
* ``pg_temp.pick(number, salt, count)``: an integer in 1..count
* ``pg_temp.unique_id(number, salt)``: a uuid
* ``pg_temp.plate(number)``: a registration plate in one of the forms that people type
* ``pg_temp.awkward(number)``: a text that breaks careless copying
* ``pg_temp.present()``: the current time of the fake data
"""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

# Box in degrees over Santiago with all zones, stops, poses and people.
WEST, EAST = -70.80, -70.50
SOUTH, NORTH = -33.60, -33.30

_AWKWARD_TEXTS = (
    "",
    "Ñandú 🦤 en la micro 🚌",
    "line one\nline two\r\nline three",
    "\\N",
    "tab\there",
    'O\'Higgins "quoted"',
    "back\\slash \\n \\t \\\\",
    "\\.",
    "NULL",
    '{"not": ["an", "object"]}',
    "control \x01 and \x7f",
    "comma, semicolon; pipe| percent% dollar$1",
    "<b>bold</b> &amp;",
    "combining e\u0301 and \u202eright to left",
    "  blanks around  ",
    "zero\u200bwidth, non\u00a0breaking, 👩\u200d👩\u200d👧",
)

_FUNCTIONS = """
CREATE OR REPLACE FUNCTION pg_temp.present() RETURNS timestamptz
    LANGUAGE sql IMMUTABLE AS {present};
CREATE OR REPLACE FUNCTION pg_temp.draw(number bigint, salt integer) RETURNS double precision
    LANGUAGE sql IMMUTABLE AS {draw};
CREATE OR REPLACE FUNCTION pg_temp.pick(number bigint, salt integer, choices integer)
    RETURNS integer
    LANGUAGE sql IMMUTABLE AS 'SELECT 1 + floor(pg_temp.draw(number, salt) * choices)::integer';
CREATE OR REPLACE FUNCTION pg_temp.unique_id(number bigint, salt integer) RETURNS uuid
    LANGUAGE sql IMMUTABLE AS {unique_id};
CREATE OR REPLACE FUNCTION pg_temp.awkward(number bigint) RETURNS text
    LANGUAGE sql IMMUTABLE AS {awkward};
CREATE OR REPLACE FUNCTION pg_temp.longitude(number bigint, salt integer) RETURNS double precision
    LANGUAGE sql IMMUTABLE AS {longitude};
CREATE OR REPLACE FUNCTION pg_temp.latitude(number bigint, salt integer) RETURNS double precision
    LANGUAGE sql IMMUTABLE AS {latitude};
CREATE OR REPLACE FUNCTION pg_temp.plate(number bigint) RETURNS varchar
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE pg_temp.pick(number, 901, 20)
        WHEN 1 THEN 'dummylpt'
        WHEN 2 THEN 'DUMMYLPT'
        WHEN 3 THEN lower(letters || right(digits, 2))
        WHEN 4 THEN left(letters, 2) || ' ' || right(letters, 2) || ' ' || right(digits, 2)
        WHEN 5 THEN left(letters, 3) || '-' || left(digits, 3)
        WHEN 6 THEN left(letters, 2) || digits
        WHEN 7 THEN left(letters, 2) || digits
        ELSE letters || right(digits, 2)
    END
    FROM (
        SELECT
            chr(64 + pg_temp.pick(number, 902, 26)) || chr(64 + pg_temp.pick(number, 903, 26))
            || chr(64 + pg_temp.pick(number, 904, 26)) || chr(64 + pg_temp.pick(number, 905, 26))
                AS letters,
            lpad(pg_temp.pick(number, 906, 9999)::text, 4, '0') AS digits
    ) AS parts
    $$;
"""


def install_fake_data(
    connection: psycopg.Connection[TupleRow], *, now: datetime, seed: int
) -> None:
    """Create the temporary functions listed above in the session of a connection.

    Args:
        connection: Connection of the session; a later call replaces the functions.
        now: Result of ``pg_temp.present()``, aware.
        seed: Seed of all drawn values.
    """
    literals = ", ".join("{}" for _ in _AWKWARD_TEXTS)
    texts = sql.SQL(literals).format(*(sql.Literal(text) for text in _AWKWARD_TEXTS))
    bodies = {
        "present": sql.SQL("SELECT timestamptz {}").format(
            sql.Literal(now.astimezone(UTC).isoformat())
        ),
        # The low 52 bits: a double holds them exactly.
        "draw": sql.SQL(
            "SELECT (hashint8extended(number, salt + {}::bigint * 1000) & 4503599627370495)"
            "::double precision / 4503599627370496"
        ).format(sql.Literal(seed)),
        "unique_id": sql.SQL("SELECT md5({} || salt || ':' || number)::uuid").format(
            sql.Literal(f"{seed}:")
        ),
        "awkward": sql.SQL("SELECT (ARRAY[{}])[1 + number % {}]").format(
            texts, sql.Literal(len(_AWKWARD_TEXTS))
        ),
        "longitude": _between(WEST, EAST),
        "latitude": _between(SOUTH, NORTH),
    }
    # The body of a function is a string constant, so the composed text is quoted again.
    quoted = {name: sql.Literal(body.as_string(connection)) for name, body in bodies.items()}
    connection.execute(sql.SQL(_FUNCTIONS).format(**quoted))


def _between(low: float, high: float) -> sql.Composed:
    # A phone sends seven decimals.
    return sql.SQL(
        "SELECT round(({} + pg_temp.draw(number, salt) * {})::numeric, 7)::double precision"
    ).format(sql.Literal(low), sql.Literal(round(high - low, 7)))
