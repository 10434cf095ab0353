"""Receivers' databases that tests share: swept after each test, made anew when one was rebuilt.

Making a database takes the disk a third of a second, emptying one a hundredth.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres

NO_SKIPS_VARIABLE = "AR_SYNC_TEST_NO_SKIPS"
"""Set in CI: what a developer's machine may lack must be there."""

_HAS_POSTGIS = "SELECT FROM pg_available_extensions WHERE name = 'postgis'"
# As migrations 0907 to 0910 leave it.
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
  UNION ALL SELECT concat_ws(' ', 'constraint', oid) FROM pg_constraint
  UNION ALL SELECT concat_ws(' ', 'trigger', oid, tgenabled) FROM pg_trigger
  UNION ALL SELECT concat_ws(' ', 'function', oid) FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT concat_ws(' ', 'setting', setconfig) FROM pg_db_role_setting
    WHERE setdatabase IN (SELECT oid FROM pg_database WHERE datname = current_database())
) shape
"""


class ReceiverDatabases:
    """At most one database per store of geometries, clean whenever it is asked for.

    Args:
        server: of the test session.
        template: with the receiver's empty tables.
    """

    def __init__(self, server: EmbeddedPostgres, template: str) -> None:
        self._server = server
        self._template = template
        self._shapes: dict[str, str] = {}

    def clean(self, store: str) -> str:
        """URL of an empty receiver whose geometries are ``wkb`` or ``postgis``."""
        url = self._server.url(self._name(store))
        if store in self._shapes and self._sweep(url) == self._shapes[store]:
            return url
        self._server.drop_database(self._name(store))
        self._server.create_database(self._name(store), self._template)
        if store == "postgis":
            convert_to_postgis(url)
        self._shapes[store] = self._sweep(url)
        return url

    def drop(self) -> None:
        for store in self._shapes:
            self._server.drop_database(self._name(store))

    @staticmethod
    def _name(store: str) -> str:
        return f"shared_receiver_{store}"

    @staticmethod
    def _sweep(url: str) -> str:
        with psycopg.connect(url) as connection:
            try:
                connection.execute(_SWEEP)
            except psycopg.Error as error:  # a rebuilt table that cannot be emptied
                return str(error)
            ((shape,),) = connection.execute(_SHAPE).fetchall()
            return str(shape)


def convert_to_postgis(url: str) -> None:
    """Give a receiver without PostGIS the columns that it has with it."""
    with psycopg.connect(url) as connection:
        if not connection.execute(_HAS_POSTGIS).fetchall():
            missing = "this PostgreSQL has no PostGIS: install postgresql-15-postgis-3"
            if os.environ.get(NO_SKIPS_VARIABLE):
                pytest.fail(missing)
            pytest.skip(missing)
        connection.execute(_TO_POSTGIS)
