"""What uploads that were given up left at the receiver goes when a later archive is sent."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.archive.spool_names import INCOMING
from ar_sync_pipeline.sftp.errors import ReceiverDiskFullError
from ar_sync_pipeline.sftp.older_parts import GivenUp
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.publish import SpoolPlace, publish
from ar_sync_pipeline.sftp.spool_folders import prepare_spool
from ar_sync_pipeline_tests.faulty_sftp import AsyncsshTestServer, SftpTestServer
from ar_sync_pipeline_tests.sftp.sources import NAME, some_archive

COMPLETE = NAME.replace("partial", "complete")
OLDER = "20261123T152500.000000Z"
LATER = "20261123T153500.000000Z"
MARK = "0123456789abcdef"
OLDER_PARTS = {
    kind: [
        f"NEW_backup_{kind}_{OLDER}.tar.{MARK}.part",
        f"NEW_backup_{kind}_{OLDER}.tar.{MARK}.several.part",
    ]
    for kind in ("partial", "complete")
}
OTHERS = [
    f"NEW_backup_partial_{LATER}.tar.{MARK}.part",
    f"NEW_backup_complete_{LATER}.tar.{MARK}.part",
    f"NEW_backup_partial_{OLDER}.tar.part",
    f"backup_partial_{OLDER}.tar.{MARK}.part",
    "announcement.json",
]


def leave(server: SftpTestServer, *names: str) -> None:
    with open_session(server.endpoint()) as session:
        prepare_spool(session, server.spool)
    for name in names:
        (server.spool_path / INCOMING / name).write_bytes(b"half an archive")


def left(server: SftpTestServer) -> set[str]:
    return {path.name for path in (server.spool_path / INCOMING).iterdir()}


def all_of(archives: Collection[ArchiveName]) -> Collection[ArchiveName]:
    return archives


def send(
    server: SftpTestServer, folder: str, filename: str, given_up: GivenUp | None = all_of
) -> None:
    with open_session(server.endpoint()) as session:
        place = SpoolPlace(server.spool, folder, filename, given_up=given_up)
        publish(session, some_archive(), place)


def test_parts_of_older_partials_go_and_nothing_else(any_sftp_server: SftpTestServer) -> None:
    leave(any_sftp_server, *OLDER_PARTS["partial"], *OLDER_PARTS["complete"], *OTHERS)
    send(any_sftp_server, "partial", NAME)
    assert left(any_sftp_server) == {*OLDER_PARTS["complete"], *OTHERS}


@pytest.mark.parametrize("given_up", [None, lambda _: ()], ids=["nobody can tell", "none"])
@pytest.mark.parametrize("kind", ["partial", "complete"])
def test_parts_that_are_not_given_up_stay(
    sftp_server: AsyncsshTestServer, kind: str, given_up: GivenUp | None
) -> None:
    leave(sftp_server, *OLDER_PARTS[kind])
    send(sftp_server, kind, NAME.replace("partial", kind), given_up)
    assert left(sftp_server) == {*OLDER_PARTS[kind]}


def test_parts_of_older_partials_go_before_the_space_is_needed(
    sftp_server: AsyncsshTestServer,
) -> None:
    leave(sftp_server, *OLDER_PARTS["partial"])
    sftp_server.faults.blocks_free = 0
    with pytest.raises(ReceiverDiskFullError):
        send(sftp_server, "partial", NAME)
    assert left(sftp_server) == set()


def test_parts_of_older_completes_go_after_a_newer_one_has_arrived(
    sftp_server: AsyncsshTestServer,
) -> None:
    """An older one may still be sent, by a run that was started by hand."""
    leave(sftp_server, *OLDER_PARTS["partial"], *OLDER_PARTS["complete"], *OTHERS)
    sftp_server.faults.blocks_free = 0
    with pytest.raises(ReceiverDiskFullError):
        send(sftp_server, "complete", COMPLETE)
    assert left(sftp_server) > set(OLDER_PARTS["complete"])
    sftp_server.faults.blocks_free = None
    send(sftp_server, "complete", COMPLETE)
    assert left(sftp_server) == {*OLDER_PARTS["partial"], *OTHERS}
