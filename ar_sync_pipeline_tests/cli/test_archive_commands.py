"""Output of ``ar-sync inspect`` and ``ar-sync verify`` for people and scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ar_sync_pipeline.cli import main
from ar_sync_pipeline_tests.archive.building import make_source, write_archive
from ar_sync_pipeline_tests.fix_rights import permissions_count


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    source = make_source(
        tmp_path / "files",
        media={"a.jpeg": b"picture"},
        tables={"AndroidRequests_bus": [b"rows", b"rows"]},
        key=b"secret",
    )
    return write_archive(tmp_path, source)


def run(*arguments: object, key: str | None = None) -> Result:
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(main, words, env={"AR_SYNC_SIGNING_KEY": key})
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.mark.parametrize("command", ["inspect", "verify"])
@pytest.mark.parametrize(
    "place", ["partial/NEW_{}", "partial/{}", "parked/{}", "quarantine/NEW_{}"]
)
def test_an_archive_of_the_spool_is_found_by_its_name_alone(
    archive: Path, tmp_path: Path, command: str, place: str
) -> None:
    name = archive.name.removeprefix("NEW_")
    spooled = tmp_path / "spool" / place.format(name)
    spooled.parent.mkdir(parents=True)
    archive.rename(spooled)
    spool = {"AR_SYNC_REMOTE_BKP_FLDR": str(tmp_path / "spool")}
    found = CliRunner().invoke(main, [command, name], env=spool)
    assert found.exit_code == 0, found.output
    elsewhere = {"AR_SYNC_REMOTE_BKP_FLDR": str(tmp_path / "nowhere")}
    assert CliRunner().invoke(main, [command, name], env=elsewhere).exit_code == 2


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"picture")] ^= 1
    path.write_bytes(content)


def test_inspect_shows_tables_rows_and_media(archive: Path) -> None:
    result = run("inspect", archive)

    assert result.exit_code == 0
    assert "AndroidRequests_bus" in result.stdout
    assert "1 file, 7 bytes" in result.stdout
    assert "2026-11-23 15:30:00.123456 UTC" in result.stdout


def test_inspect_json_has_a_stable_shape(archive: Path) -> None:
    shown = json.loads(run("inspect", archive, "--json").stdout)

    assert sorted(shown) == [
        *("archive_id", "column_rules", "format", "kind", "media", "migrations", "name", "ok"),
        *(
            "product_version",
            "row_count",
            "schema_fingerprint",
            "sender",
            "signed",
            "since",
            "size_bytes",
        ),
        *("snapshot_at", "tables", "watermark", "window"),
    ]
    (table,) = shown["tables"]
    assert table["table"] == "AndroidRequests_bus"
    assert (table["row_count"], table["chunk_count"], table["raw_bytes"]) == (2, 2, 8)
    assert shown["media"] == {"file_count": 1, "size_bytes": 7, "omitted": []}
    assert shown["size_bytes"] == archive.stat().st_size


@pytest.mark.parametrize("content", [b"", b"no archive", None], ids=["empty", "text", "folder"])
@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_what_never_was_an_archive_is_said(
    tmp_path: Path, command: str, content: bytes | None
) -> None:
    path = tmp_path / "notes.txt"
    path.mkdir() if content is None else path.write_bytes(content)
    shown = run(command, path)
    assert shown.exit_code != 0
    assert "check the disk" not in shown.stderr
    assert "notes.txt" in shown.stderr


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_pipe_without_a_writer_blocks_no_command(tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    shown = run(command, tmp_path / "pipe")
    assert shown.exit_code == 1
    assert "neither the name nor the content" in shown.stderr


@pytest.mark.parametrize("command", ["inspect", "verify", "plan", "allow"])
@pytest.mark.parametrize(
    "name",
    [
        "backup_2017-09-25__03_30_00.tar.gz",
        "NEW_backup_2017-09-25__03_30_00.tar.gz",
        "NEW_backup_partial_2017-09-25__03_30_00.tar.gz",
    ],
)
def test_archive_of_the_old_system_is_named_as_such(
    tmp_path: Path, command: str, name: str
) -> None:
    """Whether it exists or not: the list in the UI has the name that it gets when it is applied."""
    receiver = {
        "AR_SYNC_RECEIVER_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(tmp_path / "media"),
        "AR_SYNC_REMOTE_BKP_FLDR": str(tmp_path / "spool"),
    }
    (tmp_path / "media").mkdir()
    (tmp_path / "spool").mkdir()
    for content in (None, b"anything"):
        if content:
            (tmp_path / name).write_bytes(content)
        shown = CliRunner().invoke(main, [command, str(tmp_path / name)], env=receiver)
        assert shown.exit_code == 2
        assert "is an archive of the old system, which a load converts" in shown.stderr


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_archive_under_another_name_is_told_its_own(
    archive: Path, tmp_path: Path, command: str
) -> None:
    copy = archive.rename(tmp_path / "copy.tar")
    shown = run(command, copy)
    assert shown.exit_code == 1
    own = archive.name.removeprefix("NEW_")
    assert f"the file name differs from that of the archive in it, {own}" in shown.stderr


@pytest.mark.parametrize(
    "content",
    [
        b"AR_SYNC_SIGNING_KEY=\xff\n",
        b"AR_SYNC_SIGNING_KEY=a\0b\n",
        b"PGPASSFILE=a\0b\n",
        "AR_SYNC_SIGNING_KEY=key\n".encode("utf-16-le"),
        bytes(4096),
    ],
)
def test_settings_that_cannot_be_read_are_one_message(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / ".env").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    shown = run("verify", archive)
    assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1)
    assert f"{tmp_path / '.env'} cannot be read" in shown.stderr


def test_verify_reads_what_inspect_does_not(archive: Path) -> None:
    assert run("verify", archive).exit_code == 0
    damage(archive)

    assert run("inspect", archive).exit_code == 0
    result = run("verify", archive)
    assert result.exit_code == 1
    assert "media/a.jpeg" in result.stderr
    assert result.stderr.count("\n") == 1


def test_verify_json_tells_success_and_failure_apart(archive: Path) -> None:
    good = json.loads(run("verify", archive, "--json").stdout)
    damage(archive)
    bad = run("verify", archive, "--json")

    assert good == {
        "ok": True,
        "name": "backup_complete_20261123T153000.123456Z.tar",
        "signature": "not checked",
    }
    assert bad.exit_code == 1
    assert sorted(json.loads(bad.stdout)) == ["code", "ok", "problem", "remedy"]


def test_verify_checks_the_signature_when_a_key_is_set(archive: Path) -> None:
    assert "signature is right" in run("verify", archive, key="secret").stdout
    refused = run("verify", archive, key="another secret")

    assert refused.exit_code == 1
    assert "AR_SYNC_SIGNING_KEY" in refused.stderr
    assert "another secret" not in refused.output


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_a_usage_error_is_exit_code_2(command: str, tmp_path: Path) -> None:
    missing = run(command, tmp_path / "absent.tar")

    assert missing.exit_code == 2
    assert "absent.tar cannot be read" in missing.stderr
    assert missing.stderr.count("\n") == 1
    assert run(command).exit_code == 2
    assert run(command, "a", "--jso").exit_code == 2


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_closed_folder_is_one_message(archive: Path, tmp_path: Path, command: str) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    archive = archive.rename(closed / archive.name)
    closed.chmod(0)
    for path in (archive, closed / "deeper" / archive.name):
        with permissions_count():
            shown = run(command, path)
        assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1)
        assert f"{archive.name} cannot be read (Permission denied)" in shown.stderr


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_name_is_found_in_the_spool_from_a_folder_that_the_account_may_not_enter(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    # `sudo -u ar_sync ar-sync verify NAME`, called in /root.
    spooled = tmp_path / "spool" / "parked" / archive.name.removeprefix("NEW_")
    spooled.parent.mkdir(parents=True)
    archive.rename(spooled)
    (tmp_path / "spool" / "quarantine").mkdir(mode=0)
    (root := tmp_path / "root").mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("AR_SYNC_REMOTE_BKP_FLDR", str(tmp_path / "spool"))
    root.chmod(0)
    with permissions_count():
        shown = run(command, spooled.name)
    assert shown.exit_code == 0, shown.stderr


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_name_that_no_file_system_takes_is_one_message(command: str) -> None:
    shown = run(command, "x" * 300)
    assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1)
    assert "cannot be read (File name too long)" in shown.stderr


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_the_help_of_each_command_documents_its_exit_codes(command: str) -> None:
    text = " ".join(run(command, "--help").stdout.split())

    assert "; 1 the archive is bad; 2 an invalid call" in text


def test_the_command_line_starts_without_the_heavy_imports() -> None:
    code = "import sys, ar_sync_pipeline.cli; print(sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout

    for module in ("dagster", "psycopg", "paramiko", "pandas", "pydantic", "rich"):
        assert f"'{module}'" not in loaded
