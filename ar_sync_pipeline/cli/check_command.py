"""``ar-sync check``: checks everything that a side needs, before a run needs it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NoReturn

import click

from ar_sync_pipeline.catalog.errors import CatalogError
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.cli.reporting import (
    FOUND_WRONG,
    USAGE_ERROR,
    as_object,
    fail,
    json_option,
    plain,
)
from ar_sync_pipeline.cli.side import load_usable_side, side_option
from ar_sync_pipeline.cli.tables import print_table
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.settings.usable import UnusableSettingError
from ar_sync_pipeline.sync.watch.endpoint_check import EndpointCheck, milliseconds
from ar_sync_pipeline.sync.watch.preflight import preflight
from ar_sync_pipeline.sync.watch.preflight_result import Preflight


@click.command()
@side_option
@click.option("--moving-in", is_flag=True, help="Also check what replacing the old system needs.")
@json_option
def check(side: str | None, moving_in: bool, as_json: bool) -> None:
    """Check everything that a side needs, and report all problems at once.

    Both sides: the database (login, rights of the role, the catalog against tables and columns),
    the clocks, the folders (owner, mode, writable, free space), the files with secrets, the mail
    server, and the data of the other side (its name, its database, its intervals). At the
    receiver also the spool and the transform program. At the sender no row of a replicated table
    is read. Of the receiver's rows the check only asks whether there are any that the first
    complete would replace, any of tables that are no longer replicated, and any values in columns
    that are excluded. Nothing is changed, no mail is sent.

    At the sender a test file is sent to the receiver like an archive. Each step is named and
    timed: resolve, connect, host key, login, sftp, spool exists, spool writable, round trip, free
    space, clock difference, receipts readable. It stops after the first step that fails.

    With --moving-in also: cron lines of the old system, folders that the systemd services cannot
    access, and at the receiver waiting old archives and the space for their conversion.

    It ends within two minutes and leaves nothing behind.

    What does not depend on a wrong setting, or on an invalid catalog, is checked all the same.

    Exit codes: 0 archives can be made and published, or loaded, perhaps with warnings; 1 a step
    failed, or a finding is an error; 2 invalid settings or an invalid catalog.
    """
    try:
        settings, of_settings = load_usable_side(side)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    catalog, of_catalog = _usable_catalog(settings)
    found = preflight(settings, catalog, utc_now, moving_in=moving_in, by_hand=True)
    if wrong := [error for error in (of_settings, of_catalog) if error is not None]:
        _fail(found, wrong, as_json)
    if as_json:
        click.echo(json.dumps(found.as_dict()))
    else:
        _show(found)
        click.echo(plain(f"{found.verdict} ({found.seconds:.1f} s)"))
        for warning in found.unwise:
            click.echo(f"note: {warning}")
    if not found.ok:
        raise SystemExit(FOUND_WRONG)


def _usable_catalog(
    settings: SenderSettings | ReceiverSettings,
) -> tuple[Catalog | None, CatalogError | None]:
    try:
        return load_catalog(settings.catalog), None
    except UnusableSettingError:  # the error of the settings names it
        return None, None
    except CatalogError as error:
        return None, error


def _show(found: Preflight) -> None:
    for finding in found.findings:
        click.echo(plain(f"{finding.level}: {finding}"))
        if finding.sql:
            click.echo(plain(f"    {finding.sql}"))
    if found.link is not None:
        _show_steps(found.link)


def _fail(found: Preflight, wrong: Sequence[ArSyncError], as_json: bool) -> NoReturn:
    """Print what was found without the settings that are wrong, then what is wrong with them."""
    first, *others = wrong
    if as_json:
        whole = {"invalid": [as_object(error) for error in wrong]}
        click.echo(json.dumps(found.as_dict() | as_object(first) | whole))
    else:
        _show(found)
    for error in others:
        click.echo(f"Error: {error}", err=True)
    fail(first, as_json=False, exit_code=USAGE_ERROR)


def _show_steps(link: EndpointCheck) -> None:

    rows = [
        (
            step.name,
            str(step.outcome),
            milliseconds(step),
            step.detail if step.remedy is None else f"{step.detail}: {step.remedy}",
        )
        for step in link.steps
    ]
    print_table(("step", "", "ms", "found"), rows, numbers={2})
