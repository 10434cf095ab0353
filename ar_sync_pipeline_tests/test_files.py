"""Files that a command as root leaves behind can be used by the service."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline_tests.missing_parts import only_root

SERVICE = 65534


@only_root("give files to another account")
@pytest.mark.parametrize("existing", [True, False])
def test_what_root_writes_belongs_to_the_owner_of_the_folder(
    tmp_path: Path, *, existing: bool
) -> None:
    """As `sudo ar-sync status` does in the scratch folder, under a strict umask."""
    journal = tmp_path / "ar_sync_sent.json"
    if existing:
        journal.write_text("before")
    os.chown(tmp_path, SERVICE, -1)
    umask = os.umask(0o077)
    try:
        write_atomically(journal, b"{}")
    finally:
        os.umask(umask)
    assert journal.stat().st_uid == SERVICE
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert journal.read_bytes() == b"{}"


def test_where_root_may_not_give_files_away_they_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS takes the rights of root away (exports(5), root_squash)."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", refuse)
    write_atomically(tmp_path / "x", b"1")
    assert (tmp_path / "x").read_bytes() == b"1"


def test_other_accounts_keep_what_they_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "fchown", lambda *what: given.append(what))
    write_atomically(tmp_path / "x", b"1")
    assert given == []
