"""Tables and statements of situations in which values move from row to row."""

from __future__ import annotations

from ar_sync_pipeline_tests.situations.situation import ask

NOTES = "SELECT a, note FROM own ORDER BY note"
BOTH_NOTES = ask(NOTES, (1, "on 1"), (2, "on 2"))
WRITE_NOTES = "INSERT INTO own (a, note) VALUES (1, 'on 1'), (2, 'on 2')"
HAS_MANY = (
    "CREATE TABLE own (id serial PRIMARY KEY, a int REFERENCES t_a ON DELETE CASCADE, note text)"
)
THREE = "INSERT INTO t_a VALUES (1, 'a'), (2, 'b'), (3, 'c');"


def swap(column: str, one: str = "a", other: str = "b", *, table: str = "t_a") -> str:
    """Exchange the values of rows 1 and 2 through a value that nobody has."""
    return (
        f"UPDATE {table} SET {column} = 'zz' WHERE id = 1;"
        f"UPDATE {table} SET {column} = '{one}' WHERE id = 2;"
        f"UPDATE {table} SET {column} = '{other}' WHERE id = 1;"
    )


def rotate(last: int) -> str:
    """Give each of the rows 1 to ``last`` the value of the next one, the last that of the first."""
    return (
        f"UPDATE t_a SET u = 'x' || u WHERE id <= {last};"
        f"UPDATE t_a SET u = 'v' || 1 + id % {last} WHERE id <= {last};"
    )


def values(count: int) -> str:
    return f"INSERT INTO t_a SELECT n, 'v' || n FROM generate_series(1, {count}) n;"


def with_children(action: str) -> str:
    return (
        "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE);"
        f"CREATE TABLE t_b (id int PRIMARY KEY, a int REFERENCES t_a {action})"
    )
