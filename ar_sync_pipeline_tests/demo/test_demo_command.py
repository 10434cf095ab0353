"""``ar-sync demo`` as a process: signals end it, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ar_sync_pipeline_tests.waiting import until

AR_SYNC = Path(sys.executable).with_name("ar-sync")
# As root, the account of the database must be able to reach the folder: pytest's are closed.
_SHELL = 'trap "" INT; exec "$@"'  # what a shell does for its background jobs


def _of_demo(temporary: Path) -> list[int]:
    """Processes that work with the demo's files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(temporary) in environment + words:
            found.append(int(process.name))
    return found


def _start(temporary: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["sh", "-c", _SHELL, "sh", str(AR_SYNC), "demo", *options],
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": str(temporary),
            "LC_ALL": "C",
            "HOME": "/dev/null/no-home",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_a_background_demo_and_nothing_is_left(
    tmp_path: Path, number: signal.Signals
) -> None:
    temporary = tmp_path / "mit Umlaut \u00fc"
    temporary.mkdir()
    with _start(temporary) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "One complete" in line:
                break
        demo.send_signal(number)
        said = demo.stdout.read()
    assert demo.returncode == 130
    assert "Traceback" not in said
    until(lambda: not _of_demo(temporary), "the demo's processes have ended", 20, every=0.2)
    assert list(temporary.iterdir()) == []


@pytest.mark.long
def test_port_of_another_program_is_refused_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with _start(tmp_path, "--ui", "--port", port) as demo:
            said = demo.communicate(timeout=120)[0]
    assert demo.returncode == 1
    assert f"cannot have port {port}" in said
    assert "--port" in said
    assert "Traceback" not in said
