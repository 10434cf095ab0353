"""The command line, ``ar-sync``. Each command imports what it needs when it runs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from ar_sync_pipeline.archive.manifest import Manifest
    from ar_sync_pipeline.errors import ArSyncError

ARCHIVE_BAD, USAGE_MISTAKE = 1, 2
DIFFERENT = 1

_archive_argument = click.argument("archive", type=click.Path(path_type=Path))
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ar-sync-pipeline")
def main() -> None:
    """Keep a receiver's PostgreSQL and media folder in step with a sender over SFTP."""


@main.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where the two servers live.")
@click.option("--ui", is_flag=True, help="Keep running, with live traffic and the Dagster UI.")
@click.option("--port", default=3000, show_default=True, help="Of the Dagster UI.")
def demo(folder: Path | None, ui: bool, port: int) -> None:
    """Run a sender and a receiver in one folder, and prove that they end equal.

    Exit codes: 0 equal; 1 not equal, or a job failed; 2 a mistake in the call.
    """
    from rich.console import Console  # noqa: PLC0415  lazily, see above

    from ar_sync_pipeline.demo.live import run_live  # noqa: PLC0415
    from ar_sync_pipeline.demo.story import tell_story  # noqa: PLC0415
    from ar_sync_pipeline.demo.two_servers import default_folder  # noqa: PLC0415
    from ar_sync_pipeline.errors import ArSyncError  # noqa: PLC0415

    # In a log file the equality table needs more than the 80 columns that rich assumes there.
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        if ui:
            run_live(folder or default_folder(), port, console)
        elif not tell_story(folder or default_folder(), console):
            raise SystemExit(DIFFERENT)
    except ArSyncError as error:
        click.echo(str(error), err=True)
        raise SystemExit(DIFFERENT) from None


@main.command()
@_archive_argument
@_json_option
def inspect(archive: Path, as_json: bool) -> None:
    """Show what ARCHIVE says of itself, from its manifest alone.

    The name, the manifest and the size are checked, the members are not read: that is what
    `ar-sync verify` does.

    Exit codes: 0 fine; 1 the archive is bad; 2 a mistake in the call, or an unreadable file.
    """
    from ar_sync_pipeline.archive.reader import open_archive  # noqa: PLC0415  lazily, see above
    from ar_sync_pipeline.errors import ArSyncError  # noqa: PLC0415

    try:
        with open_archive(archive) as reader:
            manifest, size_bytes = reader.manifest, reader.size_bytes
    except ArSyncError as error:
        _fail(error, as_json)
    _show(manifest, size_bytes, as_json)


@main.command()
@_archive_argument
@_json_option
def verify(archive: Path, as_json: bool) -> None:
    """Read ARCHIVE to its last byte and hold every member against its sha256.

    With AR_SYNC_SIGNING_KEY set, the archive must be signed with that key.

    Exit codes: 0 fine; 1 the archive is bad; 2 a mistake in the call, or an unreadable file.
    """
    from ar_sync_pipeline.archive.reader import verify_archive  # noqa: PLC0415  lazily, as above
    from ar_sync_pipeline.errors import ArSyncError  # noqa: PLC0415

    key = os.environ.get("AR_SYNC_SIGNING_KEY", "").encode() or None
    try:
        manifest = verify_archive(archive, signing_key=key)
    except ArSyncError as error:
        _fail(error, as_json)
    if as_json:
        signature = "checked" if key else "not checked"
        result = {"ok": True, "name": manifest.name.applied, "signature": signature}
        click.echo(json.dumps(result))
    else:
        signature = "the signature is right" if key else "no signing key is set here"
        members = len(manifest.members())
        click.echo(f"{archive}: all {members} members are as declared; {signature}.")


def _show(manifest: Manifest, size_bytes: int, as_json: bool) -> None:
    from ar_sync_pipeline.archive import report  # noqa: PLC0415  lazily, as above

    if as_json:
        click.echo(json.dumps({"ok": True, "size_bytes": size_bytes} | report.summary(manifest)))
        return
    from rich.console import Console  # noqa: PLC0415  only people need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    for label, value in report.facts(manifest):
        console.print(Text(f"{label:>14}  {value}"), soft_wrap=True)
    table = Table("table", *("rows", "chunks", "stored bytes", "raw bytes"))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, *numbers in report.table_rows(manifest):
        table.add_row(Text(name), *(f"{number:,}" for number in numbers))
    console.print(table)


def _fail(error: ArSyncError, as_json: bool) -> NoReturn:
    """Say one sentence and leave: 1 for what is wrong with the archive, 2 for a mistake."""
    from ar_sync_pipeline.archive.errors import CorruptArchiveError  # noqa: PLC0415  as above

    if as_json:
        result = {"ok": False, "problem": error.problem, "remedy": error.remedy}
        click.echo(json.dumps(result))
    click.echo(f"Error: {error}", err=True)
    raise SystemExit(ARCHIVE_BAD if isinstance(error, CorruptArchiveError) else USAGE_MISTAKE)
