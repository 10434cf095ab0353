"""Several connections for one archive: nothing is lost when they break off, nothing overtakes."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.spool_names import INCOMING
from ar_sync_pipeline.sftp import segments as segments_module
from ar_sync_pipeline.sftp.errors import ConnectionLostError
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.publish import SpoolPlace, TransferLimits, publish
from ar_sync_pipeline.sftp.publish_with_retries import publish_with_retries
from ar_sync_pipeline.sftp.rate_limit import RateLimit
from ar_sync_pipeline.sftp.retry_budget import RetryPlan
from ar_sync_pipeline.sftp.segments import END, LEAD_BYTES, NOT_YET, Segments
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline_tests.cutting_proxy import CuttingProxy
from ar_sync_pipeline_tests.faulty_sftp import AsyncsshTestServer, SftpTestServer
from ar_sync_pipeline_tests.openssh_servers import OpensshTestServer
from ar_sync_pipeline_tests.sftp.sources import MIB, NAME, some_archive

THREE = TransferLimits(max_connections=3)


@pytest.fixture
def long_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every round trip counts as 50 ms."""
    monkeypatch.setattr(SftpSession, "round_trip_seconds", 0.05)


def test_short_line_has_one_connection(openssh_server: OpensshTestServer) -> None:
    with open_session(openssh_server.endpoint()) as session:
        result = publish(
            session,
            some_archive(40 * MIB),
            SpoolPlace(openssh_server.spool, "partial", NAME),
            transfer=THREE,
        )
    assert result.connections == 1


@pytest.mark.usefixtures("long_line")
def test_long_line_has_several_and_the_archive_is_the_same(
    any_sftp_server: SftpTestServer,
) -> None:
    source, seen = some_archive(48 * MIB + 11), list[int]()
    result = publish_with_retries(
        any_sftp_server.endpoint(),
        source,
        SpoolPlace(any_sftp_server.spool, "partial", NAME),
        transfer=replace(THREE, bytes_per_second=60 * MIB),
        progress=lambda done, _total: seen.append(done),
    )
    assert (any_sftp_server.spool_path / "partial" / NAME).read_bytes() == source.content
    assert result.connections == 3
    assert result.sent_bytes == source.size_bytes
    assert seen == sorted(seen)
    assert list((any_sftp_server.spool_path / INCOMING).iterdir()) == []


@pytest.mark.long
@pytest.mark.usefixtures("long_line")
def test_interrupted_upload_by_several_resumes_before_its_possible_gaps(
    sftp_server: AsyncsshTestServer, cutting_proxy: Callable[..., CuttingProxy], tmp_path: Path
) -> None:
    source = some_archive(64 * MIB)
    proxy = cutting_proxy(sftp_server, interrupted_after=(20 * MIB, 18 * MIB, 18 * MIB))
    result = publish_with_retries(
        proxy.endpoint(sftp_server, tmp_path / "k"),
        source,
        SpoolPlace(sftp_server.spool, "partial", NAME),
        plan=RetryPlan(first_wait_seconds=0.01),
        transfer=replace(THREE, bytes_per_second=60 * MIB),
    )
    assert (sftp_server.spool_path / "partial" / NAME).read_bytes() == source.content
    assert result.attempts > 1
    assert result.sent_bytes <= source.size_bytes + 2 * LEAD_BYTES


@pytest.mark.long
@pytest.mark.usefixtures("long_line")
def test_line_on_which_each_connection_lives_for_a_few_megabytes_makes_progress(
    sftp_server: AsyncsshTestServer, cutting_proxy: Callable[..., CuttingProxy], tmp_path: Path
) -> None:
    """Each attempt sends less than `LEAD_BYTES`, so the size of the part alone does not tell."""
    source = some_archive(48 * MIB)
    proxy = cutting_proxy(sftp_server, interrupted_after=(10 * MIB,) * 60)
    result = publish_with_retries(
        proxy.endpoint(sftp_server, tmp_path / "k"),
        source,
        SpoolPlace(sftp_server.spool, "partial", NAME),
        plan=RetryPlan(first_wait_seconds=0.01),
        transfer=replace(THREE, bytes_per_second=60 * MIB),
    )
    assert (sftp_server.spool_path / "partial" / NAME).read_bytes() == source.content
    assert result.attempts > 1
    assert result.sent_bytes <= 3 * source.size_bytes


@pytest.mark.usefixtures("long_line")
def test_helpers_that_cannot_connect_are_done_without(
    sftp_server: AsyncsshTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionLostError("no more connections", remedy="none")

    source = some_archive(40 * MIB)
    with open_session(sftp_server.endpoint()) as session:
        monkeypatch.setattr("ar_sync_pipeline.sftp.publish.open_session", refuse)
        result = publish(
            session, source, SpoolPlace(sftp_server.spool, "partial", NAME), transfer=THREE
        )
    assert result.connections == 1
    assert (sftp_server.spool_path / "partial" / NAME).read_bytes() == source.content


@pytest.mark.long
def test_part_of_one_connection_is_taken_over_by_several(
    sftp_server: AsyncsshTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = some_archive(80 * MIB)
    folder = sftp_server.spool_path / INCOMING
    folder.mkdir()
    part = folder / f"{NAME}.{source.fingerprint[:16]}.part"
    part.write_bytes(source.content[: 70 * MIB])
    monkeypatch.setattr(SftpSession, "round_trip_seconds", 0.05)
    with open_session(sftp_server.endpoint()) as session:
        result = publish(
            session, source, SpoolPlace(sftp_server.spool, "partial", NAME), transfer=THREE
        )
    assert result.resumed_bytes == 70 * MIB - LEAD_BYTES
    assert (sftp_server.spool_path / "partial" / NAME).read_bytes() == source.content


@pytest.mark.usefixtures("long_line")
def test_part_with_every_gap_that_several_can_leave_is_completed(
    sftp_server: AsyncsshTestServer,
) -> None:
    source, whole_bytes = some_archive(48 * MIB), 3 * MIB
    folder = sftp_server.spool_path / INCOMING
    folder.mkdir()
    part = folder / f"{NAME}.{source.fingerprint[:16]}.several.part"
    end = whole_bytes + LEAD_BYTES
    part.write_bytes(
        source.content[:whole_bytes] + bytes(LEAD_BYTES - MIB) + source.content[end - MIB : end]
    )
    with open_session(sftp_server.endpoint()) as session:
        result = publish(
            session, source, SpoolPlace(sftp_server.spool, "partial", NAME), transfer=THREE
        )
    assert result.resumed_bytes == whole_bytes
    assert (sftp_server.spool_path / "partial" / NAME).read_bytes() == source.content


@given(confirmations=st.lists(st.integers(0, 100), max_size=200))
def test_no_segment_ends_further_after_the_oldest_unconfirmed_byte_than_the_lead(
    confirmations: list[int],
) -> None:
    size = 3 * LEAD_BYTES
    reader = segments_of(size)
    under_way: dict[int, int] = {}
    for choice in confirmations:
        taken = reader.take(wait=False)
        if isinstance(taken, tuple):
            under_way[taken[0]] = len(taken[1])
            end = taken[0] + len(taken[1])
            assert end - min(under_way) <= LEAD_BYTES
        else:
            assert taken in (NOT_YET, END)
        if under_way and choice % 3 == 0:
            offset = sorted(under_way)[choice % len(under_way)]
            reader.confirm(under_way.pop(offset), finished=offset)


class _Zeros(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        return bytes(size or 0)


def segments_of(size_bytes: int) -> Segments:
    return Segments(
        _Zeros(), 0, size_bytes, block_bytes=65379, name="x", progress=lambda _done, _whole: None
    )


def test_failure_of_one_connection_wakes_the_others() -> None:
    reader = segments_of(LEAD_BYTES + 10 * MIB)
    while reader.take(wait=False) is not NOT_YET:
        pass
    raised = list[BaseException]()

    def wait() -> None:
        try:
            reader.take(wait=True)
        except ConnectionLostError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    failure = ConnectionLostError("cut", remedy="none")
    reader.fail(failure)
    waiting.join(5)
    assert raised == [failure]
    assert segments_module.LEAD_BYTES >= 8 * 4 * MIB  # eight connections' windows


def test_rate_limit_spreads_the_bytes_evenly_and_never_catches_up_with_a_burst() -> None:
    now, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    rate_limit = RateLimit(1000, clock=lambda: now[0], sleep=sleep)
    for _ in range(5):
        rate_limit.wait(500)
    assert now[0] == pytest.approx(2.0)
    now[0] = 100.0
    rate_limit.wait(500)
    rate_limit.wait(500)
    assert now[0] == pytest.approx(100.5)
    assert max(slept) == pytest.approx(0.5)


def test_bandwidth_limit_holds(sftp_server: AsyncsshTestServer) -> None:
    source = some_archive(4 * MIB)
    result = publish_with_retries(
        sftp_server.endpoint(),
        source,
        SpoolPlace(sftp_server.spool, "partial", NAME),
        transfer=TransferLimits(bytes_per_second=4 * MIB),
    )
    assert result.seconds > 0.9
