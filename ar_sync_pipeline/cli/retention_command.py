"""``ar-sync retention``: deletes old applied archives, or shows which would be deleted."""

from __future__ import annotations

import json
from typing import Any

import click

from ar_sync_pipeline.cli.reporting import USAGE_ERROR, fail, json_option
from ar_sync_pipeline.cli.side import load_receiver
from ar_sync_pipeline.cli.tables import print_table
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sync.load.retention import Retention, run_retention


@click.command()
@click.option("--dry-run", is_flag=True, help="Decide only; delete nothing.")
@json_option
def retention(dry_run: bool, as_json: bool) -> None:
    """Delete applied archives that are older than their lifetime, and abandoned uploads.

    It runs at the receiver, also after each load. An archive that was not applied is never deleted,
    nor are the newest applied complete and the partials after it.

    Exit codes: 0 done; 2 invalid settings, or the spool or database cannot be used.
    """
    try:
        settings = load_receiver("retention")
        done = run_retention(settings, utc_now, dry_run=dry_run)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    if as_json:
        click.echo(json.dumps({"ok": True, "dry_run": dry_run} | _as_dict(done)))
    else:
        _show(done, dry_run=dry_run)


def _as_dict(done: Retention) -> dict[str, Any]:
    return {
        "archives": [
            {
                "name": decision.archive.path.name,
                "state": str(decision.archive.state),
                "size_bytes": decision.archive.size_bytes,
                "keep": decision.keep,
                "reason": decision.reason,
            }
            for decision in done.decisions
        ],
        "abandoned_uploads": [path.name for path in done.abandoned],
        "freed_bytes": done.freed_bytes,
    }


def _show(done: Retention, *, dry_run: bool) -> None:
    rows = [
        (
            decision.archive.path.name,
            f"{decision.archive.size_bytes / 1e6:,.1f}",
            "keep" if decision.keep else ("would delete" if dry_run else "deleted"),
            decision.reason,
        )
        for decision in done.decisions
    ]
    rows += [
        (
            path.name,
            f"{size_bytes / 1e6:,.1f}",
            "would delete" if dry_run else "deleted",
            "its upload was abandoned",
        )
        for path, size_bytes in done.abandoned.items()
    ]
    if rows:
        print_table(("archive", "MB", "", "because"), rows, numbers={1})
    else:
        click.echo("The spool is empty.")
    if not dry_run:
        click.echo(f"{done.freed_bytes / 1e6:,.1f} MB freed.")
