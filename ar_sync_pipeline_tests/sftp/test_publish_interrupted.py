"""Cut, swallowed, frozen and lying: an upload resumes or ends with one clear error."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pytest

from ar_sync_pipeline.archive.errors import MemberChangedError
from ar_sync_pipeline.archive.spool_names import INCOMING
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp import protocol
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.errors import (
    ConnectionLostError,
    DamagedUploadError,
    ReceiverDiskFullError,
    RemoteFileMissingError,
    SourceChangedError,
    SpoolNotWritableError,
    UnreachableHostError,
)
from ar_sync_pipeline.sftp.limits import SessionLimits
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.publish import Publication, SpoolPlace, publish
from ar_sync_pipeline.sftp.publish_with_retries import publish_with_retries
from ar_sync_pipeline.sftp.retry_budget import RetryPlan
from ar_sync_pipeline.sftp.spool_folders import prepare_spool
from ar_sync_pipeline_tests.cutting_proxy import CuttingProxy
from ar_sync_pipeline_tests.faulty_sftp import AsyncsshTestServer, SftpTestServer
from ar_sync_pipeline_tests.mounted import mounted
from ar_sync_pipeline_tests.sftp.sources import MIB, NAME, MemorySource, some_archive

StartProxy = Callable[..., CuttingProxy]

IMPATIENT = SessionLimits(opening_seconds=2, silence_seconds=1)
AT_ONCE = RetryPlan(fruitless_seconds=5, first_wait_seconds=0.01, longest_wait_seconds=0.05)


def publish_hard(
    endpoint: SftpEndpoint,
    server: SftpTestServer,
    source: MemorySource,
    plan: RetryPlan = AT_ONCE,
    on_retry: Callable[[ArSyncError], None] | None = None,
) -> Publication:
    return publish_with_retries(
        endpoint,
        source,
        SpoolPlace(server.spool, "partial", NAME),
        plan=replace(plan, session=IMPATIENT),
        on_retry=on_retry,
    )


def final_bytes(server: SftpTestServer) -> bytes:
    return (server.spool_path / "partial" / NAME).read_bytes()


def leave_part(server: SftpTestServer, source: MemorySource, content: bytes) -> None:
    folder = server.spool_path / INCOMING
    folder.mkdir()
    part = folder / f"{NAME}.{source.sha256[:16]}.part"
    part.write_bytes(content)
    part.chmod(0o666)


@pytest.mark.long
def test_interrupted_upload_resumes_where_it_stopped(
    any_sftp_server: SftpTestServer, cutting_proxy: StartProxy, tmp_path: Path
) -> None:
    source = some_archive(12 * MIB)
    proxy = cutting_proxy(any_sftp_server, interrupted_after=(5 * MIB, 5 * MIB))
    result = publish_hard(proxy.endpoint(any_sftp_server, tmp_path / "k"), any_sftp_server, source)
    assert final_bytes(any_sftp_server) == source.content
    assert (result.attempts, proxy.connections) == (3, 3)
    assert result.resumed_bytes > 5 * MIB
    # Bytes in flight at the interruption are sent again; the rest is not.
    assert result.sent_bytes < source.size_bytes + 2 * MIB
    assert not result.already_there


def test_part_with_another_tail_is_sent_again_from_the_start(
    sftp_server: AsyncsshTestServer,
) -> None:
    source = some_archive()
    leave_part(sftp_server, source, source.content[: 2 * MIB - 1] + b"?")
    result = publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert (result.sent_bytes, result.resumed_bytes) == (source.size_bytes, 0)
    assert final_bytes(sftp_server) == source.content


@pytest.mark.parametrize("present_bytes", [1, 2 * MIB + 5, 3 * MIB + 17])
def test_part_with_the_right_tail_is_completed(
    sftp_server: AsyncsshTestServer, present_bytes: int
) -> None:
    source = some_archive()
    leave_part(sftp_server, source, source.content[:present_bytes])
    result = publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert (result.resumed_bytes, result.sent_bytes) == (
        present_bytes,
        source.size_bytes - present_bytes,
    )
    assert final_bytes(sftp_server) == source.content


def test_part_longer_than_the_source_is_sent_again(sftp_server: AsyncsshTestServer) -> None:
    source = some_archive()
    leave_part(sftp_server, source, source.content + b"more")
    publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert final_bytes(sftp_server) == source.content


def test_connection_thought_dead_cannot_write_into_a_new_beginning(
    any_sftp_server: SftpTestServer,
) -> None:
    source, late = some_archive(), 65536
    with (
        open_session(any_sftp_server.endpoint(), IMPATIENT) as dead,
        open_session(any_sftp_server.endpoint(), IMPATIENT) as session,
    ):
        prepare_spool(dead, any_sftp_server.spool)
        part = any_sftp_server.spool / INCOMING / f"{NAME}.{source.sha256[:16]}.part"

        def write_late(done: int, _total: int) -> None:
            if done == source.size_bytes:
                protocol.send_write(pipe, handle, source.size_bytes, b"x" * late)
                protocol.confirm_write(pipe)

        with dead.handle(part, protocol.NEW) as handle:
            pipe = protocol.RequestPipe(dead.client)
            protocol.send_write(pipe, handle, 0, b"not the beginning of the source")
            protocol.confirm_write(pipe)
            publish(
                session,
                source,
                SpoolPlace(any_sftp_server.spool, "partial", NAME),
                progress=write_late,
            )
    assert final_bytes(any_sftp_server) == source.content


def test_lost_answer_to_the_rename_is_recovered(sftp_server: AsyncsshTestServer) -> None:
    source = some_archive()
    sftp_server.faults.lose_next_rename_reply = True
    result = publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert (result.attempts, result.sent_bytes) == (2, source.size_bytes)
    assert not result.already_there
    assert final_bytes(sftp_server) == source.content


def test_archive_whose_rename_was_not_answered_may_have_arrived(
    sftp_server: AsyncsshTestServer,
) -> None:
    sftp_server.faults.lose_next_rename_reply = True
    told = list[bool]()
    place = SpoolPlace(sftp_server.spool, "partial", NAME, arrives=told.append)
    with open_session(sftp_server.endpoint()) as session, pytest.raises(ConnectionLostError):
        publish(session, some_archive(), place)
    assert told == [True]


@pytest.mark.parametrize("other_attempt_renamed_it", [False, True])
def test_archive_whose_rename_is_refused_has_not_arrived_unless_it_is_there(
    any_sftp_server: SftpTestServer, *, other_attempt_renamed_it: bool
) -> None:
    told = list[bool]()

    def take_part_away(possible: bool) -> None:
        told.append(possible)
        for part in (any_sftp_server.spool_path / INCOMING).glob("*.part"):
            if other_attempt_renamed_it:
                part.rename(any_sftp_server.spool_path / "partial" / NAME)
            else:
                part.unlink()

    place = SpoolPlace(any_sftp_server.spool, "partial", NAME, arrives=take_part_away)
    with open_session(any_sftp_server.endpoint()) as session:
        if other_attempt_renamed_it:
            publish(session, some_archive(), place)
            assert told == [True]
        else:
            with pytest.raises(RemoteFileMissingError):
                publish(session, some_archive(), place)
            assert told == [True, False]


@pytest.mark.long
def test_black_hole_ends_within_the_limit(
    any_sftp_server: SftpTestServer, cutting_proxy: StartProxy, tmp_path: Path
) -> None:
    proxy = cutting_proxy(any_sftp_server, swallow_after=2 * MIB)
    endpoint = proxy.endpoint(any_sftp_server, tmp_path / "k")
    with (
        open_session(endpoint, IMPATIENT) as session,
        pytest.raises(ConnectionLostError, match="no progress for 1 s"),
    ):
        publish(session, some_archive(12 * MIB), SpoolPlace(any_sftp_server.spool, "partial", NAME))


@pytest.mark.parametrize("swallow_after", [0, 30, 1500, 2600])
def test_black_hole_while_opening_ends_within_the_limit(
    sftp_server: AsyncsshTestServer, cutting_proxy: StartProxy, tmp_path: Path, swallow_after: int
) -> None:
    proxy = cutting_proxy(sftp_server, swallow_after=swallow_after)
    started = time.monotonic()
    limits = SessionLimits(opening_seconds=1, silence_seconds=1)
    with (
        pytest.raises(ConnectionLostError),
        open_session(proxy.endpoint(sftp_server, tmp_path / "k"), limits) as session,
    ):
        session.space(sftp_server.spool)
    # The usual limit of an opening is 30 s.
    assert time.monotonic() - started < 20


def test_frozen_server_ends_within_the_limit(sftp_server: AsyncsshTestServer) -> None:
    sftp_server.faults.freeze.set()
    with (
        open_session(sftp_server.endpoint(), IMPATIENT) as session,
        pytest.raises(ConnectionLostError, match="no progress"),
    ):
        publish(session, some_archive(), SpoolPlace(sftp_server.spool, "partial", NAME))


def publish_slowly(
    endpoint: SftpEndpoint,
    server: SftpTestServer,
    *,
    disk_bytes_per_second: float,
    at_the_end: Callable[[], None] = lambda: None,
) -> float:
    """Publish to a server that flushes slowly; returns how long that took."""
    source, started = some_archive(), time.monotonic()
    limits = SessionLimits(
        opening_seconds=5, silence_seconds=1, disk_bytes_per_second=disk_bytes_per_second
    )

    def progress(done: int, total: int) -> None:
        if done == total:
            at_the_end()

    try:
        with open_session(endpoint, limits) as session:
            publish(session, source, SpoolPlace(server.spool, "partial", NAME), progress=progress)
    except ConnectionLostError:
        pass
    return time.monotonic() - started


@pytest.mark.long
def test_slow_flush_is_waited_for_as_long_as_the_server_shows_signs_of_life(
    sftp_server: AsyncsshTestServer,
) -> None:
    sftp_server.faults.seconds_per_fsync = 2
    publish_slowly(sftp_server.endpoint(), sftp_server, disk_bytes_per_second=0.5 * MIB)
    assert (sftp_server.spool_path / "partial" / NAME).exists()


def test_flush_that_never_ends_is_given_up(sftp_server: AsyncsshTestServer) -> None:
    sftp_server.faults.seconds_per_fsync = 20
    seconds = publish_slowly(sftp_server.endpoint(), sftp_server, disk_bytes_per_second=10 * MIB)
    assert seconds < 6
    assert not (sftp_server.spool_path / "partial" / NAME).exists()


@pytest.mark.long
def test_network_that_dies_during_a_flush_is_noticed_long_before_the_limit_of_the_flush(
    sftp_server: AsyncsshTestServer, cutting_proxy: StartProxy, tmp_path: Path
) -> None:
    sftp_server.faults.seconds_per_fsync = 20
    proxy = cutting_proxy(sftp_server)
    seconds = publish_slowly(
        proxy.endpoint(sftp_server, tmp_path / "k"),
        sftp_server,
        disk_bytes_per_second=0.1 * MIB,
        at_the_end=proxy.swallow.set,
    )
    assert seconds < 6


def test_one_attempt_that_brings_nothing_ends_within_two_minutes_and_all_of_them_do() -> None:
    """A flush may take longer, but only while the server answers."""
    limits, plan = SessionLimits(), RetryPlan()
    assert limits.opening_seconds + limits.silence_seconds < 120
    assert plan.fruitless_seconds < 120
    for left in (90, 10):
        shortened = limits.within(left)
        assert shortened.opening_seconds + shortened.silence_seconds == pytest.approx(left)
    assert limits.within(1000) == limits


def test_caller_may_take_its_time_between_calls(sftp_server: AsyncsshTestServer) -> None:
    limits = SessionLimits(silence_seconds=0.2)
    with open_session(sftp_server.endpoint(), limits) as session:
        time.sleep(0.6)
        assert session.is_folder(sftp_server.spool)


@pytest.mark.long
def test_upload_that_gets_on_is_tried_again_long_after_one_that_does_not_is_given_up(
    sftp_server: AsyncsshTestServer, cutting_proxy: StartProxy, tmp_path: Path
) -> None:
    plan, source = RetryPlan(fruitless_seconds=3, first_wait_seconds=0.7), some_archive(8 * MIB)
    proxy = cutting_proxy(sftp_server, interrupted_after=(MIB + MIB // 2,) * 5)
    started = time.monotonic()
    result = publish_hard(proxy.endpoint(sftp_server, tmp_path / "k"), sftp_server, source, plan)
    assert result.attempts == 6
    assert time.monotonic() - started > plan.fruitless_seconds
    assert final_bytes(sftp_server) == source.content


@pytest.mark.long
@pytest.mark.parametrize("swallow_after", [0, 1500, 4000])
def test_network_that_drops_everything_ends_all_attempts_in_the_plans_time(
    sftp_server: AsyncsshTestServer, cutting_proxy: StartProxy, tmp_path: Path, swallow_after: int
) -> None:
    """Before the first byte, in the login, in the first requests: where it is does not matter."""
    proxy = cutting_proxy(sftp_server, swallow_after=swallow_after)
    endpoint, failures = proxy.endpoint(sftp_server, tmp_path / "k"), list[ArSyncError]()
    plan, started = RetryPlan(fruitless_seconds=3, first_wait_seconds=0.01), time.monotonic()
    with pytest.raises(ConnectionLostError):
        publish_hard(endpoint, sftp_server, some_archive(), plan, failures.append)
    assert time.monotonic() - started < 30
    assert len(failures) == proxy.connections > 1


@pytest.mark.long
def test_frozen_server_ends_all_attempts_in_the_plans_time(
    sftp_server: AsyncsshTestServer,
) -> None:
    """It lets everybody in, and answers no write."""
    sftp_server.faults.freeze.set()
    plan, started = RetryPlan(fruitless_seconds=3, first_wait_seconds=0.01), time.monotonic()
    failures = list[ArSyncError]()
    with pytest.raises(ConnectionLostError):
        publish_hard(sftp_server.endpoint(), sftp_server, some_archive(), plan, failures.append)
    assert time.monotonic() - started < 30
    assert len(failures) > 1


def test_port_that_is_closed_ends_all_attempts_in_the_plans_time(
    sftp_server: AsyncsshTestServer,
) -> None:
    endpoint, failures = replace(sftp_server.endpoint(), port=1), list[ArSyncError]()
    plan, started = RetryPlan(fruitless_seconds=1, first_wait_seconds=0.05), time.monotonic()
    with pytest.raises(UnreachableHostError, match="refused"):
        publish_hard(endpoint, sftp_server, some_archive(), plan, failures.append)
    # `test_retry_budget` has the waits.
    assert time.monotonic() - started < 15
    assert len(failures) > 1


def test_receiver_that_confirms_what_it_does_not_keep_gets_two_uploads_and_no_more(
    sftp_server: AsyncsshTestServer,
) -> None:
    sftp_server.faults.lose_last_bytes = True
    source, failures = some_archive(), list[ArSyncError]()
    with pytest.raises(DamagedUploadError, match=f"{source.size_bytes - 1} bytes after"):
        publish_hard(sftp_server.endpoint(), sftp_server, source, on_retry=failures.append)
    assert len(failures) == 2
    assert [p for p in sftp_server.spool_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("missing", ["posix_rename", "fsync", "statvfs"])
def test_servers_without_an_extension_do(sftp_server: AsyncsshTestServer, missing: str) -> None:
    sftp_server.faults.unsupported.add(missing)
    source = some_archive()
    publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert final_bytes(sftp_server) == source.content


def test_full_disk_is_recognised_without_statvfs(sftp_server: AsyncsshTestServer) -> None:
    sftp_server.faults.unsupported.add("statvfs")
    sftp_server.faults.free_bytes = 2 * MIB
    with pytest.raises(ReceiverDiskFullError, match="no space is left"):
        publish_hard(sftp_server.endpoint(), sftp_server, some_archive())


@dataclass
class FillingSource(MemorySource):
    """Is opened when others have filled the receiver's disk, which then has no inode left."""

    server: AsyncsshTestServer

    def open(self) -> BinaryIO:
        self.server.faults.free_bytes = 2 * MIB
        self.server.faults.blocks_free = self.server.faults.inodes_free = 0
        return super().open()


def test_full_disk_without_free_bytes_is_not_said_to_be_out_of_inodes(
    sftp_server: AsyncsshTestServer,
) -> None:
    """ZFS makes inodes of free bytes."""
    source = FillingSource(some_archive().content, sftp_server)
    with pytest.raises(ReceiverDiskFullError, match="only 0 bytes are free"):
        publish_hard(sftp_server.endpoint(), sftp_server, source)


def test_read_only_disk_is_recognised_without_statvfs(sftp_server: AsyncsshTestServer) -> None:
    sftp_server.faults.unsupported.add("statvfs")
    spool = sftp_server.spool_path
    read_only = mounted(spool, "-t", "tmpfs", "-o", "ro", "tmpfs")
    with read_only, pytest.raises(SpoolNotWritableError, match="Read-only file system"):
        publish_hard(sftp_server.endpoint(), sftp_server, some_archive())


def test_disk_that_does_not_report_its_space_is_not_full(sftp_server: AsyncsshTestServer) -> None:
    sftp_server.faults.blocks = sftp_server.faults.blocks_free = 0
    source = some_archive()
    publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert final_bytes(sftp_server) == source.content


@pytest.mark.parametrize("refused_at", [0, MIB // 2, 3 * MIB])
def test_disk_that_is_full_for_an_instant_leaves_no_gap_in_the_next_upload(
    sftp_server: AsyncsshTestServer, refused_at: int
) -> None:
    """The server performs the writes that were on their way when one was refused."""
    source = some_archive()
    sftp_server.faults.refused_at = refused_at
    with pytest.raises(ReceiverDiskFullError):
        publish_hard(sftp_server.endpoint(), sftp_server, source)
    publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert final_bytes(sftp_server) == source.content


def test_part_that_cannot_be_closed_is_not_resumed(sftp_server: AsyncsshTestServer) -> None:
    """Network file systems report at the end that there was no space for what they accepted."""
    source = some_archive()
    sftp_server.faults.unsupported.add("fsync")
    sftp_server.faults.failing_closes = 1
    with pytest.raises(ArSyncError):
        publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert list((sftp_server.spool_path / INCOMING).iterdir()) == []
    publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert final_bytes(sftp_server) == source.content


def test_quota_differs_from_a_full_disk(sftp_server: AsyncsshTestServer) -> None:
    sftp_server.faults.free_bytes = 2 * MIB
    sftp_server.faults.blocks_free = 50
    with pytest.raises(
        ReceiverDiskFullError, match="50,000,000,000 bytes free, so it is the quota"
    ):
        publish_hard(sftp_server.endpoint(), sftp_server, some_archive())


def test_only_the_tail_failing_is_not_a_success(sftp_server: AsyncsshTestServer) -> None:
    """paramiko's own pipelined file loses exactly these statuses."""
    source = some_archive()
    sftp_server.faults.free_bytes = source.size_bytes - 1
    with pytest.raises(ReceiverDiskFullError):
        publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert not (sftp_server.spool_path / "partial" / NAME).exists()


@dataclass
class ChangingSource(MemorySource):
    """Promises one content and delivers another."""

    delivered: bytes = b""

    def open(self) -> BinaryIO:
        return MemorySource(self.delivered).open()


def test_source_that_becomes_shorter_while_it_is_sent_is_never_revealed(
    sftp_server: AsyncsshTestServer,
) -> None:
    source = ChangingSource(b"abcdef", delivered=b"abc")
    with pytest.raises(SourceChangedError, match="shorter"):
        publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert list(sftp_server.spool_path.glob("**/*.tar*")) == []


def test_source_that_becomes_longer_is_no_harm(sftp_server: AsyncsshTestServer) -> None:
    source = ChangingSource(b"abcdef", delivered=b"abcdefghi")
    publish_hard(sftp_server.endpoint(), sftp_server, source)
    assert final_bytes(sftp_server) == source.content


class GoneSource(MemorySource):
    """A media file of it was deleted after the bytes were sent."""

    def open(self) -> BinaryIO:
        raise MemberChangedError("media/a.jpeg", Path("/srv/media/a.jpeg"), "was deleted")


def test_part_whose_source_can_no_longer_be_read_is_removed(
    sftp_server: AsyncsshTestServer,
) -> None:
    source = GoneSource(some_archive().content)
    leave_part(sftp_server, source, source.content[: 2 * MIB])
    with pytest.raises(MemberChangedError), open_session(sftp_server.endpoint()) as session:
        publish(session, source, SpoolPlace(sftp_server.spool, "partial", NAME))
    assert list((sftp_server.spool_path / INCOMING).iterdir()) == []
