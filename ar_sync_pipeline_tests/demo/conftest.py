from __future__ import annotations

import psycopg
import pytest

from ar_sync_pipeline.demo.city import fill_city
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline_tests.demo.test_city import NOW
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory


@pytest.fixture(scope="session")
def city_template(postgres_server: EmbeddedPostgres, sender_template: str) -> str:
    """Name of the template with the fake city."""
    url = postgres_server.create_database("template_city", sender_template)
    with psycopg.connect(url) as connection:
        fill_city(connection, now=NOW)
    return "template_city"


@pytest.fixture(scope="session")
def city_url(postgres_server: EmbeddedPostgres, city_template: str) -> str:
    """URL of the fake city for tests that only read it."""
    return postgres_server.create_database("city_to_read", city_template)


@pytest.fixture
def city_db(database_factory: DatabaseFactory, city_template: str) -> str:
    """URL of a fresh copy of the fake city, to be changed."""
    return database_factory(city_template)
