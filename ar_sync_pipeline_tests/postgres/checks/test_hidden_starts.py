"""Sessions that do not show when their transactions began are named, with what shows it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.sync.watch.database_findings import check_sender
from ar_sync_pipeline_tests.fix_sites import execute

STAMPED = Catalog.model_validate(
    {
        "name": "x",
        "tables": ["t_*"],
        "table": {"t_a": {"changed_at": "at", "watermark": False}},
    }
)
READ = Catalog.model_validate(
    {"name": "x", "tables": ["t_*"], "table": {"t_a": {"changed_at": "at"}}}
)


@pytest.fixture
def url(empty_database: str) -> str:
    execute(empty_database, "CREATE TABLE t_a (id int PRIMARY KEY, at timestamptz)")
    return empty_database


@pytest.fixture
def owner(url: str) -> Iterator[str]:
    """Yield a role of the application."""
    name = f"owner of {url.rpartition('/')[2]}"
    execute(url, f'CREATE ROLE "{name}" LOGIN')
    yield name
    execute(url, f'DROP ROLE "{name}"')


@pytest.mark.parametrize("value", ["off", "false", "0"])
def test_role_without_shown_activities_is_named_until_the_statement_was_run(
    url: str, owner: str, value: str
) -> None:
    execute(url, f"ALTER ROLE \"{owner}\" SET track_activities = '{value}'")
    (finding,) = check_sender(url, STAMPED)
    assert f"sessions of {owner} do not show when their transactions began" in finding.problem
    assert check_sender(url, READ) == ()
    execute(url, finding.sql)
    assert check_sender(url, STAMPED) == ()


def test_database_without_shown_activities_is_named_until_the_statement_was_run(url: str) -> None:
    execute(url, f'ALTER DATABASE "{url.rpartition("/")[2]}" SET track_activities = off')
    (finding,) = check_sender(url, STAMPED)
    assert finding.problem.startswith("sessions of this database do not show")
    execute(url, finding.sql)
    assert check_sender(url, STAMPED) == ()


def test_open_session_that_shows_nothing_is_named(url: str) -> None:
    with psycopg.connect(url, options="-c track_activities=off") as session:
        (finding,) = check_sender(url, STAMPED)
        assert f"sessions of {session.info.user} do not show" in finding.problem
    assert check_sender(url, STAMPED) == ()


def test_remedy_names_the_options_of_connections_which_precede_the_setting_of_a_role(
    url: str,
) -> None:
    with psycopg.connect(url, options="-c track_activities=off"):
        (finding,) = check_sender(url, STAMPED)
    assert "without track_activities in their connections' options" in finding.remedy


@pytest.mark.parametrize("change", ['REVOKE CONNECT ON DATABASE "{}" FROM PUBLIC', None])
def test_role_that_may_not_connect_is_not_named(url: str, owner: str, change: str | None) -> None:
    execute(url, f'ALTER ROLE "{owner}" SET track_activities = off')
    assert len(check_sender(url, STAMPED)) == 1
    database = url.rpartition("/")[2]
    execute(url, change.format(database) if change else f'ALTER ROLE "{owner}" NOLOGIN')
    assert check_sender(url, STAMPED) == ()


def test_own_role_is_not_named(url: str, owner: str) -> None:
    execute(
        url,
        f'ALTER ROLE "{owner}" SUPERUSER',
        f'ALTER ROLE "{owner}" SET track_activities = off',
    )
    assert len(check_sender(url, STAMPED)) == 1
    assert check_sender(make_conninfo(url, user=owner), STAMPED) == ()
