"""A full or broken disk is one message, whichever part of the product wrote to it."""

from __future__ import annotations

import errno
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import click
import dagster as dg
import pytest
from click.testing import CliRunner

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.disk_errors import DiskFailedError, DiskFullError, disk_error
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline_tests.fix_rights import permissions_count

FULL_DEVICE = Path("/dev/full")


def write_to_a_full_disk() -> None:
    with FULL_DEVICE.open("wb", buffering=0) as file:
        file.write(b"x")


def test_full_disk_is_one_message_of_the_step_without_a_traceback() -> None:
    with pytest.raises(dg.Failure) as caught, operator_errors():
        write_to_a_full_disk()
    assert caught.value.metadata["error"].value == "disk-full"
    assert "is full" in str(caught.value.description)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EROFS, DiskFailedError),
        (errno.EIO, DiskFailedError),
        (errno.ESTALE, DiskFailedError),
        (errno.EACCES, None),
        (errno.ENOENT, None),
    ],
)
def test_only_failures_of_the_disk_are(number: int, kind: type[Exception] | None) -> None:
    found = disk_error(OSError(number, "text", "/var/lib/ar_sync/file"))
    assert (type(found) if found else None) is kind
    assert found is None or "/var/lib/ar_sync/file" in str(found)


def test_error_after_the_failure_has_it_as_its_cause() -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            write_to_a_full_disk()
        finally:
            raise RuntimeError("closing failed too")
    assert isinstance(disk_error(caught.value), DiskFullError)


def test_full_journal_is_recognized(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "journal")) as journal:
        journal.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as caught:
            journal.executescript("CREATE TABLE a (b); CREATE TABLE c (d); CREATE TABLE e (f)")
    assert isinstance(disk_error(caught.value), DiskFullError)
    assert disk_error(sqlite3.OperationalError("no such table")) is None


def test_full_disk_of_temporary_files_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path / "missing"))
    with closing(sqlite3.connect("")) as lists:  # a temporary database
        lists.execute("PRAGMA max_page_count = 1")
        with pytest.raises(sqlite3.OperationalError) as caught:
            lists.execute("CREATE TABLE a (b)")
    assert f"or of temporary files in {tmp_path}, is full" in str(disk_error(caught.value))
    monkeypatch.delenv("TMPDIR")
    assert "temporary files in /var/tmp, is full" in str(disk_error(caught.value))


@pytest.mark.parametrize("mode", [0o500, 0])
def test_store_that_this_account_may_not_write_blames_no_disk(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "empty").touch(mode=0o400)
    folder.chmod(mode)
    with permissions_count():
        for name in ("empty", "missing"):
            found = disk_error(cannot_write(folder / name))
            assert isinstance(found, DiskFailedError)
            assert "cannot be opened or written" in found.problem
            assert "kernel" not in found.remedy
            assert "this account may write" in found.remedy


def cannot_write(store: Path) -> sqlite3.Error:
    with (
        pytest.raises(sqlite3.Error) as caught,
        closing(sqlite3.connect(store)) as connection,
    ):
        connection.execute("CREATE TABLE a (b)")
    return caught.value


def test_command_says_it_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "get_command", lambda *_: _Writes("status", params=[as_json]))
    answer = CliRunner().invoke(main, ["status"])
    assert answer.exit_code == 2, "1 would mean that the state was read and is wrong"
    assert (answer.stdout, answer.stderr[:7]) == ("", "Error: ")
    assert "is full" in answer.stderr
    answer = CliRunner().invoke(main, ["status", "--json"])
    assert answer.exit_code == 2
    assert json.loads(answer.stdout)["code"] == "disk-full"


as_json = click.Option(["--json"], is_flag=True, expose_value=False)


class _Writes(click.Command):
    def invoke(self, ctx: click.Context) -> None:  # noqa: ARG002
        write_to_a_full_disk()
