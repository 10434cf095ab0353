"""``ar-sync plan`` and ``ar-sync allow``: previews a load, and approves one at the receiver."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import Any

import click

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.cli.archive_path import archive_argument
from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_ERROR, fail, json_option, plain
from ar_sync_pipeline.cli.side import load_receiver
from ar_sync_pipeline.cli.tables import print_table
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sync.load.allow import allow_archive
from ar_sync_pipeline.sync.load.preview import Preview, preview_load
from ar_sync_pipeline.sync.watch.open_incidents import note_allowed


@click.command()
@archive_argument()
@json_option
def plan(archive: Path, as_json: bool) -> None:
    """Show what loading ARCHIVE would do, without doing it.

    The archive is read to its last byte, merged and rolled back, as if no other archive waited. The
    output has the rows to add, change and delete by table, and whether the delete guard would park
    the archive. Readers see nothing of it; loads wait meanwhile.

    Exit codes: 0 it would be applied, or brings nothing new; 1 it would be rejected; 2 an invalid
    call or invalid settings, or the database cannot be used.
    """
    try:
        settings = load_receiver("plan")
        catalog = load_catalog(settings.catalog)
        preview = preview_load(settings, catalog, archive, utc_now)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    if as_json:
        click.echo(json.dumps(_as_dict(preview)))
    else:
        _show(preview)
    if not preview.verdict.is_fine:
        raise SystemExit(FOUND_WRONG)


@click.command()
@click.argument("archive")
@json_option
def allow(archive: str, as_json: bool) -> None:
    """Let ARCHIVE through the delete guard; the next run of the sensor loads it.

    ARCHIVE is the name or the path of a parked or waiting archive. The ledger records who allowed
    it and when.

    Exit codes: 0 allowed; 2 no such archive, it is parked for another reason, the archive, the
    spool or the database cannot be used, or an invalid call or invalid settings.
    """
    who = os.environ.get("SUDO_USER") or _account()
    try:
        settings = load_receiver("allow")
        name = allow_archive(settings, Path(archive).name, allowed_by=who, clock=utc_now)
        note_allowed(settings, name, who, utc_now())
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    if as_json:
        click.echo(json.dumps({"ok": True, "name": name, "allowed_by": who}))
    else:
        click.echo(f"{name} is allowed by {who}; it waits in the spool, and the next run loads it.")


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, an account may have no name
        return f"user {os.getuid()}"


def _as_dict(preview: Preview) -> dict[str, Any]:
    return {
        "ok": preview.verdict.is_fine,
        "name": preview.name,
        "verdict": str(preview.verdict),
        "reason": preview.reason,
        "warnings": list(preview.warnings),
        "archives": [
            {
                "name": archive.manifest.name.applied,
                "again": archive.again,
                "chunks": archive.chunks,
                "chunks_staged": archive.chunks_staged,
                "tables": [table.as_dict() for table in archive.tables],
            }
            for archive in preview.loaded
        ],
    }


def _show(preview: Preview) -> None:
    click.echo(plain(f"{preview.name} would be {preview.verdict}."))
    for line in (preview.reason, *preview.warnings):
        if line:
            click.echo(plain(line))
    for archive in preview.loaded:
        title = archive.manifest.name.applied + (" (again)" if archive.again else "")
        rows = [
            (
                row.table,
                *(f"{n:,}" for n in (row.row_count, row.added, row.changed, row.deleted)),
                "" if row.drift is None else f"{row.drift:,}",
            )
            for row in archive.tables
            if row.added or row.changed or row.deleted
        ]
        if rows:
            click.echo(plain(title))
            heads = ("table", "rows", "add", "change", "delete", "drift")
            print_table(heads, rows, numbers={1, 2, 3, 4, 5})
        else:
            click.echo(plain(f"{title}: all rows are unchanged."))
        if unverified := sum(row.unverified for row in archive.tables):
            click.echo(plain(f"{unverified} chunks would come with the next complete."))
