"""``ar-sync status``: shows how far behind the receiver is, and why, on either side."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_ERROR, fail, json_option, plain
from ar_sync_pipeline.cli.side import load_side, side_option
from ar_sync_pipeline.cli.tables import print_table
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.sync.watch.open_incidents import OpenIncidents
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.sender_status import sender_status
from ar_sync_pipeline.sync.watch.status import Status


@click.command()
@side_option
@json_option
def status(side: str | None, as_json: bool) -> None:
    """Show archives by state, and the time up to which the receiver has the sender's data.

    The receiver reads its ledger and spool; the sender reads its journal and, over SFTP, the
    receipts and the checkpoint of the receiver. Each side adds its own open incidents.

    Exit codes: 0 all is well; 1 no complete is applied, the data is older than AR_SYNC_MAX_LAG (at
    the sender: than AR_SYNC_ACKNOWLEDGE_WITHIN and one window) or from the future, changes are
    known to be missing, archives are parked, quarantined without a replacement, vanished before
    they were applied, or not acknowledged, the media folder has none of the files that the newest
    complete left in it, a disk of this side has less free space than
    AR_SYNC_FREE_SPACE_FLOOR, an incident of this side is open, its file of incidents cannot be
    read, the sender no longer sends a table that has rows here, DDL at the receiver has changed
    rows that no complete has verified since, partials come and the next complete is overdue, the
    receiver's report is not believed, or the link is down; 2 invalid settings, or the database, the
    spool or the login cannot be used.
    """
    try:
        settings = load_side(side)
        found = _read_status(settings)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    if as_json:
        more = {"pair": settings.pair, "settings": settings.warnings}
        click.echo(json.dumps(_as_dict(found) | more))
    else:
        _show(found)
        for warning in settings.warnings:
            click.echo(f"note: {warning}")
    if not found.ok:
        raise SystemExit(FOUND_WRONG)


def _read_status(settings: SenderSettings | ReceiverSettings) -> Status:

    now = utc_now()
    if isinstance(settings, ReceiverSettings):
        return receiver_status(settings, load_catalog(settings.catalog), now)
    return sender_status(settings, now)


def _as_dict(found: Status) -> dict[str, Any]:
    lag = found.lag
    return {
        "ok": found.ok,
        "side": found.side,
        "link_is_up": found.link_is_up,
        "data_until": lag.data_until.isoformat() if lag.data_until else None,
        "minutes_behind": None if lag.minutes_behind is None else round(lag.minutes_behind, 2),
        "because": lag.because,
        "tables_not_sent": list(found.unsent),
        "missing": list(found.missing),
        "tables_unverified": list(found.unverified),
        "archives": [asdict(count) for count in found.archives],
        "incidents": [
            {
                "incident": one.number,
                "cause": one.incident.cause,
                "title": one.incident.latest.title,
                "problem": one.incident.latest.sentence,
                "opened_at": one.incident.opened_at.isoformat(),
                "count": one.incident.count,
            }
            for one in found.incidents.found
        ],
        "incidents_note": found.incidents.note or None,
    }


def _show(found: Status) -> None:
    rows = [(count.state, f"{count.count:,}", count.newest) for count in found.archives]
    click.echo(f"as seen by the {found.side}")
    print_table(("archives", "number", "newest"), rows, numbers={1})
    for count in found.archives:
        if count.note:
            click.echo(plain(f"{count.state}: {count.note}"))
    if not found.link_is_up:
        known = "no report of it is known"
        if found.known_at:
            known = f"this is its last report, at {found.known_at:%Y-%m-%d %H:%M} UTC"
        click.echo(f"The receiver cannot be reached; {known}.")
    _show_incidents(found.incidents)
    click.echo(plain(str(found.lag)))


def _show_incidents(incidents: OpenIncidents) -> None:
    for one in incidents.found:
        since, latest = f"{one.incident.opened_at:%Y-%m-%d %H:%M} UTC", one.incident.latest
        text = f"{latest.title}: {latest.sentence}"
        click.echo(plain(f"incident {one.number} since {since}, {text.rstrip('.')}"))
    if incidents.found:
        click.echo("`ar-sync incidents` shows what to do.")
    if incidents.note:
        click.echo(plain(f"incidents: {incidents.note}"))
