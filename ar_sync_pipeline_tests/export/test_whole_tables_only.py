"""If a role does not see all of a table, no archive is made and an error names it (case S5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.sync.watch.database_findings import check_sender
from ar_sync_pipeline_tests.export.source import Source, row_counts
from ar_sync_pipeline_tests.fix_roles import RoleScript
from ar_sync_pipeline_tests.fix_sites import execute

TABLE = "CREATE TABLE t_a (id integer PRIMARY KEY, owner text)"
ROWS = "INSERT INTO t_a SELECT n, chr(120 + n % 2) FROM generate_series(1, 900) n"
POLICY = "CREATE POLICY p ON t_a USING (owner = 'x')"
ENABLE = "ALTER TABLE t_a ENABLE ROW LEVEL SECURITY"
FORCE = "ALTER TABLE t_a FORCE ROW LEVEL SECURITY"


@pytest.fixture
def as_role(source: Source, role_script: RoleScript) -> Callable[..., Source]:
    """Return the source as its least-privilege role sees it."""
    source.run(TABLE, ROWS)

    def reader(*, warning: str = "", **variables: str) -> Source:
        url = role_script("sender", source.url, tables="t_*", warning=warning, **variables)
        return Source(url, source.folder, source.catalog)

    return reader


def refusal(source: Source) -> ArSyncError:
    with pytest.raises(ArSyncError) as caught:
        source.complete()
    with pytest.raises(ArSyncError):
        source.partial(None)
    assert "\n" not in str(caught.value)
    return caught.value


def test_policy_that_hides_rows_is_named_with_its_remedy(
    source: Source, as_role: Callable[..., Source]
) -> None:
    reader = as_role()
    source.run(ENABLE, POLICY)
    error = refusal(reader)
    assert isinstance(error, DatabaseRefusedError)
    assert "rows of t_a" in error.problem
    assert "policy p)" in error.problem
    assert 'ALTER ROLE "ar_sync sender of' in error.remedy
    assert "BYPASSRLS" in error.remedy


def test_row_level_security_without_a_policy_hides_every_row(
    source: Source, as_role: Callable[..., Source]
) -> None:
    reader = as_role()
    source.run(ENABLE)
    assert "every row is hidden" in refusal(reader).problem


@pytest.mark.long
def test_role_script_says_so_and_can_give_the_right(
    source: Source, as_role: Callable[..., Source]
) -> None:
    source.run(ENABLE, POLICY)
    assert "t_a" in refusal(as_role(warning="hide rows from this role: public.t_a")).problem
    assert row_counts(as_role(bypassrls="on").complete()) == {"t_a": 900}


def test_owner_sees_all_rows_unless_the_policy_is_forced(source: Source) -> None:
    source.run(
        "DROP ROLE IF EXISTS ar_sync_test_owner",
        "CREATE ROLE ar_sync_test_owner LOGIN",
        "GRANT ALL ON SCHEMA public TO ar_sync_test_owner",
        TABLE,
        ROWS,
        "ALTER TABLE t_a OWNER TO ar_sync_test_owner",
        ENABLE,
        POLICY,
    )
    try:
        owner = Source(
            make_conninfo(source.url, user="ar_sync_test_owner"), source.folder, source.catalog
        )
        assert row_counts(owner.complete()) == {"t_a": 900}
        source.run(FORCE)
        assert "policy p)" in refusal(owner).problem
    finally:
        execute(source.url, "DROP OWNED BY ar_sync_test_owner", "DROP ROLE ar_sync_test_owner")


def test_policy_on_a_partition_does_not_hide_its_rows_from_the_whole(
    source: Source, as_role: Callable[..., Source]
) -> None:
    source.run(
        "CREATE TABLE t_p (id integer PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE t_p1 PARTITION OF t_p FOR VALUES FROM (0) TO (10)",
        "INSERT INTO t_p SELECT n FROM generate_series(0, 9) n",
        "ALTER TABLE t_p1 ENABLE ROW LEVEL SECURITY",
    )
    reader = as_role(warning="hide rows from this role: public.t_p1")
    assert row_counts(reader.complete()) == {"t_a": 900, "t_p": 10}
    source.run("ALTER TABLE t_p ENABLE ROW LEVEL SECURITY")
    assert "rows of t_p " in refusal(reader).problem


def test_session_that_meets_a_policy_all_the_same_raises(
    source: Source, as_role: Callable[..., Source]
) -> None:
    reader = as_role()
    source.run(ENABLE, POLICY)
    with (
        pytest.raises(DatabaseRefusedError, match="BYPASSRLS"),
        connect(reader.url, application="test") as connection,
    ):
        connection.execute("SELECT * FROM public.t_a")


def test_columns_that_the_role_may_not_read_are_named(
    source: Source, as_role: Callable[..., Source]
) -> None:
    reader = as_role()
    role = role_of(reader)
    source.run(f"REVOKE SELECT ON t_a FROM {role}", f"GRANT SELECT (id) ON t_a TO {role}")
    assert "may not read column owner of t_a" in refusal(reader).problem
    source.run(f"GRANT SELECT (owner) ON t_a TO {role}")
    assert "may not read t_a as a whole" in refusal(reader).problem
    source.run(f"REVOKE ALL (id, owner) ON t_a FROM {role}")
    assert "may not read t_a:" in str(refusal(reader))


def test_check_before_any_dump_finds_everything_at_once(
    source: Source, as_role: Callable[..., Source]
) -> None:
    reader = as_role()
    source.run(
        ENABLE,
        POLICY,
        "CREATE TABLE users (id integer PRIMARY KEY)",
        "CREATE TABLE t_b (id integer PRIMARY KEY, owner integer REFERENCES users)",
        "CREATE TABLE t_c (rights aclitem)",
        f"REVOKE ALL ON t_b FROM {role_of(reader)}",
    )
    found = check_sender(reader.url, reader.catalog)
    errors = " ".join(str(one) for one in found if one.level is Level.ERROR)
    assert "table t_b gives this role no SELECT" in errors
    assert "table t_a hides rows from this role" in errors
    assert "column rights of t_c" in errors
    assert 'add "users" to `tables`' in " ".join(map(str, found))
    (problem,) = check_sender(f"{source.url}_absent", source.catalog)
    assert "does not exist" in problem.problem


def role_of(reader: Source) -> str:
    """Return the role of a URL, quoted."""
    return '"' + reader.url.split("//")[1].split("@")[0].replace("%20", " ") + '"'
