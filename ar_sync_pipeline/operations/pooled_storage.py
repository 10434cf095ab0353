"""Storage of `dagster.yaml`: that of dagster-postgres, with connections that are kept.

Dagster's own storage opens a connection for each query, and asks before many queries which tables
there are: 53 connections and 75 statements for each tick of a sensor. This one keeps connections
for all instances of a process, which a code server opens one for each tick, and knows the tables:
a product version requires a Dagster version whose first start has made all of them.
"""

import math
import os
import time
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg2  # type: ignore[import-untyped]
import sqlalchemy
from dagster_postgres import DagsterPostgresStorage, PostgresScheduleStorage
from dagster_postgres.auth import PgTokenProvider
from dagster_postgres.utils import (
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from ar_sync_pipeline.operations.dagster_internals import ConfigurableClassData

# Kept by a process; more are opened while they are needed.
_KEPT_CONNECTIONS = 5
_RECYCLED_AFTER_SECONDS = 600
# A restart takes longer.
_TESTED_AFTER_SECONDS = 1.0
_USED_AT = "used_at"


@dataclass(frozen=True)
class _OfProcess:
    """What the instances of a process share: connections, and which indexes are built."""

    engine: sqlalchemy.Engine
    indexes_of_runs: dict[str, bool] = field(default_factory=dict)
    indexes_of_events: dict[str, bool] = field(default_factory=dict)


class PooledPostgresStorage(DagsterPostgresStorage):
    """Runs, events and schedules in PostgreSQL, over connections that are kept."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: PgTokenProvider | None = None,
    ) -> None:
        # Only the first instance of a process looks for missing tables.
        is_first = postgres_url not in _shared
        create_tables = should_autocreate_tables and is_first
        super().__init__(postgres_url, create_tables, inst_data, token_provider)
        if is_first:
            _shared.setdefault(postgres_url, _OfProcess(_engine(postgres_url, token_provider)))
        shared = _shared[postgres_url]
        self._schedule_storage = _ScheduleStorage(postgres_url, should_autocreate_tables=False)
        for part in (self._run_storage, self._event_log_storage, self._schedule_storage):
            part._engine = shared.engine  # noqa: SLF001  no setting chooses the pool
        self._run_storage._index_migration_cache = shared.indexes_of_runs  # noqa: SLF001
        self._event_log_storage._secondary_index_cache = shared.indexes_of_events  # noqa: SLF001

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:  # noqa: ANN401  as its base
        """Make the storage; Dagster calls this."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )


class _ScheduleStorage(PostgresScheduleStorage):
    def has_instigators_table(self) -> bool:
        return True

    def _has_instigators_table(self, conn: sqlalchemy.Connection) -> bool:
        del conn
        return True

    def has_built_index(self, migration_name: str) -> bool:
        del migration_name
        return True


def _engine(postgres_url: str, token_provider: PgTokenProvider | None) -> sqlalchemy.Engine:
    engine = create_pg_engine(
        postgres_url,
        token_provider,
        isolation_level="AUTOCOMMIT",
        pool_size=_KEPT_CONNECTIONS,
        max_overflow=-1,
        pool_use_lifo=True,
        pool_recycle=_RECYCLED_AFTER_SECONDS,
    )
    sqlalchemy.event.listen(engine, "checkout", _replace_if_broken)
    sqlalchemy.event.listen(engine, "checkin", _note_use)
    return engine


def _replace_if_broken(connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
    """Test a connection that was idle; a restart of the server has closed it.

    `pool_pre_ping` would test it before each query, which doubles their number.
    """
    # A new connection was not used yet.
    if time.monotonic() - record.info.get(_USED_AT, math.inf) < _TESTED_AFTER_SECONDS:
        return
    try:
        connection.cursor().execute("SELECT 1")
    except psycopg2.Error as error:
        raise sqlalchemy.exc.InvalidatePoolError from error


def _note_use(_: object, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = time.monotonic()


def _leave_to_the_parent() -> None:
    """Forget the connections of the parent, without a word to the server, in a forked process."""
    for shared in _shared.values():
        shared.engine.dispose(close=False)


_shared: dict[str, _OfProcess] = {}
os.register_at_fork(after_in_child=_leave_to_the_parent)
