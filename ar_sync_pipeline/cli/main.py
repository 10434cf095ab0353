"""The group ``ar-sync``: imports a command when it runs."""

from __future__ import annotations

import os
import sqlite3
import sys
from importlib import import_module
from pathlib import Path

import click

from ar_sync_pipeline.cli.reporting import (
    INTERRUPTED,
    OUTPUT_CLOSED,
    USAGE_ERROR,
    CallInterruptedError,
    FolderDeletedError,
    InvalidCallError,
    fail,
    print_error,
    write_utf8,
)
from ar_sync_pipeline.disk_errors import disk_error

_COMMANDS = {
    "alert-test": ("alert_test_command", "Send a test mail and a test call of the webhook."),
    "allow": ("receiver_commands", "Let an archive through the delete guard."),
    "catalog": ("catalog_command", "Propose a catalog for a database, or check one."),
    "check": ("check_command", "Check everything that a side needs."),
    "compare": ("compare_command", "Compare two databases, or an archive and a database."),
    "demo": ("demo_command", "Run a sender and a receiver in one folder."),
    "grants": ("grants_command", "Print the SQL that grants a role its rights."),
    "import-settings": ("import_settings_command", "Translate the old system's settings."),
    "incidents": ("incidents_command", "Show open incidents and unsent alerts."),
    "init": ("init_command", "Write the settings of a side, and a catalog."),
    "inspect": ("archive_commands", "Show the manifest of an archive."),
    "metrics": ("metrics_command", "Print the state of a side for a monitoring system."),
    "plan": ("receiver_commands", "Show what loading an archive would do."),
    "retention": ("retention_command", "Delete applied archives beyond their lifetime."),
    "status": ("status_command", "Show how far behind the receiver is, and why."),
    "verify": ("archive_commands", "Read an archive to its last byte and verify it."),
}


def _deleted_folder(error: Exception) -> FolderDeletedError | None:
    """Return the error if the system could not name the current folder."""
    if not isinstance(error, FileNotFoundError) or error.filename is not None:
        return None
    try:
        Path.cwd()
    except FileNotFoundError:
        return FolderDeletedError()
    return None


class LazyGroup(click.Group):
    """A group that imports a command when it runs, and lists all without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands, sorted."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of a command, and return the command; None if there is none."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"ar_sync_pipeline.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; with ``--json`` an invalid call is an object too.

        A broken disk, an error of a database, or an interruption is one message, whatever met it.
        """
        as_json = "--json" in ctx.args
        write_utf8()
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if as_json:
                print_error(InvalidCallError(error.format_message().rstrip(".")))
            raise
        except (click.Abort, KeyboardInterrupt, EOFError):
            fail(CallInterruptedError(), as_json=as_json, exit_code=INTERRUPTED)
        except BrokenPipeError:
            # As a shell reports SIGPIPE: 1 would be a finding. Nothing may be flushed at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(OUTPUT_CLOSED)
        except (OSError, sqlite3.Error) as error:
            found = disk_error(error) or _deleted_folder(error)
            if found is None:
                raise
            fail(found, as_json=as_json, exit_code=USAGE_ERROR)
        except Exception as error:
            driver = sys.modules.get("psycopg")  # imported by the command, if it needs a database
            if driver is None or not isinstance(error, driver.Error):
                raise
            errors = import_module("ar_sync_pipeline.postgres.errors")
            failed = errors.StatementFailedError(error)
            fail(failed, as_json=as_json, exit_code=USAGE_ERROR)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands for ``--help``."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ar-sync-pipeline")
def main() -> None:
    """Keep a receiver's PostgreSQL and media folder in step with a sender over SFTP."""
