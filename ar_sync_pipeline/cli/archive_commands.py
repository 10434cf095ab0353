"""``ar-sync inspect`` and ``ar-sync verify``: show and verify an archive file."""

from __future__ import annotations

import json
import os
import stat
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from ar_sync_pipeline.archive import report
from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.archive.reader import open_archive, verify_archive
from ar_sync_pipeline.archive.tar_layout import MANIFEST_HEADER_BYTES, read_manifest_header
from ar_sync_pipeline.cli.archive_path import archive_argument
from ar_sync_pipeline.cli.environment import operator_environment
from ar_sync_pipeline.cli.reporting import FOUND_WRONG, USAGE_ERROR, fail, json_option, plain
from ar_sync_pipeline.cli.tables import print_table
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.settings.signing import load_signing_keys
from ar_sync_pipeline.visible_text import visible

_archive_argument = archive_argument()


@click.command()
@_archive_argument
@json_option
def inspect(archive: Path, as_json: bool) -> None:
    """Show the manifest of ARCHIVE.

    The name, the manifest and the size are checked. The members are not read: use
    `ar-sync verify` for that.

    Exit codes: 0 the manifest can be used; 1 the archive is bad; 2 an invalid call, or an
    unreadable file.
    """
    try:
        with open_archive(archive) as reader:
            manifest, size_bytes = reader.manifest, reader.size_bytes
    except ArSyncError as error:
        _fail(error, archive, as_json)
    _show(manifest, size_bytes, as_json)


@click.command()
@_archive_argument
@json_option
def verify(archive: Path, as_json: bool) -> None:
    """Read ARCHIVE to its last byte and compare every member with its sha256.

    If AR_SYNC_SIGNING_KEY is set, in the environment or in `.env`, the archive must be signed with
    that key, or with the old key while it is accepted.

    Exit codes: 0 fine; 1 the archive is bad; 2 an invalid call, or an unreadable file.
    """
    try:
        keys = load_signing_keys(operator_environment()).accepted(utc_now())
        manifest = verify_archive(archive, signing_keys=keys)
    except ArSyncError as error:
        _fail(error, archive, as_json)
    if as_json:
        signature = "checked" if keys else "not checked"
        result = {"ok": True, "name": manifest.name.applied, "signature": signature}
        click.echo(json.dumps(result))
    else:
        signature = "the signature is right" if keys else "no signing key is set here"
        members = len(manifest.members())
        others = manifest.listed_count - members
        more = f" {others} more are listed and not carried;" if others else ""
        click.echo(
            f"{visible(str(archive))}: all {members} members are as declared;{more} {signature}."
        )


def _show(manifest: Manifest, size_bytes: int, as_json: bool) -> None:

    if as_json:
        click.echo(json.dumps({"ok": True, "size_bytes": size_bytes} | report.summary(manifest)))
        return
    for label, value in report.facts(manifest):
        click.echo(plain(f"{label:>14}  {value}"))
    rows = [
        (name, *(f"{number:,}" for number in numbers))
        for name, *numbers in report.table_rows(manifest)
    ]
    heads = ("table", "rows", "chunks", "stored bytes", "raw bytes")
    print_table(heads, rows, numbers={1, 2, 3, 4})
    click.echo("The members were not read: `ar-sync verify` compares them with the manifest.")


def _begins_like_one(file: Path) -> bool:
    """Return whether a file begins with the header of a manifest."""
    try:
        # A pipe without a writer blocks an ordinary open.
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as content:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return False
            return read_manifest_header(content.read(MANIFEST_HEADER_BYTES)) is not None
    except OSError:
        return False


def _fail(error: ArSyncError, archive: Path, as_json: bool) -> NoReturn:
    """Exit with 1 if the archive is bad, with 2 if the call is invalid."""
    try:
        import_module("ar_sync_pipeline.sync.load.intakes").refuse_other_archive(archive.name)
    except ArSyncError as other:
        fail(other, as_json=as_json, exit_code=USAGE_ERROR)
    code = FOUND_WRONG if isinstance(error, CorruptArchiveError) else USAGE_ERROR
    named = ArchiveName.parse(archive.name) is not None
    if code == FOUND_WRONG and not named and not _begins_like_one(archive):
        error = CorruptArchiveError(
            "it has neither the name nor the content of one",
            archive=archive.name,
            remedy="name a file backup_<kind>_<instant>.tar",
        )
    fail(error, as_json=as_json, exit_code=code)
