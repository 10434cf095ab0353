"""A role that is in replica mode and may not leave it: its loads verify keys all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.sync.watch.database_findings import check_receiver
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute, rows

ORIGIN = "SET session_replication_role = origin"


@pytest.fixture
def owned(filled: TwoSites) -> TwoSites:
    """Two filled servers, as their owner reaches them."""
    users = (
        "CREATE TABLE users (id int PRIMARY KEY)",
        "ALTER TABLE app_child ADD user_id int REFERENCES users",
    )
    filled.at_sender(*users)
    filled.at_receiver(*users)
    return filled


@pytest.fixture
def role(owned: TwoSites) -> Iterator[str]:
    """Yield a role that loads, with replica mode by its default."""
    database = owned.receiver.rpartition("/")[2]
    name = f"replica of {database}"
    execute(
        owned.receiver,
        f'CREATE ROLE "{name}" LOGIN',
        f'GRANT CREATE ON DATABASE "{database}" TO "{name}"',
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{name}"',
        f'GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO "{name}"',
        f'ALTER ROLE "{name}" SET session_replication_role = replica',
    )
    yield name
    execute(owned.receiver, f'DROP OWNED BY "{name}"', f'DROP ROLE "{name}"')


@pytest.fixture
def sites(owned: TwoSites, role: str) -> TwoSites:
    """Two filled servers; the receiver's is reached as that role."""
    return replace(owned, receiver=make_conninfo(owned.receiver, user=role))


@pytest.mark.long
def test_reference_to_a_row_that_the_receiver_lacks_is_refused(
    sites: TwoSites, owned: TwoSites
) -> None:
    sites.complete()
    assert sites.load().loaded
    owned.at_sender(
        "INSERT INTO users VALUES (3)", "UPDATE app_child SET user_id = 3, changed = now()"
    )
    sites.complete()
    (refused,) = sites.load().refused
    assert "users is not replicated" in str(refused)
    assert rows(sites.receiver, "SELECT FROM app_child WHERE user_id IS NOT NULL") == []
    owned.at_receiver("INSERT INTO users VALUES (3)")
    assert sites.load().loaded
    assert equal(owned)


@pytest.mark.long
def test_load_that_has_to_let_actions_take_effect_is_refused_by_name(
    sites: TwoSites, owned: TwoSites, role: str
) -> None:
    sites.complete()
    sites.load()
    owned.at_receiver("INSERT INTO app_note (parent_id, maybe_id) VALUES (1, 7)")
    owned.at_sender("DELETE FROM app_child WHERE id = 7")
    sites.complete()
    (refused,) = sites.load().refused
    assert "session_replication_role = replica and may not change it" in str(refused)
    assert rows(sites.receiver, "SELECT maybe_id FROM app_note") == [(7,)]
    owned.at_receiver(f'ALTER ROLE "{role}" {ORIGIN}')
    assert sites.load().loaded
    assert rows(sites.receiver, "SELECT maybe_id FROM app_note") == [(None,)]


def test_mode_is_a_finding_until_the_statement_was_run(sites: TwoSites, owned: TwoSites) -> None:
    (finding,) = check_receiver(sites.receiver, sites.catalog)
    assert "has session_replication_role = replica and may not change it" in finding.problem
    execute(owned.receiver, finding.sql)
    assert check_receiver(sites.receiver, sites.catalog) == ()
