"""A transform command: one at a time, and none without the step that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ar_sync_pipeline.postgres.errors import DatabaseUnreachableError
from ar_sync_pipeline.transform import transform_lock
from ar_sync_pipeline.transform.errors import CommandFailedError, TransformRunningError
from ar_sync_pipeline.transform.supervised_command import run_supervised
from ar_sync_pipeline_tests.fix_sites import rows
from ar_sync_pipeline_tests.running_processes import is_running
from ar_sync_pipeline_tests.transform.receiver import Receiver
from ar_sync_pipeline_tests.waiting import until

# It starts a child, says which processes they are, and works for a minute.
WORK = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen(["sleep", "60"])
part = pathlib.Path(sys.argv[1] + ".part")
part.write_text(f"{os.getpid()} {child.pid} {os.getppid()}")
part.rename(sys.argv[1])
time.sleep(60)
"""
STEP = """
import os, sys
from ar_sync_pipeline.transform.supervised_command import run_supervised
run_supervised(sys.argv[2:], os.environ, sys.argv[1], 60)
"""
SESSIONS = "SELECT FROM pg_stat_activity WHERE application_name = 'ar_sync transform command'"


def work(told: Path) -> list[str]:
    return [sys.executable, "-c", WORK, str(told)]


def processes(told: Path) -> list[int]:
    """Wait until the command has told its process, its child and its parent."""
    until(told.exists, "the command is started")
    return [int(word) for word in told.read_text().split()]


def start_step(receiver: Receiver, told: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", STEP, receiver.url, *work(told)])


def run(words: list[str], receiver: Receiver, timeout_seconds: float = 60) -> int:
    return run_supervised(words, os.environ, receiver.url, timeout_seconds)


def test_a_step_that_gets_sigkill_takes_its_command_with_it(
    receiver: Receiver, tmp_path: Path
) -> None:
    """With all that it started, and the next transform can start at once."""
    told = tmp_path / "told"
    with start_step(receiver, told) as step:
        everything = processes(told)
        assert all(map(is_running, everything))
        step.send_signal(signal.SIGKILL)
    until(lambda: not any(map(is_running, everything)), "the command is ended", 10)
    assert run(["true"], receiver) == 0
    assert rows(receiver.url, SESSIONS) == []


def test_two_transforms_never_run_at_once(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a command nor the built-in rules start while a command runs."""
    told, other = tmp_path / "told", tmp_path / "other"
    with start_step(receiver, told) as step:
        processes(told)
        with start_step(receiver, other) as waiting:
            monkeypatch.setattr(transform_lock, "_LOCK_WAIT", "100ms")
            with pytest.raises(TransformRunningError):
                receiver.transform()
            assert not other.exists()
            step.send_signal(signal.SIGKILL)
            processes(other)
            waiting.send_signal(signal.SIGKILL)


def test_a_command_ends_at_its_time_limit_with_all_that_it_started(
    receiver: Receiver, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    with pytest.raises(CommandFailedError, match=r"ran longer than .* AR_SYNC_TRANSFORM_TIMEOUT"):
        run(work(told), receiver, timeout_seconds=2)
    assert not any(map(is_running, processes(told)))


@pytest.mark.long
@pytest.mark.parametrize(
    "prefix", [["timeout", "100"], ["setsid", "-w"]], ids=["timeout", "setsid"]
)
def test_a_command_with_a_process_group_of_its_own_is_ended_too(
    receiver: Receiver, tmp_path: Path, prefix: list[str]
) -> None:
    told, again = tmp_path / "told", tmp_path / "again"
    with pytest.raises(CommandFailedError, match="ran longer than"):
        run([*prefix, *work(told)], receiver, timeout_seconds=2)
    assert not any(map(is_running, processes(told)))
    words = [*prefix, *work(again)]
    with subprocess.Popen([sys.executable, "-c", STEP, receiver.url, *words]) as step:
        everything = processes(again)
        step.send_signal(signal.SIGKILL)
    until(lambda: not any(map(is_running, everything)), "the command is ended", 10)


CLEANUP = """
import pathlib, signal, sys, time
def count(*_):
    with open(sys.argv[1], "a") as told:
        told.write("signal ")
    sys.exit(1)
signal.signal(signal.SIGTERM, count)
try:
    time.sleep(60)
finally:
    time.sleep(0.5)
    with open(sys.argv[1], "a") as told:
        told.write("cleaned up")
"""


@pytest.mark.long
def test_a_program_gets_one_signal_and_the_time_to_clean_up(
    receiver: Receiver, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    with pytest.raises(CommandFailedError, match="ran longer than"):
        run([sys.executable, "-c", CLEANUP, str(told)], receiver, timeout_seconds=1)
    assert told.read_text() == "signal cleaned up"


@pytest.mark.long
def test_orphans_of_a_command_do_not_stay_as_zombies(receiver: Receiver, tmp_path: Path) -> None:
    """With hundreds of them the unit may start no further process."""
    told = tmp_path / "told"
    count = "cat /proc/[0-9]*/stat 2>/dev/null | awk -v p=$PPID '$3 == \"Z\" && $4 == p' | wc -l"
    script = f"for i in $(seq 50); do (/bin/true & ); done; sleep 1; {count} > {told}"
    assert run(["sh", "-c", script], receiver) == 0
    assert int(told.read_text()) == 0


@pytest.mark.long
def test_a_program_that_ignores_sigterm_is_killed_with_its_orphans(
    receiver: Receiver, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    script = (
        f"setsid sh -c 'trap \"\" TERM; echo $$ > {told}; while :; do sleep 1; done' & sleep 60"
    )
    with pytest.raises(CommandFailedError, match="ran longer than"):
        run(["sh", "-c", script], receiver, timeout_seconds=2)
    assert not is_running(int(told.read_text()))


def test_a_command_that_loses_its_supervisor_is_ended_by_the_step(
    receiver: Receiver, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    with start_step(receiver, told) as step:
        everything = processes(told)
        os.kill(everything[-1], signal.SIGKILL)
        assert step.wait(20) == 1
    until(lambda: not any(map(is_running, everything)), "the command is ended", 10)


@pytest.mark.parametrize(("code", "status"), [("exit 3", 3), ("kill -9 $$", -9), ("true", 0)])
def test_the_exit_status_is_the_commands(receiver: Receiver, code: str, status: int) -> None:
    assert run(["sh", "-c", code], receiver) == status


def test_a_command_that_does_not_exist_is_named(receiver: Receiver) -> None:
    with pytest.raises(CommandFailedError, match=r"/of/nobody cannot be started \(No such file"):
        run(["/of/nobody"], receiver)


def test_a_supervisor_that_fails_was_not_killed(receiver: Receiver, tmp_path: Path) -> None:
    """Such as in the middle of an upgrade: no page sends the reader to the OOM killer."""
    (tmp_path / "psycopg.py").write_text("raise ImportError('half of an upgrade')")
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    with pytest.raises(CommandFailedError, match=r"failed \(exit status 1\): read its traceback"):
        run_supervised(["true"], os.environ | {"PYTHONPATH": path}, receiver.url, 60)


def test_a_database_that_cannot_be_reached_is_tried_again() -> None:
    url = "postgresql://nobody:secret@127.0.0.1:1/none"
    with pytest.raises(DatabaseUnreachableError, match=r"127\.0\.0\.1:1/none") as told:
        run_supervised(["true"], os.environ, url, 60)
    assert "secret" not in str(told.value)
