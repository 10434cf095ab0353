"""``ar-sync catalog``: proposes a catalog for a database, or checks one."""

from __future__ import annotations

import json
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from ar_sync_pipeline.catalog.draft import as_toml
from ar_sync_pipeline.catalog.errors import InvalidCatalogError
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.catalog.model import Name
from ar_sync_pipeline.cli.environment import operator_environment
from ar_sync_pipeline.cli.given_path import GivenPath
from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_ERROR, fail, json_option, plain
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.checks.findings import Finding, errors_of
from ar_sync_pipeline.sync.setup.check_catalog import check_catalog
from ar_sync_pipeline.sync.setup.draft_catalog import draft_catalog
from ar_sync_pipeline.sync.setup.given_databases import GivenDatabases
from ar_sync_pipeline.sync.setup.undecided_columns import undecided_columns


@click.group()
def catalog() -> None:
    """Propose a catalog for a database, or check one."""


@catalog.command()
@click.option(
    "--name",
    callback=lambda _context, _parameter, name: name and _catalog_name(name),
    help="Name of the catalog; by default that of the sender's database.",
)
@json_option
def draft(name: str | None, as_json: bool) -> None:
    """Print a catalog for the sender's database, with facts about each table as comments.

    AR_SYNC_SENDER_DATABASE_URL is required. AR_SYNC_RECEIVER_DATABASE_URL adds receiver-only tables
    and columns, AR_SYNC_SENDER_MEDIA_FLDR the columns that name files in that folder. The other
    settings are not needed. Both databases are only read: system catalogs and statistics, and, for
    media columns, up to 100 values of each text column from the first 1,000 rows of its table.

    Redirect it to a file, read it, and decide what the comments leave to you:
    `ar-sync catalog draft > catalog.toml`.

    Exit codes: 0 printed; 2 a variable is missing, a database cannot be used, or an invalid
    call.
    """
    try:
        given = GivenDatabases(operator_environment())
        drafted = draft_catalog(given.sender(), given.receiver_url, given.media_folder, name)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    if as_json:
        result = {
            "ok": True,
            "name": drafted.name,
            "tables": drafted.table_count,
            "excluded": {table.label: table.about for table in drafted.exclude},
            "toml": as_toml(drafted),
        }
        click.echo(json.dumps(result))
    else:
        click.echo(as_toml(drafted), nl=False)


@catalog.command("check")
@click.argument("file", type=GivenPath(), required=False)
@json_option
def check_file(file: Path | None, as_json: bool) -> None:
    """Report what is wrong with a catalog: in FILE itself, and compared with both databases.

    Without FILE, the catalog is that of AR_SYNC_CATALOG, or the one of the package. The databases
    are those of AR_SYNC_SENDER_DATABASE_URL and AR_SYNC_RECEIVER_DATABASE_URL; if both are set,
    their tables are compared as the receiver does before a load. The other settings are not
    needed, and rights are not checked: any role will do, and `ar-sync check` examines the roles of
    the two sides. Nothing is changed. Of the receiver's rows the check only asks whether there are
    any that the first complete would replace, and any values in columns that are excluded.

    Exit codes: 0 nothing is an error; 1 something is; 2 no database is set, or the file cannot be
    read.
    """
    try:
        given = GivenDatabases(operator_environment())
        path = file or given.catalog
        loaded = load_catalog(path)
        findings = check_catalog(loaded, *given.one_or_both())
        if path is not None:
            findings += tuple(undecided_columns(path, loaded))
    except InvalidCatalogError as error:
        fail(error, as_json=as_json, exit_code=FOUND_WRONG)
    except ArSyncError as error:
        fail(error, as_json=as_json, exit_code=USAGE_ERROR)
    wrong = bool(errors_of(findings))
    if as_json:
        click.echo(json.dumps({"ok": not wrong, "findings": [_as_dict(one) for one in findings]}))
    else:
        for finding in findings:
            click.echo(plain(f"{finding.level} ({finding.area}): {finding}"))
        click.echo("The catalog cannot be used." if wrong else "The catalog can be used.")
    if wrong:
        raise SystemExit(FOUND_WRONG)


def _catalog_name(name: str) -> str:
    """Return a name that a catalog can have.

    Raises:
        click.UsageError: The loader would refuse the drafted file.
    """
    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise click.UsageError(
            f"--name cannot be the name of a catalog: {problem[:1].lower()}{problem[1:]}"
        ) from error


def _as_dict(finding: Finding) -> dict[str, str | None]:
    return {
        "area": finding.area,
        "level": str(finding.level),
        "problem": finding.problem,
        "remedy": finding.remedy,
        "sql": finding.sql or None,
    }
