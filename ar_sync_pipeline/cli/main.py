"""The group ``ar-sync``: every command by its name."""

from __future__ import annotations

import click

from ar_sync_pipeline.cli.alert_test_command import alert_test
from ar_sync_pipeline.cli.archive_commands import inspect, verify
from ar_sync_pipeline.cli.catalog_command import catalog
from ar_sync_pipeline.cli.check_command import check
from ar_sync_pipeline.cli.compare_command import compare
from ar_sync_pipeline.cli.demo_command import demo
from ar_sync_pipeline.cli.grants_command import grants
from ar_sync_pipeline.cli.import_settings_command import import_settings
from ar_sync_pipeline.cli.incidents_command import incidents
from ar_sync_pipeline.cli.init_command import init
from ar_sync_pipeline.cli.metrics_command import metrics
from ar_sync_pipeline.cli.receiver_commands import allow, plan
from ar_sync_pipeline.cli.retention_command import retention
from ar_sync_pipeline.cli.status_command import status


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ar-sync-pipeline")
def main() -> None:
    """Keep a receiver's PostgreSQL and media folder in step with a sender over SFTP."""


_COMMANDS = (
    *(demo, check, inspect, verify, plan, allow, retention, status),
    *(metrics, incidents, alert_test, catalog, grants, init, import_settings, compare),
)
for command in _COMMANDS:
    main.add_command(command)
