"""``ar-sync incidents``: shows open incidents and undelivered messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from ar_sync_pipeline.alerts.outbox import UnsentMessage
from ar_sync_pipeline.alerts.store import NumberedIncident
from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_ERROR, fail, json_option, plain
from ar_sync_pipeline.cli.side import load_side_without_paths, side_option
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sync.watch.alerting import incidents_file, open_alerts
from ar_sync_pipeline.sync.watch.disk_space import why_no_alert_is_kept
from ar_sync_pipeline.sync.watch.open_incidents import why_none_is_recorded


@click.command()
@click.option(
    "--close",
    "number",
    type=int,
    help="Close the incident of this number, if no success can end it.",
)
@side_option
@json_option
def incidents(number: int | None, side: str | None, as_json: bool) -> None:
    """Show open incidents and unsent alerts; run it on the machine of the code location.

    Neither a database nor the network is needed, and no folder but that of the incidents.

    Exit codes: 0 no incident is open (messages may still wait); 1 an incident is open; 2 invalid
    settings, no open incident has the number of --close, or the file of incidents cannot be used.
    """
    try:
        settings, _ = load_side_without_paths(side)
        alerts = open_alerts(settings, utc_now)
        note = why_none_is_recorded(incidents_file(settings))
        if number is not None and (note or not alerts.store.close(number, alerts.clock())):
            raise click.BadParameter(f"no open incident has the number {number}")
        found = [] if note else alerts.store.open_incidents()
        unsent = [] if note else alerts.outbox.unsent()
        note = "; ".join(filter(None, (note, why_no_alert_is_kept(settings))))
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    if as_json:
        result = {"ok": not found, "side": alerts.side, "note": note or None}
        click.echo(json.dumps(result | _as_dict(found, unsent)))
    else:
        _show(found, unsent, note)
    if found:
        raise SystemExit(FOUND_WRONG)


def _as_dict(found: Sequence[NumberedIncident], unsent: Sequence[UnsentMessage]) -> dict[str, Any]:
    return {
        "incidents": [
            {
                "incident": one.number,
                "cause": one.incident.cause,
                "title": one.incident.latest.title,
                "what": sorted(one.incident.sources.values()),
                "problem": one.incident.latest.sentence,
                "remedy": one.incident.latest.remedy,
                "opened_at": one.incident.opened_at.isoformat(),
                "last_seen_at": one.incident.last_seen_at.isoformat(),
                "count": one.incident.count,
                "run_id": one.incident.latest.run_id,
            }
            for one in found
        ],
        "unsent": [
            {
                "incident": message.number,
                "channel": message.channel,
                "event": str(message.kind),
                "made_at": message.made_at.isoformat(),
                "attempts": message.attempts,
                "error": message.error,
            }
            for message in unsent
        ],
    }


def _show(found: Sequence[NumberedIncident], unsent: Sequence[UnsentMessage], note: str) -> None:
    for one in found:
        latest = one.incident.latest
        seen = f"{one.incident.count:,} time{'s' * (one.incident.count != 1)}"
        click.echo(plain(f"no. {one.number}: {latest.title}"))
        click.echo(f"  since {one.incident.opened_at:%Y-%m-%d %H:%M} UTC, seen {seen}")
        click.echo(plain(f"  cause: {latest.sentence}"))
        click.echo(plain(f"  to do: {latest.remedy}"))
    if not found:
        click.echo(plain(f"No incident is open{f': {note}' if note else ''}."))
    elif note:
        click.echo(plain(f"This list may lack incidents: {note}."))
    for message in unsent:
        reason = f": {message.error}" if message.error else ""
        text = f"Not sent yet ({message.channel}, {message.kind}, incident {message.number})"
        click.echo(plain(f"{text}, tried {message.attempts} times{reason}"))
