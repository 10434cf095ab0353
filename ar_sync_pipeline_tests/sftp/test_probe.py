"""The connectivity check names the step that fails."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.sftp.errors import RemoteFileTooLargeError
from ar_sync_pipeline.sftp.limits import SessionLimits
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.probe import LIMITS, STEPS, ProbeOutcome, ProbeStep, probe
from ar_sync_pipeline.sftp.spool_folders import prepare_spool
from ar_sync_pipeline_tests.faulty_sftp import AsyncsshTestServer, SftpTestServer


def now() -> datetime:
    return datetime.now(UTC)


def check_failure(steps: list[ProbeStep], name: str) -> ProbeStep:
    place = [step.name for step in steps].index(name)
    failed = steps[place]
    assert failed.outcome is ProbeOutcome.FAILED
    assert failed.remedy
    assert all(step.ok for step in steps[:place])
    assert {s.outcome for s in steps[place + 1 :]} <= {ProbeOutcome.NOT_TRIED}
    assert [s.name for s in steps if s.name != "settings"] == list(STEPS)
    return failed


def test_good_connection_passes_every_step_and_leaves_nothing(
    any_sftp_server: SftpTestServer,
) -> None:
    steps = probe(any_sftp_server.endpoint(), any_sftp_server.spool, clock=now)
    assert [step.name for step in steps] == list(STEPS)
    assert [s for s in steps if not s.ok] == []
    assert "SHA256:" in steps[2].detail
    assert "gcm" in steps[2].detail
    assert all(isinstance(step.seconds, float) and step.detail for step in steps)
    files = [p for p in any_sftp_server.spool_path.rglob("*") if p.is_file()]
    assert files == []


def test_empty_spool_is_empty_again_afterwards(sftp_server: AsyncsshTestServer) -> None:
    steps = probe(sftp_server.endpoint(), sftp_server.spool, clock=now)
    assert [s for s in steps if not s.ok] == []
    assert list(sftp_server.spool_path.iterdir()) == []


def test_folder_inside_the_spool_is_found_out_and_left_as_it_is(
    sftp_server: AsyncsshTestServer,
) -> None:
    for name in (".incoming", "receipts", "complete", "partial"):
        (sftp_server.spool_path / name).mkdir()
    endpoint, spool = sftp_server.endpoint(), sftp_server.spool
    failed = check_failure(probe(endpoint, spool / "complete", clock=now), "spool exists")
    assert f"is a folder inside the spool {spool}" in failed.detail
    assert failed.remedy == f"set AR_SYNC_REMOTE_BKP_FLDR={spool}"
    assert list((sftp_server.spool_path / "complete").iterdir()) == []


def test_folder_that_is_in_use_for_something_else_is_found_out_and_left_as_it_is(
    sftp_server: AsyncsshTestServer,
) -> None:
    (sftp_server.spool_path / "photos").mkdir()
    failed = check_failure(probe(sftp_server.endpoint(), sftp_server.spool, clock=now), STEPS[5])
    assert "has no folder .incoming and no receipts" in failed.detail
    assert "docs/receiver_account.md" in str(failed.remedy)
    assert [path.name for path in sftp_server.spool_path.iterdir()] == ["photos"]


def test_steps_after_a_failed_one_are_not_tried(
    sftp_server: AsyncsshTestServer, tmp_path: Path
) -> None:
    good, spool = sftp_server.endpoint(), sftp_server.spool
    (tmp_path / "empty").touch()
    wrong = {
        "settings": replace(good, known_hosts=tmp_path / "absent"),
        "resolve": replace(good, host="nowhere.invalid"),
        "connect": replace(good, port=1),
        "host key": replace(good, known_hosts=tmp_path / "empty"),
        "login": replace(good, user="unknown"),
    }
    for name, endpoint in wrong.items():
        check_failure(probe(endpoint, spool, clock=now), name)
    check_failure(probe(good, spool / "absent", clock=now), "spool exists")
    sftp_server.make_unwritable()
    check_failure(probe(good, spool, clock=now), "spool writable")


def test_folder_on_another_file_system_is_found_out(sftp_server: AsyncsshTestServer) -> None:
    sftp_server.faults.cross_device = True
    failed = check_failure(
        probe(sftp_server.endpoint(), sftp_server.spool, clock=now), "round trip"
    )
    assert "renaming" in failed.detail
    assert [p for p in sftp_server.spool_path.rglob("*") if p.is_file()] == []


def test_differing_clock_is_a_warning(sftp_server: AsyncsshTestServer) -> None:
    steps = probe(
        sftp_server.endpoint(), sftp_server.spool, clock=lambda: now() + timedelta(minutes=5)
    )
    step = next(step for step in steps if step.name == "clock difference")
    assert step.outcome is ProbeOutcome.WARNED
    assert "differs by -" in step.detail
    assert step.figures["clock_difference_seconds"] == pytest.approx(-300, abs=2)


def test_free_space_under_the_floor_is_a_warning(sftp_server: AsyncsshTestServer) -> None:
    sftp_server.faults.blocks_free = 5
    for floor, outcome in ((4, ProbeOutcome.PASSED), (10, ProbeOutcome.WARNED)):
        steps = probe(
            sftp_server.endpoint(), sftp_server.spool, clock=now, free_floor_percent=floor
        )
        step = next(step for step in steps if step.name == "free space")
        assert step.outcome is outcome
        assert step.figures == {"free_gb": 5, "free_percent": 5}
        assert all(step.ok for step in steps)
    assert "less than 10 % is free" in str(step.remedy)


def test_little_space_of_a_small_disk_is_told_in_bytes(sftp_server: AsyncsshTestServer) -> None:
    """All of it may be free: the share is not what is low."""
    sftp_server.faults.blocks = 1
    sftp_server.faults.blocks_free = 0
    steps = probe(sftp_server.endpoint(), sftp_server.spool, clock=now, free_floor_percent=0)
    step = next(step for step in steps if step.name == "free space")
    assert (step.outcome, step.detail) == (ProbeOutcome.WARNED, "only 0 bytes are free")


def test_frozen_server_ends_the_whole_check_in_its_time(sftp_server: AsyncsshTestServer) -> None:
    sftp_server.faults.freeze.set()
    started = time.monotonic()
    limits = SessionLimits(whole_seconds=0.5)
    steps = probe(sftp_server.endpoint(), sftp_server.spool, clock=now, limits=limits)
    assert time.monotonic() - started < 10
    assert "time limit" in check_failure(steps, "spool writable").detail


def test_server_that_is_slow_at_everything_ends_the_whole_check_in_its_time(
    sftp_server: AsyncsshTestServer,
) -> None:
    """No single call is silent for long; all of them together are bounded."""
    sftp_server.faults.seconds_per_write = 0.2
    started = time.monotonic()
    limits = SessionLimits(silence_seconds=5, whole_seconds=0.4)
    steps = probe(sftp_server.endpoint(), sftp_server.spool, clock=now, limits=limits)
    assert time.monotonic() - started < 5
    assert "time limit" in check_failure(steps, "spool writable").detail


def test_the_whole_check_ends_within_two_minutes_in_every_case() -> None:
    whole = LIMITS.whole_seconds
    assert whole is not None
    assert LIMITS.opening_seconds + whole < 120


def test_missing_extensions_are_warnings(sftp_server: AsyncsshTestServer) -> None:
    sftp_server.faults.unsupported |= {"fsync", "statvfs", "posix_rename"}
    steps = {s.name: s for s in probe(sftp_server.endpoint(), sftp_server.spool, clock=now)}
    assert steps["spool writable"].outcome is ProbeOutcome.WARNED
    assert steps["free space"].outcome is ProbeOutcome.WARNED


def test_everything_that_draws_a_chart_is_measured(
    any_server_with_extensions: SftpTestServer,
) -> None:
    server = any_server_with_extensions
    steps = probe(server.endpoint(), server.spool, clock=now)
    figures = {name for step in steps for name in step.figures}
    assert figures == {
        "write_mb_per_second",
        "round_trip_ms",
        "free_gb",
        "free_percent",
        "clock_difference_seconds",
        "receipts",
    }


def test_newest_receipt_is_read_and_judged(any_sftp_server: SftpTestServer) -> None:
    server, judged = any_sftp_server, list[tuple[str, bytes]]()
    with open_session(server.endpoint()) as session:
        prepare_spool(session, server.spool)
    folder = server.spool_path / "receipts"
    older, newest = (
        f"backup_{kind}.tar.json"
        for kind in ("partial_20261129T101500.000000Z", "complete_20261129T102000.000000Z")
    )
    for name in (older, newest, "backup_none.json", "agreed_settings.json", "position.json"):
        (folder / name).write_text(name)

    def judge(name: str, content: bytes) -> None:
        judged.append((name, content))
        raise RemoteFileTooLargeError("it is no receipt", remedy="look at it")

    steps = probe(server.endpoint(), server.spool, clock=now, judge_receipt=judge)
    check_failure(steps, "receipts readable")
    assert judged == [(newest, newest.encode())]


def test_files_that_are_no_receipts_are_read_and_not_counted(
    any_sftp_server: SftpTestServer,
) -> None:
    server, judged = any_sftp_server, list[str]()
    with open_session(server.endpoint()) as session:
        prepare_spool(session, server.spool)
    for name in ("load_at_work.json", "position.json"):
        (server.spool_path / "receipts" / name).write_text("{}")

    def look() -> ProbeStep:
        steps = probe(
            server.endpoint(),
            server.spool,
            clock=now,
            judge_receipt=lambda name, _: judged.append(name),
            read_also=["position.json"],
        )
        return next(step for step in steps if step.name == "receipts readable")

    assert look().figures == {"receipts": 0}
    assert "no receipt yet" in look().detail
    receipt = "backup_complete_20261129T102000.000000Z.tar.json"
    (server.spool_path / "receipts" / receipt).write_text("{}")
    judged.clear()
    assert look().detail == f"1 receipt is there, {receipt} can be read"
    assert judged == ["position.json", receipt]


def test_what_a_killed_check_left_is_removed_after_an_hour(sftp_server: AsyncsshTestServer) -> None:
    for name in (".incoming", "receipts", "partial"):
        (sftp_server.spool_path / name).mkdir()
    folder = sftp_server.spool_path / "partial"
    old, fresh = folder / ".probe.0123.part", folder / ".probe.4567.part"
    for path in (old, fresh):
        path.touch()
    os.utime(old, (1, 1))
    probe(sftp_server.endpoint(), sftp_server.spool, clock=now)
    assert [path.name for path in folder.iterdir()] == [fresh.name]
