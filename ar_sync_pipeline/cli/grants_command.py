"""``ar-sync grants``: prints the SQL that grants the role of a side its rights."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.cli.environment import operator_environment
from ar_sync_pipeline.cli.given_path import GivenPath
from ar_sync_pipeline.cli.reporting import USAGE_ERROR, fail, json_option
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sync.setup.given_databases import GivenDatabases
from ar_sync_pipeline.sync.setup.grants import grants as script


@click.command()
@click.argument("side", type=click.Choice(["sender", "receiver"]))
@click.option(
    "--catalog",
    "file",
    type=GivenPath(),
    help="File of the catalog; by default that of AR_SYNC_CATALOG.",
)
@json_option
def grants(side: str, file: Path | None, as_json: bool) -> None:
    """Print the SQL that grants the role of SIDE exactly the rights that this catalog needs.

    Run the output with psql as a superuser, in the database of that side:
    `ar-sync grants sender | sudo -u postgres psql -d shop`. It creates the role if it is missing,
    grants and revokes until the rights are exactly these, and warns of grants by others. This
    command itself uses no database. The role is the one in AR_SYNC_SENDER_DATABASE_URL or
    AR_SYNC_RECEIVER_DATABASE_URL, else ar_sync_sender or ar_sync_receiver. The psql options
    -v role=..., -v new_tables=on, -v bypassrls=on and -v suppress=off (receiver) are
    explained by comments in the output.

    Exit codes: 0 printed; 2 an invalid call or catalog.
    """
    try:
        given = GivenDatabases(operator_environment())
        url = given.sender_url if side == "sender" else given.receiver_url
        text = script(side, load_catalog(file or given.catalog), url)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    click.echo(json.dumps({"ok": True, "side": side, "sql": text}) if as_json else text, nl=as_json)
