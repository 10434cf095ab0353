"""``ar-sync alert-test``: sends one test message through every channel."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_ERROR, fail, json_option, plain
from ar_sync_pipeline.cli.side import load_side_without_paths, side_option
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sync.watch.alert_test import send_tests


@click.command(name="alert-test")
@side_option
@json_option
def alert_test(side: str | None, as_json: bool) -> None:
    """Send a test mail and a test call of the webhook, as alerts are sent.

    Nothing is saved, and no incident changes. The heartbeat URL is not called: that would mean
    that a load was applied.

    Exit codes: 0 every configured channel delivered it to everybody; 1 a channel failed or a
    recipient was refused, or none is configured; 2 invalid settings.
    """
    try:
        settings, _ = load_side_without_paths(side)
        tried = send_tests(settings, utc_now)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    ok = all(one.problem is None for one in tried) and any(one.sent for one in tried)
    if as_json:
        click.echo(json.dumps({"ok": ok, "channels": [asdict(one) for one in tried]}))
    else:
        for one in tried:
            click.echo(plain(f"{one.channel:<8} {one.in_words}"))
    if not ok:
        raise SystemExit(FOUND_WRONG)
