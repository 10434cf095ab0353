"""Fixtures by concern, shared by the tests of all packages."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import settings

pytest_plugins = [
    "ar_sync_pipeline_tests.fix_postgres",
    "ar_sync_pipeline_tests.fix_roles",
    "ar_sync_pipeline_tests.fix_shared_databases",
    "ar_sync_pipeline_tests.fix_pgbouncer",
    "ar_sync_pipeline_tests.fix_sites",
    "ar_sync_pipeline_tests.fix_dagster",
    "ar_sync_pipeline_tests.fix_alerts",
    "ar_sync_pipeline_tests.alerts.watched",
    "ar_sync_pipeline_tests.alerts.operation",
    "ar_sync_pipeline_tests.fix_live_instance",
    "ar_sync_pipeline_tests.convergence.fix_convergence",
    "ar_sync_pipeline_tests.situations.fix_situations",
    "ar_sync_pipeline_tests.sync.fix_media_sender",
    "ar_sync_pipeline_tests.sync.fix_differential",
    "ar_sync_pipeline_tests.sync.fix_wrong_clocks",
]


def pytest_configure() -> None:
    """Set the umask, so that folders are made as on a server."""
    os.umask(0o022)
    # The duration of an example depends on the load of the machine.
    settings.register_profile("suite", deadline=None)
    settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> Iterator[None]:
    """Keep Dagster's migration scripts: it reads a hundred files for each instance it opens."""
    read, known = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def from_config(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the test that takes minutes first; it mostly waits while others run."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
