"""Servers that let the account in and give it no SFTP: one sentence, the step's name, no retry."""

from __future__ import annotations

import getpass
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ar_sync_pipeline.errors import ArSyncError, TerminalError
from ar_sync_pipeline.sftp import starting
from ar_sync_pipeline.sftp.errors import ConnectionLostError, NoSftpError
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.probe import ProbeOutcome, probe
from ar_sync_pipeline.sftp.publish import SpoolPlace
from ar_sync_pipeline.sftp.publish_with_retries import publish_with_retries
from ar_sync_pipeline_tests.fix_sftp import configured_server
from ar_sync_pipeline_tests.missing_parts import only_root, skip_unless_in_ci
from ar_sync_pipeline_tests.openssh_servers import OpensshTestServer
from ar_sync_pipeline_tests.sftp.sources import NAME, some_archive

Configured = Callable[..., OpensshTestServer]

_EXTERNAL = "/usr/lib/openssh/sftp-server"
SUBSYSTEM = f"Subsystem sftp {_EXTERNAL}"


@pytest.fixture
def configured() -> Iterator[Configured]:
    """Starts servers whose sshd_config has these lines; all are stopped at the end."""
    with ExitStack() as stack:

        def start(*lines: str, **options: str) -> OpensshTestServer:
            return stack.enter_context(configured_server(*lines, **options))

        yield start


def now() -> datetime:
    return datetime.now(UTC)


def refusal(server: OpensshTestServer, *, step: str = "sftp") -> str:
    """What `ar-sync check` and a publication say, which must be the same one sentence."""
    retries = list[ArSyncError]()
    with pytest.raises(TerminalError) as caught:
        publish_with_retries(
            server.endpoint(),
            some_archive(),
            SpoolPlace(server.spool, "partial", NAME),
            on_retry=retries.append,
        )
    assert retries == []
    steps = probe(server.endpoint(), server.spool, clock=now)
    (failed,) = [found for found in steps if found.outcome is ProbeOutcome.FAILED]
    assert failed.name == step
    assert all(found.ok for found in steps[: steps.index(failed)])
    assert (failed.detail, failed.remedy) == (caught.value.problem, caught.value.remedy)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "SFTP" in sentence
    return sentence


def test_shell_start_file_that_prints(configured: Configured, tmp_path: Path) -> None:
    if Path(pwd.getpwnam(getpass.getuser()).pw_shell).name != "bash":
        skip_unless_in_ci("this account's shell is another one")
    (tmp_path / ".bashrc").write_text("echo Welcome to viz, today is Monday\n")
    server = configured(SUBSYSTEM, f"SetEnv HOME={tmp_path}", user=getpass.getuser())
    sentence = refusal(server)
    assert "printed 'Welcome to viz, today is Monday'" in sentence
    assert "shell start files" in sentence


@pytest.mark.parametrize("text", ["hello", "x", "", "\u00f1and\u00fa", "a" * 5000])
def test_text_of_any_length_before_sftp(configured: Configured, text: str) -> None:
    server = configured(
        SUBSYSTEM, f"ForceCommand echo '{text}'; exec {_EXTERNAL}", user=getpass.getuser()
    )
    sentence = refusal(server)
    assert text[:70] in sentence
    assert len(sentence) < 500


def test_forced_command_of_the_key(configured: Configured) -> None:
    server = configured(SUBSYSTEM, user=getpass.getuser(), key_options='command="/bin/echo hi"')
    sentence = refusal(server)
    assert "printed 'hi' and ended with exit code 0" in sentence
    assert 'remove command="..."' in sentence


@pytest.mark.parametrize("command", ["/bin/true", "/bin/cat", "/bin/sh -c 'exit 3'", "/bin/sh"])
def test_forced_command_that_is_not_sftp(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(starting, "_SILENCE_SECONDS", 1.0)  # for the one that waits for its input
    sentence = refusal(configured(SUBSYSTEM, f"ForceCommand {command}", user=getpass.getuser()))
    assert "ForceCommand internal-sftp" in sentence


def test_account_whose_shell_is_nologin(configured: Configured) -> None:
    if not os.access("/usr/sbin/nologin", os.X_OK) or os.geteuid() != 0:
        skip_unless_in_ci("there is no account without a shell")
    sentence = refusal(configured(SUBSYSTEM, user="nobody"))
    assert "This account is currently not available" in sentence
    assert "needs no shell" in sentence


def test_sftp_server_that_is_not_installed(configured: Configured) -> None:
    server = configured("Subsystem sftp /usr/lib/absent/sftp-server", user=getpass.getuser())
    assert "ended with exit code 127" in refusal(server)


def test_server_without_the_subsystem(configured: Configured) -> None:
    assert "Subsystem sftp internal-sftp" in refusal(configured())


def test_account_that_may_open_no_session(configured: Configured) -> None:
    sentence = refusal(configured("Subsystem sftp internal-sftp", "MaxSessions 0"))
    assert "MaxSessions" in sentence


@pytest.mark.long
@only_root("let sshd change the root folder")
def test_chroot_folder_that_others_may_write(configured: Configured) -> None:
    server = configured("Subsystem sftp internal-sftp", "ChrootDirectory {root}")
    # Below /tmp, which everybody may write.
    sentence = refusal(server)
    assert "hung up" in sentence
    assert "ChrootDirectory" in sentence


@pytest.mark.long
@only_root("let sshd change the root folder")
def test_chroot_folder_that_does_not_exist(configured: Configured) -> None:
    assert "ChrootDirectory" in refusal(
        configured("Subsystem sftp internal-sftp", "ChrootDirectory {root}/absent")
    )


def test_command_that_waits_forever_looks_like_a_slow_server(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a busy machine, so it is tried again; the sentence names the step."""
    monkeypatch.setattr(starting, "_SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(starting, "_END_OF_INPUT_SECONDS", 0.3)
    server = configured(SUBSYSTEM, "ForceCommand /bin/sleep 3", user=getpass.getuser())
    with (
        pytest.raises(ConnectionLostError, match="during the start of SFTP"),
        open_session(server.endpoint()),
    ):
        pass


@pytest.mark.long
def test_server_that_starts_slowly_is_waited_for(configured: Configured) -> None:
    server = configured(
        SUBSYSTEM, f"ForceCommand sleep 2; exec {_EXTERNAL}", user=getpass.getuser()
    )
    with open_session(server.endpoint()) as session:
        assert session.is_folder(server.spool)


@contextmanager
def _mode(path: Path, mode: int) -> Iterator[None]:
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@only_root("let sshd change the root folder")
def test_one_hang_up_alone_is_tried_again(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a server that was restarted between the login and the session."""
    server = configured("Subsystem sftp internal-sftp", "ChrootDirectory {root}", below="/var/lib")
    repairs = list[int]()

    def restarted(_seconds: float) -> None:
        server.root.chmod(0o755)
        repairs.append(1)

    with _mode(server.root, 0o777), monkeypatch.context() as patched:
        patched.setattr("ar_sync_pipeline.sftp.session.time.sleep", restarted)
        with (
            pytest.raises(ConnectionLostError) as caught,
            open_session(server.endpoint()),
        ):
            pass
    assert repairs
    assert not isinstance(caught.value, NoSftpError)
