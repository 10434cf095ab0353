"""A login role that acts as another one: the other one's rights count, and remedies name it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline_tests.fix_sites import execute

CATALOG = Catalog.model_validate({"name": "x", "tables": ["t_*"]})
Check = Callable[[str, Catalog], tuple[Finding, ...]]


@dataclass
class Acting:
    """A database whose tables another role owns.

    Attributes:
        url: URL of the login role.
        login: Name of the login role, a member of the other one.
        other: Name of the role that it acts as.
    """

    owner: str
    url: str
    login: str
    other: str


@pytest.fixture
def acting(empty_database: str) -> Iterator[Acting]:
    database = empty_database.rpartition("/")[2]
    login, other = f"login of {database}", f"other of {database}"
    execute(
        empty_database,
        "CREATE TABLE t_a (id serial PRIMARY KEY)",
        f'CREATE ROLE "{other}"',
        f'CREATE ROLE "{login}" LOGIN IN ROLE "{other}"',
        f"ALTER ROLE \"{login}\" SET role = '{other}'",
    )
    yield Acting(empty_database, make_conninfo(empty_database, user=login), login, other)
    for role in (login, other):
        execute(empty_database, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


@pytest.mark.parametrize("check", [check_sender, check_receiver])
def test_missing_rights_are_given_to_the_role_that_needs_them(acting: Acting, check: Check) -> None:
    for _ in range(4):  # each statement makes the next missing right visible to the role
        *others, note = check(acting.url, CATALOG)
        assert f'sessions of role {acting.login} act as "{acting.other}"' in note.problem
        for one in others:
            assert f'"{acting.other}"' in one.remedy
            assert "ar-sync grants" not in one.remedy
            execute(acting.owner, one.sql)
    assert not others


def test_role_acts_as_itself_after_the_statement_was_run(acting: Acting) -> None:
    *_, note = check_receiver(acting.url, CATALOG)
    execute(acting.owner, note.remedy.partition("otherwise ")[2])
    findings = check_receiver(acting.url, CATALOG)
    assert findings
    assert all(acting.login in one.remedy for one in findings)


@pytest.mark.parametrize("check", [check_sender, check_receiver])
def test_rows_hidden_from_the_acting_role_are_shown_by_the_statement(
    acting: Acting, check: Check
) -> None:
    execute(acting.owner, "ALTER TABLE t_a ENABLE ROW LEVEL SECURITY")
    (hidden,) = (one for one in check(acting.url, CATALOG) if "hides rows" in one.problem)
    assert hidden.problem.endswith("security (none: every row is hidden)")
    execute(acting.owner, hidden.sql)
    assert not [one for one in check(acting.url, CATALOG) if "hides rows" in one.problem]
