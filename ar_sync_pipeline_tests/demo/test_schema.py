from __future__ import annotations

import psycopg
import pytest

_ALL_TABLES = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'AndroidRequests\\_%'"
_UNOWNED_SEQUENCES = """
    SELECT c.relname FROM pg_class c
    WHERE c.relkind = 'S' AND NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'a')
    ORDER BY 1"""
_FOREIGN_KEYS = """
    SELECT count(*), bool_and(condeferrable AND condeferred AND confdeltype = 'a')
    FROM pg_constraint WHERE contype = 'f'"""


def _one_row(url: str, query: str) -> tuple[object, ...]:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


def _columns(url: str) -> set[tuple[str, str, str, bool]]:
    with psycopg.connect(url) as connection:
        return set(
            connection.execute("""
                SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
                FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                WHERE c.relkind = 'r' AND c.relname LIKE 'AndroidRequests\\_%'
                  AND a.attnum > 0 AND NOT a.attisdropped""")
        )


def test_sender_has_24_tables_and_25_deferred_foreign_keys(sender_db: str) -> None:
    assert _one_row(sender_db, _ALL_TABLES) == (24,)
    assert _one_row(sender_db, _FOREIGN_KEYS) == (25, True)


def test_receiver_has_28_tables_and_33_deferred_foreign_keys(receiver_db: str) -> None:
    assert _one_row(receiver_db, _ALL_TABLES) == (28,)
    assert _one_row(receiver_db, _FOREIGN_KEYS) == (33, True)


def test_three_sequences_are_not_owned_by_their_column(sender_db: str) -> None:
    with psycopg.connect(sender_db) as connection:
        unowned = [name for (name,) in connection.execute(_UNOWNED_SEQUENCES)]
    assert unowned == [
        "AndroidRequests_busstop_id_seq",
        "AndroidRequests_service_id_seq",
        "AndroidRequests_token_id_seq",
    ]


def test_superfluous_unique_constraints_of_the_old_migrations_are_there(sender_db: str) -> None:
    query = """
        SELECT count(*) FROM pg_constraint u JOIN pg_constraint p
        ON u.conrelid = p.conrelid AND u.conkey = p.conkey AND u.contype = 'u' AND p.contype = 'p'
    """
    assert _one_row(sender_db, query) == (3,)


def test_receiver_adds_nullable_columns_and_four_tables_only(
    sender_db: str, receiver_db: str
) -> None:
    sender, receiver = _columns(sender_db), _columns(receiver_db)
    assert sender < receiver
    shared_tables = {table for table, *_ in sender}
    added = {column for column in receiver - sender if column[0] in shared_tables}
    assert len(added) == 17
    assert not any(not_null for *_, not_null in added)
    assert {table for table, *_ in receiver} - shared_tables == {
        "AndroidRequests_halfhourperiod",
        "AndroidRequests_reportinfo",
        "AndroidRequests_timeperiod",
        "AndroidRequests_zonificationtransantiago",
    }


def test_migrations_are_recorded_as_django_does(sender_db: str, receiver_db: str) -> None:
    query = "SELECT count(*), min(name), max(left(name, 4)) FROM django_migrations WHERE app = 'AndroidRequests'"  # noqa: E501 one statement
    assert _one_row(sender_db, query) == (34, "0001_initial", "0034")
    assert _one_row(receiver_db, query) == (55, "0001_initial", "0920")


def test_sender_schema_equals_the_sample_senders(sender_db: str, sample_sender_a: str) -> None:
    assert _columns(sender_db) == _columns(sample_sender_a)


@pytest.mark.parametrize("stage", ["sample_sender_a", "sample_sender_b"])
def test_sample_is_loaded_whole(stage: str, request: pytest.FixtureRequest) -> None:
    url: str = request.getfixturevalue(stage)
    assert _one_row(url, _ALL_TABLES) == (24,)
    query = 'SELECT count(*) FROM "AndroidRequests_poseintrajectoryoftoken"'
    assert _one_row(url, query)[0] >= 20_000  # type: ignore[operator]
