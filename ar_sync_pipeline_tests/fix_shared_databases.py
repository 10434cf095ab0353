"""AndroidRequests databases that tests share: emptied before each test, recreated if changed.

Creating a database takes a third of a second, emptying one a hundredth.
"""

from __future__ import annotations

import psycopg
import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci
from ar_sync_pipeline_tests.open_sessions import close_sessions

_HAS_POSTGIS = "SELECT FROM pg_available_extensions WHERE name = 'postgis'"
# The schema after migrations 0907 to 0910.
_TO_POSTGIS = """
CREATE EXTENSION postgis;
ALTER TABLE "AndroidRequests_busstop"
  ALTER COLUMN point TYPE geometry(Point, 32140) USING ST_GeomFromWKB(point, 32140);
ALTER TABLE "AndroidRequests_zonificationtransantiago"
  ALTER COLUMN geom TYPE geometry(MultiPolygon, 4326) USING ST_GeomFromWKB(geom, 4326);
CREATE INDEX ON "AndroidRequests_busstop" USING gist (point);
CREATE INDEX ON "AndroidRequests_zonificationtransantiago" USING gist (geom);
"""
_SWEEP = """
DROP SCHEMA IF EXISTS ar_sync CASCADE;
SET LOCAL session_replication_role = replica;
DO $$
DECLARE name regclass;
BEGIN
  FOR name IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relname LIKE 'AndroidRequests%'
  LOOP EXECUTE format('DELETE FROM %s', name); END LOOP;
END $$
"""
_SHAPE = """
SELECT md5(string_agg(line, ' ' ORDER BY line)) FROM (
  SELECT concat_ws(' ', attrelid::regclass, attname, atttypid, attnotnull, attisdropped) AS line
  FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
  WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0
  UNION ALL SELECT concat_ws(' ', oid, relkind, relrowsecurity, relforcerowsecurity, reloptions)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT concat_ws(' ', 'policy', oid) FROM pg_policy
  UNION ALL SELECT concat_ws(' ', 'constraint', oid) FROM pg_constraint
  UNION ALL SELECT concat_ws(' ', 'trigger', oid, tgenabled) FROM pg_trigger
  UNION ALL SELECT concat_ws(' ', 'function', oid) FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT concat_ws(' ', 'setting', setconfig) FROM pg_db_role_setting
    WHERE setdatabase IN (SELECT oid FROM pg_database WHERE datname = current_database())
) shape
"""


class SharedDatabases:
    """At most one database of a kind, empty at each use.

    Args:
        server: Server of the test session.
        templates: Templates by kind: ``sender``, ``receiver`` and ``postgis_receiver``.
    """

    def __init__(self, server: EmbeddedPostgres, templates: dict[str, str]) -> None:
        self._server = server
        self._templates = templates
        self._shapes: dict[str, str] = {}

    def clean(self, kind: str) -> str:
        """Return the URL of an empty database."""
        name = f"shared_{kind}"
        url = self._server.url(name)
        if kind in self._shapes and self._sweep(url) == self._shapes[kind]:
            return url
        close_sessions(url)
        self._server.drop_database(name)
        self._server.create_database(name, self._templates[kind])
        if kind == "postgis_receiver":
            convert_to_postgis(url)
        self._shapes[kind] = self._sweep(url)
        return url

    @staticmethod
    def _sweep(url: str) -> str:
        with psycopg.connect(url) as connection:
            try:
                connection.execute(_SWEEP)
            except psycopg.Error as error:  # a table that a test has changed cannot be emptied
                return str(error)
            ((shape,),) = connection.execute(_SHAPE).fetchall()
            return str(shape)


@pytest.fixture(scope="session")
def shared_databases(
    postgres_server: EmbeddedPostgres, sender_template: str, receiver_template: str
) -> SharedDatabases:
    return SharedDatabases(
        postgres_server,
        {
            "sender": sender_template,
            "receiver": receiver_template,
            "postgis_receiver": receiver_template,
        },
    )


def convert_to_postgis(url: str) -> None:
    """Convert a receiver without PostGIS to the columns that it has with PostGIS."""
    with psycopg.connect(url) as connection:
        if not connection.execute(_HAS_POSTGIS).fetchall():
            missing = "this PostgreSQL has no PostGIS: install postgresql-15-postgis-3"
            skip_unless_in_ci(missing)
        connection.execute(_TO_POSTGIS)
