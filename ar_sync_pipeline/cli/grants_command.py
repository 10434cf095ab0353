"""``ar-sync grants``: the SQL that gives a side's role its rights."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.cli.environment import operator_environment
from ar_sync_pipeline.cli.reporting import USAGE_MISTAKE, fail, json_option
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sync.setup.given_databases import given_databases
from ar_sync_pipeline.sync.setup.grants import grants as script


@click.command()
@click.argument("side", type=click.Choice(["sender", "receiver"]))
@click.option(
    "--catalog",
    "file",
    type=click.Path(path_type=Path),
    help="The catalog's file; by default that of AR_SYNC_CATALOG.",
)
@json_option
def grants(side: str, file: Path | None, as_json: bool) -> None:
    """Print the SQL by which the role of SIDE can do its work with this catalog, and nothing else.

    The output is for psql, as a superuser, in the database of that side:
    `ar-sync grants sender | sudo -u postgres psql -d shop`. It makes the role where there is none,
    gives and takes until the rights are exactly these, and warns of what others have given. No
    database is used by this command. The role is the one in AR_SYNC_SENDER_DATABASE_URL or
    AR_SYNC_RECEIVER_DATABASE_URL, else ar_sync_sender or ar_sync_receiver. psql's
    -v role=..., -v new_tables=on, -v bypassrls=on (sender) and -v suppress=off (receiver) change
    what the comments in the output explain.

    Exit codes: 0 printed; 2 a mistake in the call or the catalog.
    """
    try:
        given = given_databases(operator_environment())
        url = given.sender_url if side == "sender" else given.receiver_url
        text = script(side, load_catalog(file or given.catalog), url)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_MISTAKE)
    click.echo(json.dumps({"ok": True, "side": side, "sql": text}) if as_json else text, nl=as_json)
