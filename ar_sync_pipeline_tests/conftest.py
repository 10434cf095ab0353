"""Fixtures by concern, shared by all rooms."""

from __future__ import annotations

import os

import pytest
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
    "ar_sync_pipeline_tests.fix_live_instance",
    "ar_sync_pipeline_tests.convergence.fix_convergence",
    "ar_sync_pipeline_tests.situations.fix_situations",
    "ar_sync_pipeline_tests.sync.fix_media_sender",
]


def pytest_configure() -> None:
    """Folders that tests make are as on a server, whatever the shell's umask is."""
    os.umask(0o022)
    # How long an example takes says how busy the machine is.
    settings.register_profile("suite", deadline=None)
    settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the test that takes minutes begin first; it mostly waits, others work meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
