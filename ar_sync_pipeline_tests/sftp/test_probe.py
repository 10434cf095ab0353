"""The connectivity check names the step that fails."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ar_sync_pipeline.sftp.errors import RemoteFileTooLargeError
from ar_sync_pipeline.sftp.probe import ProbeOutcome, ProbeStep, probe

if TYPE_CHECKING:
    from pathlib import Path

    from ar_sync_pipeline_tests.fix_sftp import AsyncsshTestServer, SftpTestServer

ALL_STEPS = [
    "resolve",
    "connect",
    "host key",
    "login",
    "sftp",
    "spool exists",
    "spool writable",
    "round trip",
    "free space",
    "clock difference",
    "receipts readable",
]


def now() -> datetime:
    return datetime.now(UTC)


def check_failure(steps: list[ProbeStep], name: str) -> ProbeStep:
    failed = steps[-1]
    assert failed.name == name
    assert failed.outcome is ProbeOutcome.FAILED
    assert failed.remedy
    assert all(step.ok for step in steps[:-1])
    return failed


def test_good_road_passes_every_step_and_leaves_nothing(any_sftp_server: SftpTestServer) -> None:
    steps = probe(any_sftp_server.endpoint(), any_sftp_server.spool, clock=now)
    assert [step.name for step in steps] == ALL_STEPS
    assert [s for s in steps if not s.ok] == []
    assert "SHA256:" in steps[2].detail
    assert "gcm" in steps[2].detail
    assert all(step.seconds >= 0 and step.detail for step in steps)
    files = [p for p in any_sftp_server.spool_path.rglob("*") if p.is_file()]
    assert files == []


def test_each_failing_step_is_the_last(sftp_server: AsyncsshTestServer, tmp_path: Path) -> None:
    good, spool = sftp_server.endpoint(), sftp_server.spool
    (tmp_path / "empty").touch()
    wrong = {
        "settings": replace(good, known_hosts=tmp_path / "absent"),
        "resolve": replace(good, host="nowhere.invalid"),
        "connect": replace(good, port=1),
        "host key": replace(good, known_hosts=tmp_path / "empty"),
        "login": replace(good, user="stranger"),
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
    assert "-300 s" in step.detail or "-299 s" in step.detail
    assert step.figures["clock_difference_seconds"] == pytest.approx(-300, abs=2)


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
        "clock_difference_seconds",
        "receipts",
    }


def test_newest_receipt_is_read_and_judged(any_sftp_server: SftpTestServer) -> None:
    server, judged = any_sftp_server, list[tuple[str, bytes]]()
    probe(server.endpoint(), server.spool, clock=now)
    (server.spool_path / "receipts" / "a.json").write_bytes(b"a")
    (server.spool_path / "receipts" / "b.json").write_bytes(b"b")

    def judge(name: str, content: bytes) -> None:
        judged.append((name, content))
        raise RemoteFileTooLargeError("it is no receipt", remedy="look at it")

    steps = probe(server.endpoint(), server.spool, clock=now, judge_receipt=judge)
    check_failure(steps, "receipts readable")
    assert judged == [("b.json", b"b")]


def test_what_a_killed_check_left_is_removed_after_an_hour(sftp_server: AsyncsshTestServer) -> None:
    probe(sftp_server.endpoint(), sftp_server.spool, clock=now)
    folder = sftp_server.spool_path / "partial"
    old, fresh = folder / ".probe.0123.part", folder / ".probe.4567.part"
    for path in (old, fresh):
        path.touch()
    os.utime(old, (1, 1))
    probe(sftp_server.endpoint(), sftp_server.spool, clock=now)
    assert [path.name for path in folder.iterdir()] == [fresh.name]
