"""Two databases that situations share, swept before each, and the roles that load."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.merge import filling as merge_filling
from ar_sync_pipeline_tests.fix_sites import execute
from ar_sync_pipeline_tests.open_sessions import close_sessions, session
from ar_sync_pipeline_tests.situations.running import Running, Servers
from ar_sync_pipeline_tests.situations.situation import Filling, Mode, Situation, filling_of

_ROLES = {Mode.LEAST: "situation_least", Mode.REPLICA: "situation_replica"}
_SWEEP = """
DO $$
DECLARE name text;
BEGIN
  FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)'
  LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP;
END $$;
CREATE SCHEMA public;
"""
_RIGHTS = (
    "GRANT USAGE ON SCHEMAS",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES",
    "GRANT USAGE, SELECT, UPDATE ON SEQUENCES",
)

_WORTH_A_LOCK_ROWS = {Filling.DIRECT: 1, Filling.STAGED: sys.maxsize}

_PARAMETERS_CAN_BE_GRANTED = 15

StartSituation = Callable[[Situation, Mode], Running]
RunSituation = Callable[[Situation, Mode], None]


@pytest.fixture(scope="session")
def situation_servers(postgres_server: EmbeddedPostgres) -> Iterator[Servers]:
    urls = [postgres_server.create_database(f"situation_{side}") for side in ("sender", "receiver")]
    for role in _ROLES.values():
        execute(postgres_server.url(), f"CREATE ROLE {role} LOGIN")
    replica = _ROLES[Mode.REPLICA]
    grant = f"GRANT SET ON PARAMETER session_replication_role TO {replica}"
    if postgres_server.binaries.major < _PARAMETERS_CAN_BE_GRANTED:
        grant = f"ALTER ROLE {replica} SUPERUSER"
    execute(postgres_server.url(), grant)
    yield Servers(*urls)
    for side, url in zip(("sender", "receiver"), urls, strict=True):
        close_sessions(url)
        postgres_server.drop_database(f"situation_{side}")


@pytest.fixture
def filling() -> Filling | None:
    """How empty tables are filled; None: as the name of the situation says. `cases` says it."""
    return None


@pytest.fixture
def start_situation(
    postgres_server: EmbeddedPostgres,
    situation_servers: Servers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    filling: Filling | None,
) -> StartSituation:
    """Two empty databases, to go through a situation by hand."""

    def start(situation: Situation, mode: Mode) -> Running:
        if postgres_server.binaries.major < situation.needs:
            pytest.skip(f"its SQL needs PostgreSQL {situation.needs}")
        worth = _WORTH_A_LOCK_ROWS[filling or filling_of(situation)]
        monkeypatch.setattr(merge_filling, "_WORTH_A_LOCK_ROWS", worth)
        role = loads_as(situation_servers, mode)
        return Running(situation, mode, situation_servers, role, tmp_path)

    return start


@pytest.fixture
def run_situation(start_situation: StartSituation) -> RunSituation:
    """Go through a situation from empty databases on."""
    return lambda situation, mode: start_situation(situation, mode).run()


def loads_as(servers: Servers, mode: Mode) -> str:
    """Empty both databases; returns the URL with which the receiver loads."""
    for url in (servers.sender, servers.receiver):
        _sweep(url)
    if mode is Mode.SUPERUSER:
        return servers.receiver
    role = _ROLES[mode]
    # What is made from here on may be used by the role, and belongs to somebody else.
    execute(
        servers.receiver,
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"CREATE SCHEMA ar_sync AUTHORIZATION {role}",
        *(f"ALTER DEFAULT PRIVILEGES {right} TO {role}" for right in _RIGHTS),
    )
    address = urlsplit(servers.receiver)
    return address._replace(netloc=f"{role}@{address.hostname}:{address.port}").geturl()


def _sweep(url: str) -> None:
    with session(url) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        if connection.execute("SELECT FROM pg_default_acl").fetchall():
            for role, right in product(_ROLES.values(), _RIGHTS):
                revoke = right.replace("GRANT", "REVOKE", 1)
                connection.execute(f"ALTER DEFAULT PRIVILEGES {revoke} FROM {role}".encode())
        connection.execute(_SWEEP.encode())
