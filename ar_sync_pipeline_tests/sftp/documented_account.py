"""The spool of docs/receiver_account.md, made by its commands, with accounts of this machine."""

from __future__ import annotations

import grp
import pwd
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

from ar_sync_pipeline_tests.fix_rights import acting_as
from ar_sync_pipeline_tests.openssh_servers import ChrootedTestServer

RECEIVER = "daemon"


def make_documented_folders(server: ChrootedTestServer) -> None:
    """Run the page's `install` commands for this server's spool."""
    page = Path(__file__).parents[2] / "docs" / "receiver_account.md"
    commands = [line for line in page.read_text().splitlines() if line.startswith("install -d")]
    assert len(commands) == 5
    group = grp.getgrgid(_group_of(server)).gr_name
    for command in commands:
        words = [
            {"ar_sync": RECEIVER, "ar_sync_spool": group}.get(word, word)
            .replace("/srv/ar_sync/spool", str(server.spool_path))
            .replace("/srv/ar_sync", str(server.root))
            for word in command.split()
        ]
        subprocess.run(words, check=True)


def as_receiver(server: ChrootedTestServer) -> AbstractContextManager[None]:
    """Be the receiver's account, which shares a group with the account of the sender."""
    return acting_as(RECEIVER, also_in=_group_of(server))


def _group_of(server: ChrootedTestServer) -> int:
    return pwd.getpwnam(server.user).pw_gid
