"""Checks of the folders of a side: existence, permissions, owner, and free space."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.spool_names import ARCHIVE_FOLDERS, INCOMING, RECEIPTS
from ar_sync_pipeline.disk_errors import DiskFailedError, measure_free_space
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.files import is_kind, is_read_only, may
from ar_sync_pipeline.media.errors import MediaFolderError, MediaOfAnotherError
from ar_sync_pipeline.media.folded_names import folding_problem
from ar_sync_pipeline.media.inventory import is_lost_and_found
from ar_sync_pipeline.media.pair_mark import check_mark
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.settings.env_file import read_differently, unreadable_lines
from ar_sync_pipeline.settings.model import OldArchives, ReceiverSettings, SenderSettings
from ar_sync_pipeline.spool.layout import FOLDERS, PARKED, QUARANTINE, open_folder
from ar_sync_pipeline.spool.states import list_applied, list_waiting
from ar_sync_pipeline.sync.errors import ScratchFileError
from ar_sync_pipeline.sync.load.intakes import other_archives
from ar_sync_pipeline.sync.watch.alerting import incidents_file
from ar_sync_pipeline.sync.watch.disk_space import existing_folder, leads_nowhere
from ar_sync_pipeline.visible_text import listed, quoted

_MODES = "see the modes in docs/receiver_account.md"
_BEFORE_IT_TAKES_OVER = "before the new sender takes over: "
_LEAST_BYTES = 16_000_000
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MOST_ENTRIES, _MOST_NAMED = 10_000, 5
_OWN_FOLDERS = (PARKED, QUARANTINE, RECEIPTS)
# Modes of docs/receiver_account.md.
_FOR_THE_SENDER = {
    INCOMING: "2770",
    RECEIPTS: "2750",
    **dict.fromkeys(map(str, ArchiveKind), "3770"),
}


def media_findings(settings: SenderSettings | ReceiverSettings) -> Iterator[Finding]:
    """Check that the media folder is readable at the sender, or writable at the receiver."""
    if isinstance(settings, SenderSettings):
        for folder in _closed_folders(settings.sender_media_fldr, os.R_OK | os.X_OK):
            yield Finding(
                Level.WARNING,
                f"{_account(os.geteuid())} cannot read {folder}, so its files are not sent",
                f"chmod -R o+rX {_word(folder)}, or give the account's group that right",
            )
        return
    try:
        check_mark(settings.receiver_media_fldr, settings.pair)
    except (MediaOfAnotherError, MediaFolderError) as error:
        yield Finding(Level.ERROR, error.problem, error.remedy)
    yield from _writable(settings.receiver_media_fldr, "AR_SYNC_RECEIVER_MEDIA_FLDR")
    folding = folding_problem(settings.receiver_media_fldr)
    if folding is not None:
        yield Finding(
            Level.WARNING,
            f"{folding}, and AR_SYNC_MEDIA_DELETE removes nothing",
            "move the media folder to a file system that keeps the names apart",
        )
    for folder in _closed_folders(settings.receiver_media_fldr, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            Level.WARNING,
            f"{_account(os.geteuid())} cannot write to {folder}, so no file can be installed in it",
            _or_mount(
                folder,
                f"chown -R {_account(os.geteuid())} {_word(folder)}, or give the account's group"
                " that right",
            ),
        )
    yield from _free_space(settings.receiver_media_fldr, settings.free_space_floor)


def scratch_findings(settings: SenderSettings) -> Iterator[Finding]:
    """Check the folder in which archives are built, which contains production's rows."""
    folder = settings.tmp_bkp_fldr
    yield from _writable(folder, "AR_SYNC_TMP_BKP_FLDR")
    yield from _owner(folder)
    if folder.stat().st_mode & _OTHERS_MAY_WRITE:
        yield Finding(
            Level.WARNING,
            f"other accounts may write to the scratch folder {folder}",
            f"chmod go-w {_word(folder)}",
        )
    for file in sorted(folder.glob("ar_sync_*.*")):
        # The others are replaced, not changed.
        mode = os.R_OK | os.W_OK if file.suffix == ".sqlite" else os.R_OK
        if is_kind(Path.is_file, file) and not may(file, mode):
            error = ScratchFileError(file, "the permission is missing")
            yield Finding(Level.ERROR, error.problem, error.remedy)
    yield from _free_space(folder, settings.free_space_floor)


def state_findings(settings: SenderSettings | ReceiverSettings) -> Iterator[Finding]:
    """Check the folder of incidents and unsent alerts, which is made when it is needed."""
    folder = existing_folder(incidents_file(settings).parent)
    if leads_nowhere(folder):
        yield Finding(
            Level.ERROR,
            f"incidents cannot be kept in {settings.state_fldr}, since {folder} is a link to what"
            " does not exist",
            "mount the disk to which the link leads, or make the folder there; or remove the link,"
            " and the alert sensor makes a folder",
        )
        return
    if not is_kind(Path.is_dir, folder) or not may(folder, os.W_OK | os.X_OK):
        why = "is on a file system that is mounted read-only"
        yield Finding(
            Level.ERROR,
            f"incidents cannot be kept in {settings.state_fldr}, since {folder}"
            f" {why if is_read_only(folder) else 'cannot be written'}",
            _or_mount(
                folder,
                f"make the folder for {_account(os.geteuid())}, or name another one in"
                " AR_SYNC_STATE_FLDR",
            ),
        )
        return
    yield from _writable(folder, "AR_SYNC_STATE_FLDR")
    yield from _free_space(folder, settings.free_space_floor)


def secret_findings(settings: SenderSettings | ReceiverSettings) -> Iterator[Finding]:
    """Check the files with secrets: ``.env`` in this folder, and the sender's private key.

    Also whether all that read ``.env`` read the same values.
    """
    files = [Path.cwd() / ".env"]
    if isinstance(settings, SenderSettings) and settings.private_key is not None:
        files.append(settings.private_key)
    for file in files:
        mode = 0
        with suppress(OSError):  # the check of the link reports a missing key
            mode = file.stat().st_mode
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            yield Finding(
                Level.WARNING,
                f"every account of this machine may read or change {file}, which holds secrets",
                f"chmod o= {_word(file)}",
            )
    yield from _read_differently(files[0])


def _read_differently(file: Path) -> Iterator[Finding]:
    """Warn if a service of systemd gets other values than this command, which tests its own."""
    with suppress(OSError, UnicodeDecodeError):  # reading the settings reports them
        text = file.read_text("utf-8")
        unread = [f"line {number}" for number in unreadable_lines(text)]
        if unread:
            yield Finding(
                Level.WARNING,
                f"{', '.join(unread)} of {file} is no NAME=VALUE and is ignored",
                "correct or remove it",
            )
        if names := [name for name in read_differently(text) if name not in unread]:
            yield Finding(
                Level.WARNING,
                f"systemd reads {', '.join(names)} in {file} otherwise than this command",
                'write the value in double quotes, with \\ before each " and \\, and without ${',
            )


def spool_findings(settings: ReceiverSettings) -> Iterator[Finding]:
    """Check the spool: its layout, its permissions, and that it is one file system."""
    spool = settings.remote_bkp_fldr
    yield from _writable(spool, "AR_SYNC_REMOTE_BKP_FLDR")
    yield from _owner(spool)
    facts, old = spool.stat(), settings.old_archives is OldArchives.ACCEPT
    for name in FOLDERS:
        yield from _spool_folder(spool / name, facts, old)
    for name in (*ARCHIVE_FOLDERS, INCOMING):
        yield from _ignored_entries(settings, name)
    yield from _free_space(spool, settings.free_space_floor)


def _spool_folder(folder: Path, spool: os.stat_result, old: bool) -> Iterator[Finding]:
    try:
        facts = folder.lstat()
    except FileNotFoundError:
        yield _missing_folder(folder, spool, old)
        return
    if not stat.S_ISDIR(facts.st_mode):
        yield Finding(
            Level.ERROR,
            f"{folder} is a symbolic link or a file, not a folder",
            "move it away, the next load makes a folder in its place",
        )
        return
    if facts.st_dev != spool.st_dev:
        yield Finding(
            Level.ERROR,
            f"{folder} is on another file system than {folder.parent}",
            "keep the whole spool on one, since a change of state is one rename",
        )
    if not may(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            Level.ERROR,
            f"{_account(os.geteuid())} cannot read and write {folder}, which belongs to"
            f" {_account(facts.st_uid)}",
            f"set its owner, group and mode: {_MODES}",
        )
    yield from _owner_of_spool_folder(folder, facts)
    yield from _closed_to_the_sender(folder, facts, spool)
    if folder.name in _OWN_FOLDERS and facts.st_mode & _OTHERS_MAY_WRITE:
        yield Finding(
            Level.WARNING,
            f"other accounts may write to {folder}, and so say what became of archives",
            f"chmod go-w {_word(folder)}",
        )
    elif folder.name != INCOMING and facts.st_mode & stat.S_IWOTH:
        yield Finding(
            Level.WARNING,
            f"every account of this machine may write to {folder}",
            f"chmod o-w {_word(folder)}",
        )


def _ignored_entries(settings: ReceiverSettings, name: str) -> Iterator[Finding]:
    """Name links, pipes and folders, and files that are no archives where archives are."""
    folder = settings.remote_bkp_fldr / name
    try:
        with open_folder(folder.parent, name) as held, os.scandir(held.fd) as found:
            entries = {entry.name for entry in found}
            files = {entry.name for entry in held.regular_files()}
        ignored = entries - (files if name == INCOMING else _archives(settings, folder))
    except (ArSyncError, OSError):
        return  # the other findings say why
    # A load or an upload may have renamed an entry meanwhile.
    ignored = {entry for entry in ignored if os.path.lexists(folder / entry)}
    if ignored:
        count = "1 entry" if len(ignored) == 1 else f"{len(ignored):,} entries"
        yield Finding(
            Level.WARNING,
            f"{folder} has {count} that nothing reads or removes:"
            f" {', '.join(listed([quoted(entry) for entry in sorted(ignored)]))}",
            "find out who made them, and remove them",
        )


def _archives(settings: ReceiverSettings, folder: Path) -> set[str]:
    spool = settings.remote_bkp_fldr
    found = (*list_waiting(spool), *list_applied(spool), *other_archives(settings))
    return {archive.path.name for archive in found if archive.path.parent == folder}


def _missing_folder(folder: Path, spool: os.stat_result, old: bool) -> Finding:
    """Return an error if only the receiver can make a folder that the sender needs, else a note.

    An old sender needs none of them, and while its archives are accepted a load makes them first.
    """
    is_for_sender = folder.name in _FOR_THE_SENDER and _is_of_two_accounts(spool)
    if is_for_sender and not spool.st_mode & _OTHERS_MAY_WRITE:
        return Finding(
            Level.NOTE if old else Level.ERROR,
            f"the spool has no folder {folder.name}, and the sender's account may not make it in"
            f" {folder.parent}",
            f"{_BEFORE_IT_TAKES_OVER if old else ''}"
            f"install -d -o {_account(os.geteuid())} -g {_group(spool.st_gid)}"
            f" -m {_FOR_THE_SENDER[folder.name]} {_word(folder)}",
        )
    return Finding(
        Level.NOTE,
        f"the spool has no folder {folder.name} yet",
        "nothing is to be done, the first load makes it",
    )


def _is_of_two_accounts(spool: os.stat_result) -> bool:
    """Return whether the sender has an account of its own, which the spool's group lets in."""
    return bool(spool.st_mode & stat.S_ISGID) or spool.st_gid != os.getegid()


def _closed_to_the_sender(
    folder: Path, facts: os.stat_result, spool: os.stat_result
) -> Iterator[Finding]:
    """Check that the mode of a folder lets in the sender's account, which only that side notices.

    The bits of the group are the mask of an access control list, where there is one (acl(5)).
    """
    mode = _FOR_THE_SENDER.get(folder.name)
    if mode is None or not _is_of_two_accounts(spool):
        return
    of_group = int(mode, 8) & stat.S_IRWXG
    if (facts.st_mode | facts.st_mode << 3) & of_group != of_group:
        yield Finding(
            Level.WARNING,
            f"the mode {stat.S_IMODE(facts.st_mode):04o} of {folder} keeps the sender's account"
            " out, so nothing can be sent",
            f"chmod {mode} {_word(folder)}",
        )


def _owner_of_spool_folder(folder: Path, facts: os.stat_result) -> Iterator[Finding]:
    """Check the owner: in a sticky folder only it can rename and remove files of other accounts."""
    if facts.st_uid == os.geteuid():
        return
    sticky = bool(facts.st_mode & stat.S_ISVTX)
    held = ", and has the sticky bit, so archives of the sender's account cannot be moved"
    yield Finding(
        Level.ERROR if sticky else Level.WARNING,
        f"{folder} belongs to {_account(facts.st_uid)}, and this is"
        f" {_account(os.geteuid())}{held if sticky else ''}",
        f"run this as {_account(facts.st_uid)}"
        if os.geteuid() == 0
        else f"chown {_account(os.geteuid())} {_word(folder)}",
    )


def _closed_folders(folder: Path, mode: int) -> list[Path]:
    """Return the first subfolders, one level down, that this account cannot use with this mode."""
    with os.scandir(folder) as entries:
        closed = [
            Path(entry)
            for entry in islice(entries, _MOST_ENTRIES)
            if entry.is_dir(follow_symlinks=False)
            and not may(Path(entry), mode)
            and not is_lost_and_found(Path(entry))
        ]
    return sorted(closed)[:_MOST_NAMED]


def _writable(folder: Path, variable: str) -> Iterator[Finding]:
    """Check by writing, which also finds a file system that is full, read-only or out of inodes."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield Finding(
            Level.ERROR,
            f"nothing can be written to {folder} ({error.strerror or error})",
            f"free space on its file system, give {_account(os.geteuid())} the right, or correct"
            f" {variable}",
        )


def _or_mount(folder: Path, remedy: str) -> str:
    """Return the remedy for a folder that this account cannot write.

    No right helps on a read-only file system.
    """
    return "read the kernel's log, and mount it writable again" if is_read_only(folder) else remedy


def _owner(folder: Path) -> Iterator[Finding]:
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        yield Finding(
            Level.WARNING,
            f"{folder} belongs to {_account(owner)}, and this is {_account(os.geteuid())}",
            f"run this as {_account(owner)}"
            + (
                f"; only if {_account(os.geteuid())} is the account that runs Dagster, give it the"
                f" folder: chown {_account(os.geteuid())} {_word(folder)}"
                if os.geteuid()
                else ""
            ),
        )


def _free_space(folder: Path, floor_percent: int) -> Iterator[Finding]:
    try:
        space = measure_free_space(folder)
    except DiskFailedError as error:
        yield Finding(Level.ERROR, error.problem, error.remedy)
        return
    if space.is_below(floor_percent):
        yield Finding(
            # With so little, not even a journal or a small partial can be written.
            Level.ERROR if space.free_bytes < _LEAST_BYTES else Level.WARNING,
            f"the file system of {folder} has {space.free_percent:.1f} % free"
            f" ({space.free_bytes / 1e9:,.1f} GB), less than AR_SYNC_FREE_SPACE_FLOOR"
            f" ({floor_percent} %)",
            "free space on it, or lower AR_SYNC_FREE_SPACE_FLOOR",
        )


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _word(path: Path) -> str:
    return shlex.quote(str(path))
