"""Event triggers of either side, which fire for temporary tables too, stop no dump and no load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.errors import DatabaseFailedError, DatabaseRefusedError
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_roles import RoleScript
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    execute,
    recent_window,
    rows,
    watermark_of,
)

TRIGGER = (
    "CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN {} END$$",
    "CREATE EVENT TRIGGER ddl_watch ON ddl_command_end EXECUTE FUNCTION on_ddl()",
)
AUDITS = "INSERT INTO ddl_history VALUES (tg_tag);"
FORBIDS = "RAISE EXCEPTION 'DDL is forbidden';"


OF_THE_SERVER = {
    "cancel": "PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(5);",
    "full_disk": (
        "SET LOCAL work_mem = '64kB'; SET LOCAL temp_file_limit = '64kB';"
        " PERFORM n FROM generate_series(1, 100000) n ORDER BY n DESC;"
    ),
}


@pytest.fixture
def sites(database_factory: DatabaseFactory, tmp_path: Path) -> TwoSites:
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"]})
    sites = TwoSites(database_factory(), database_factory(), catalog, tmp_path)
    for url in (sites.sender, sites.receiver):
        execute(
            url,
            "CREATE TABLE ddl_history (tag text)",
            "CREATE TABLE t_a (id int PRIMARY KEY, v text)",
        )
    sites.at_sender("INSERT INTO t_a VALUES (1, 'a')")
    return sites


def watch(url: str, body: str) -> None:
    execute(url, *(statement.format(body) for statement in TRIGGER))


def test_audit_of_the_sender_finds_its_table_by_the_application_s_search_path(
    sites: TwoSites,
) -> None:
    watch(sites.sender, AUDITS)
    since = watermark_of(sites.complete())
    sites.partial(recent_window(), since=since)
    assert ("CREATE TABLE AS",) in rows(sites.sender, "SELECT tag FROM ddl_history")


def test_trigger_of_the_sender_that_fails_is_named(sites: TwoSites) -> None:
    watch(sites.sender, FORBIDS)
    since = watermark_of(sites.complete())
    with pytest.raises(DatabaseRefusedError, match=r"DDL is forbidden; .*on_ddl\(\)") as caught:
        sites.partial(recent_window(), since=since)
    assert caught.value.remedy.endswith("return at once if session_user is postgres")
    assert any(
        "event trigger ddl_watch" in str(one) for one in check_sender(sites.sender, sites.catalog)
    )


@pytest.mark.parametrize("body", OF_THE_SERVER.values(), ids=OF_THE_SERVER)
def test_failure_of_the_server_inside_a_trigger_of_the_sender_is_retried(
    sites: TwoSites, body: str
) -> None:
    watch(sites.sender, body)
    since = watermark_of(sites.complete())
    with pytest.raises(DatabaseFailedError, match="gave up a statement"):
        sites.partial(recent_window(), since=since)


def test_trigger_of_the_sender_that_the_role_may_not_run_is_named(
    sites: TwoSites, role_script: RoleScript
) -> None:
    as_role = replace(sites, sender=role_script("sender", sites.sender, tables="t_*"))
    watch(sites.sender, AUDITS)
    since = watermark_of(as_role.complete())
    with pytest.raises(DatabaseRefusedError, match=r"permission denied .*on_ddl\(\)"):
        as_role.partial(recent_window(), since=since)


@pytest.mark.parametrize("body", [pytest.param(AUDITS, marks=pytest.mark.long), FORBIDS])
def test_trigger_of_the_receiver_does_not_fire_for_a_role_that_may_suppress_it(
    sites: TwoSites, role_script: RoleScript, body: str
) -> None:
    as_role = replace(sites, receiver=role_script("receiver", sites.receiver, tables="t_*"))
    sites.complete()
    assert as_role.load().refused == ()
    watch(sites.receiver, body)
    assert check_receiver(as_role.receiver, sites.catalog) == ()
    sites.at_sender("UPDATE t_a SET v = 'b'")
    sites.complete()
    assert as_role.load().refused == ()
    assert equal(sites, "TABLE t_a")


@pytest.mark.long
def test_trigger_of_the_receiver_that_fires_is_told(
    sites: TwoSites, role_script: RoleScript
) -> None:
    receiver = role_script("receiver", sites.receiver, tables="t_*", suppress="off")
    as_role = replace(sites, receiver=receiver)
    sites.complete()
    assert as_role.load().refused == ()
    watch(sites.receiver, AUDITS)
    found = [str(one) for one in check_receiver(receiver, sites.catalog)]
    assert any("event trigger ddl_watch (public.on_ddl()) fires" in one for one in found)
    sites.at_sender("UPDATE t_a SET v = 'b'")
    sites.complete()
    (refused,) = as_role.load().refused
    assert "permission denied for table ddl_history" in str(refused)
    assert "GRANT what the function needs" in str(refused)
