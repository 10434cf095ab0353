"""A symbolic link in the spool is never followed out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.archive.spool_names import INCOMING, RECEIPTS
from ar_sync_pipeline.sftp.errors import RefusedByServerError, RemoteSpoolMissingError
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.publish import SpoolPlace, publish
from ar_sync_pipeline.sftp.spool_folders import prepare_spool, read_small_file
from ar_sync_pipeline_tests.faulty_sftp import AsyncsshTestServer
from ar_sync_pipeline_tests.sftp.sources import NAME, some_archive


@pytest.fixture
def outside(sftp_server: AsyncsshTestServer) -> Path:
    """Another folder of the same account, with something in it that must not change."""
    folder = sftp_server.root / "outside"
    folder.mkdir()
    (folder / "file").write_bytes(b"precious")
    return folder


@pytest.mark.parametrize("name", [INCOMING, "partial", RECEIPTS])
def test_link_instead_of_a_subfolder_is_reported(
    sftp_server: AsyncsshTestServer, outside: Path, name: str
) -> None:
    (sftp_server.spool_path / name).symlink_to(outside)
    with (
        open_session(sftp_server.endpoint()) as session,
        pytest.raises(RemoteSpoolMissingError, match=f"{name} .* is a symbolic link"),
    ):
        publish(session, some_archive(), SpoolPlace(sftp_server.spool, "partial", NAME))
    assert [path.name for path in outside.iterdir()] == ["file"]


def test_link_in_place_of_a_part_is_not_written_through(
    sftp_server: AsyncsshTestServer, outside: Path
) -> None:
    source = some_archive()
    with open_session(sftp_server.endpoint()) as session:
        prepare_spool(session, sftp_server.spool)
        part = sftp_server.spool_path / INCOMING / f"{NAME}.{source.fingerprint[:16]}.part"
        part.symlink_to(outside / "file")
        with pytest.raises(RefusedByServerError, match="not a regular file"):
            publish(session, source, SpoolPlace(sftp_server.spool, "partial", NAME))
    assert (outside / "file").read_bytes() == b"precious"


def test_link_in_place_of_an_archive_is_not_taken_for_it(
    sftp_server: AsyncsshTestServer, outside: Path
) -> None:
    with open_session(sftp_server.endpoint()) as session:
        prepare_spool(session, sftp_server.spool)
        (sftp_server.spool_path / "partial" / NAME).symlink_to(outside / "file")
        with pytest.raises(RefusedByServerError, match="not a regular file"):
            publish(session, some_archive(), SpoolPlace(sftp_server.spool, "partial", NAME))
    assert (outside / "file").read_bytes() == b"precious"


def test_link_in_place_of_a_receipt_is_not_read(
    sftp_server: AsyncsshTestServer, outside: Path
) -> None:
    with open_session(sftp_server.endpoint()) as session:
        prepare_spool(session, sftp_server.spool)
        (sftp_server.spool_path / RECEIPTS / "position.json").symlink_to(outside / "file")
        with pytest.raises(RefusedByServerError, match="not a regular file"):
            read_small_file(session, sftp_server.spool / RECEIPTS / "position.json", 100)
