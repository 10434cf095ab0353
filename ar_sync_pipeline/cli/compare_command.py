"""``ar-sync compare``: compares two databases, or an archive and a database, row by row."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.cli.archive_path import archive_argument
from ar_sync_pipeline.cli.environment import operator_environment
from ar_sync_pipeline.cli.given_path import GivenPath
from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_ERROR, fail, json_option, plain
from ar_sync_pipeline.cli.tables import print_table
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.settings.pseudonym import load_pseudonym_secret
from ar_sync_pipeline.settings.signing import load_signing_keys
from ar_sync_pipeline.sync.setup.given_databases import GivenDatabases
from ar_sync_pipeline.sync.watch.compare import compare_archive, compare_databases
from ar_sync_pipeline.sync.watch.row_differences import Kind, TableDifference


@click.command()
@archive_argument(required=False)
@click.option("--catalog", "file", type=GivenPath(), help="File of the catalog.")
@click.option(
    "--common-columns", is_flag=True, help="Columns that the receiver lacks are no difference."
)
@json_option
def compare(archive: Path | None, file: Path | None, common_columns: bool, as_json: bool) -> None:
    """Compare the replicated tables of two databases, or of ARCHIVE and a database.

    The first is ARCHIVE, or the database of AR_SYNC_SENDER_DATABASE_URL; the second is that of
    AR_SYNC_RECEIVER_DATABASE_URL. Of a sender's database, what it would send is compared: masked
    values, with the secret of AR_SYNC_PSEUDONYM_KEY for pseudonyms. The output has a line for each
    table: how many rows are equal, missing in the second, only in the second, or different, and up
    to ten keys of each. Receiver-only and excluded columns are ignored; of columns that the
    transform changes in place the stored values are compared, as the sender sent them, and not the
    values in the rows. For a partial only its rows are compared.
    All rows are read under one snapshot of each side, and nothing is changed.

    A receiver is always some minutes behind: for an exact answer compare it with the archive that
    it applied last.

    Exit codes: 0 equal; 1 not equal, or the archive is bad; 2 a database is not set or cannot be
    used, no table matches the catalog, or an invalid call.
    """
    try:
        found = _compared(archive, file, common_columns=common_columns)
    except CorruptArchiveError as error:
        fail(error, as_json=as_json, exit_code=FOUND_WRONG)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    equal = all(table.equal for table in found)
    if as_json:
        click.echo(json.dumps({"ok": equal, "tables": [table.as_dict() for table in found]}))
    else:
        _show(found)
    if not equal:
        raise SystemExit(FOUND_WRONG)


def _compared(
    archive: Path | None, file: Path | None, *, common_columns: bool
) -> list[TableDifference]:

    environment = operator_environment()
    given = GivenDatabases(environment)
    catalog = load_catalog(file or given.catalog)
    second = given.receiver()
    if archive is None:
        return compare_databases(
            given.sender(),
            second,
            catalog,
            common_columns=common_columns,
            pseudonym_key=load_pseudonym_secret(environment),
        )
    keys = load_signing_keys(environment).accepted(utc_now())
    return compare_archive(
        archive, second, catalog, signing_keys=keys, common_columns=common_columns
    )


def _show(found: list[TableDifference]) -> None:

    rows = [
        (table.table, *(f"{table.count(kind):,}" for kind in Kind), "; ".join(_remarks(table)))
        for table in found
    ]
    heads = ("table", *(str(kind) for kind in Kind), "")
    print_table(heads, rows, numbers={1, 2, 3, 4})
    unequal = sum(not table.equal for table in found)
    if unequal:
        click.echo(f"{unequal} of {len(found)} tables differ.")
    else:
        click.echo(plain(f"All {len(found)} tables are equal."))


def _remarks(table: TableDifference) -> list[str]:
    remarks = [table.problem] if table.problem else []
    if table.columns:
        remarks.append(f"columns missing, computed or of another type: {', '.join(table.columns)}")
    remarks += [f"{kind}: {', '.join(keys)}" for kind, keys in table.keys.items() if keys]
    if table.stored:
        remarks.append(f"not compared, transformed in place: {', '.join(table.stored)}")
    return remarks
