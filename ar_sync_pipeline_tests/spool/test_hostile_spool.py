"""Whatever is put into the spool, at any moment: nothing outside of it is read, changed or lost.

Nothing hangs either, and nothing larger than a receipt is read where a receipt is expected.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfo

import pytest

from ar_sync_pipeline.archive.errors import CorruptArchiveError, UnreadableArchiveError
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.regular_file import open_regular_file
from ar_sync_pipeline.errors import ArSyncError, ParkedError, TerminalError
from ar_sync_pipeline.legacy.spooled_archives import list_old_archives, written_within
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.errors import ReceiptError, SpoolLayoutError
from ar_sync_pipeline.spool.layout import FOLDERS, prepare_spool
from ar_sync_pipeline.spool.reasons import VerifiedFile, read_reason, reason_path, write_reason
from ar_sync_pipeline.spool.receipts import (
    Receipt,
    ReceiptState,
    clean_receipts,
    list_receipts,
    read_receipt,
    receipt_filename,
    write_receipt,
)
from ar_sync_pipeline.spool.retention import Decision, apply_retention
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    clean_incoming,
    list_applied,
    list_parked,
    list_quarantined,
    list_waiting,
    mark_applied,
    park,
    quarantine,
    unpark,
)
from ar_sync_pipeline_tests.spool.conftest import NOON, PutArchive

pytestmark = pytest.mark.timeout(30)

NAME = ArchiveName(ArchiveKind.PARTIAL, NOON)
WAITING, PARKED = SpoolState.WAITING, SpoolState.PARKED
OLD = NOON + timedelta(days=400)
BEHIND = ParkedError("migration 0035 is missing", remedy="migrate the receiver")
CORRUPT = TerminalError("member 3 has a wrong sha256", remedy="look at the sender's disk")
RECEIPT = Receipt(archive=NAME.applied, state=ReceiptState.APPLIED, at=NOON)
CHECKPOINT = Checkpoint(at=NOON)


def archive_in(spool: Path, state: SpoolState) -> SpooledArchive:
    path = {
        SpoolState.WAITING: spool / "partial" / NAME.waiting,
        SpoolState.APPLIED: spool / "partial" / NAME.applied,
        SpoolState.PARKED: spool / "parked" / NAME.waiting,
        SpoolState.QUARANTINED: spool / "quarantine" / NAME.waiting,
    }[state]
    return SpooledArchive(NAME, path, state, 7)


def fill(spool: Path) -> None:
    """One of everything that a folder may hold, so that each step has something to do."""
    for state in SpoolState:
        path = archive_in(spool, state).path
        path.write_bytes(b"archive")
        if os.geteuid() == 0 and state in {WAITING, PARKED}:
            os.chown(path, 65534, 65534)  # as published by another account, hence copied
    for state in (SpoolState.PARKED, SpoolState.QUARANTINED):
        write_reason(archive_in(spool, state).path, BEHIND, NOON)
    write_receipt(spool, RECEIPT, signing_keys=())
    CHECKPOINT.write(spool, signing_keys=())
    for folder in (".incoming", "parked", "quarantine"):
        (spool / folder / ".writing-0123456789abcdef").write_bytes(b"left")


STEPS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "list waiting": ("partial", list_waiting),
    "list applied": ("partial", list_applied),
    "list parked": ("parked", list_parked),
    "list quarantined": ("quarantine", list_quarantined),
    "list old archives": ("parked", lambda s: list_old_archives(s, ZoneInfo("UTC"))),
    "age of a file": (
        "partial",
        lambda s: written_within(archive_in(s, WAITING).path, timedelta(hours=1), NOON),
    ),
    "apply": ("partial", lambda s: mark_applied(s, archive_in(s, WAITING))),
    "park": ("partial", lambda s: park(s, archive_in(s, WAITING), BEHIND, at=NOON, verified=True)),
    "park into": ("parked", lambda s: park(s, archive_in(s, WAITING), BEHIND, at=NOON)),
    "unpark": ("parked", lambda s: unpark(s, archive_in(s, PARKED))),
    "unpark into": ("partial", lambda s: unpark(s, archive_in(s, PARKED))),
    "quarantine": ("partial", lambda s: quarantine(s, archive_in(s, WAITING), CORRUPT, at=NOON)),
    "quarantine into": (
        "quarantine",
        lambda s: quarantine(s, archive_in(s, WAITING), CORRUPT, at=NOON),
    ),
    "quarantine again": (
        "quarantine",
        lambda s: quarantine(s, archive_in(s, SpoolState.QUARANTINED), CORRUPT, at=NOON),
    ),
    "clean uploads": (".incoming", lambda s: clean_incoming(s, older_than=OLD)),
    "clean what killed writers left": ("parked", lambda s: clean_incoming(s, older_than=OLD)),
    "retention": (
        "partial",
        lambda s: apply_retention([Decision(archive_in(s, SpoolState.APPLIED), False, "old")]),
    ),
    "write a receipt": ("receipts", lambda s: write_receipt(s, RECEIPT, signing_keys=())),
    "read a receipt": ("receipts", lambda s: read_receipt(s, NAME, signing_keys=())),
    "list receipts": ("receipts", list_receipts),
    "clean receipts": ("receipts", lambda s: clean_receipts(s, older_than=OLD)),
    "write the checkpoint": ("receipts", lambda s: CHECKPOINT.write(s, signing_keys=())),
    "read the checkpoint": ("receipts", lambda s: Checkpoint.read(s, signing_keys=())),
    "write a reason": ("parked", lambda s: write_reason(archive_in(s, PARKED).path, BEHIND, NOON)),
    "read a reason": ("parked", lambda s: read_reason(archive_in(s, PARKED).path)),
    "look whether it was read": ("parked", lambda s: VerifiedFile.of(archive_in(s, PARKED).path)),
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Another spool with the same names, which must stay as it is."""
    folder = tmp_path / "outside"
    folder.mkdir()
    prepare_spool(folder)
    fill(folder)
    for name in FOLDERS:
        (folder / name / "x").touch()
    return folder


def state_of(folder: Path) -> dict[str, object]:
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else None,
            path.stat().st_mtime_ns,
            path.stat().st_mode,
            path.stat().st_nlink,
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(autouse=True)
def nothing_changes_outside(outside: Path) -> Iterator[None]:
    before = state_of(outside)
    yield
    assert state_of(outside) == before


def link_away(path: Path, target: Path) -> None:
    path.rename(path.with_name(f"was-{path.name}"))
    path.symlink_to(target)


def other_file(path: Path, target: Path) -> None:
    path.rename(path.with_name(f"was-{path.name}"))
    path.write_bytes((target / "nothing").name.encode())


def pipe(path: Path, _target: Path) -> None:
    path.rename(path.with_name(f"was-{path.name}"))
    os.mkfifo(path)


@pytest.mark.parametrize("replace", [link_away, other_file, pipe])
@pytest.mark.parametrize("step", STEPS)
def test_folder_that_is_none_is_one_sentence(
    spool: Path, outside: Path, step: str, replace: Callable[[Path, Path], None]
) -> None:
    fill(spool)
    folder, run = STEPS[step]
    replace(spool / folder, outside / folder)
    with pytest.raises(
        SpoolLayoutError, match=rf"{folder} is a symbolic link or a file, not a folder: move it"
    ):
        run(spool)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.long
def test_folder_swapped_for_a_link_at_any_moment_leads_nowhere(
    spool: Path, outside: Path, step: str
) -> None:
    folder, run = STEPS[step]
    for moment in range(1, 60):
        fill(spool)
        swapped = swapping(moment, spool / folder, outside / folder, lambda: run(spool))
        if not swapped:
            assert moment > 1
            return
        assert (spool / folder).is_symlink()
        (spool / folder).unlink()
        (spool / f"was-{folder}").rename(spool / folder)
        for path in [path for path in spool.rglob("*") if path.is_file()]:
            path.unlink()
    pytest.fail("there are more moments than this test counts")


MOMENTS = {"open", "os.scandir", "os.rename", "os.remove", "os.mkdir", "os.utime", "os.chmod"}


def swapping(moment: int, folder: Path, target: Path, run: Callable[[], object]) -> bool:
    """Run in a child, before whose so many-th call to the system the folder becomes a link.

    Returns:
        Whether the child came so far; that it ends with an error of ours, or with none, is checked.
    """
    child = os.fork()
    if child == 0:  # pragma: no cover  another process
        seen = 0

        def count(event: str, _arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event in MOMENTS:
                seen += 1
                if seen == moment:
                    link_away(folder, target)

        sys.addaudithook(count)
        _run_and_leave(run)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return folder.is_symlink()


def _run_and_leave(run: Callable[[], object]) -> NoReturn:
    try:
        run()
    except ArSyncError:
        pass
    except BaseException:  # noqa: BLE001  a forked child must not return into pytest
        os._exit(1)
    os._exit(0)


def test_spool_itself_may_be_a_link(spool: Path, tmp_path: Path) -> None:
    fill(spool)
    (tmp_path / "link").symlink_to(spool)
    assert [archive.name for archive in list_waiting(tmp_path / "link")] == [NAME]
    assert mark_applied(tmp_path / "link", archive_in(tmp_path / "link", WAITING))


def test_all_folders_are_tried_here() -> None:
    assert {folder for folder, _ in STEPS.values()} | {"complete"} == set(FOLDERS)


def link_to_a_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "receipts" / Checkpoint.FILE)


def link_to_endless_zeros(path: Path, _outside: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_itself(path: Path, _outside: Path) -> None:
    path.symlink_to(path.name)


def empty_pipe(path: Path, _outside: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path, _outside: Path) -> None:
    path.mkdir()


def unix_socket(path: Path, _outside: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # an address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("s")
        Path("s").rename(path.name)
    finally:
        os.chdir(here)


def larger_than_any(path: Path, _outside: Path) -> None:
    path.write_bytes(b" " * (64 * 1024) + b"{}")


def three_sparse_gigabytes(path: Path, _outside: Path) -> None:
    path.touch()
    os.truncate(path, 3 * 2**30)


def rubbish(path: Path, _outside: Path) -> None:
    path.write_bytes(b"\xff{")


def deep_json(path: Path, _outside: Path) -> None:
    path.write_bytes(b"[" * 60_000)


PUT = [
    link_to_a_file,
    link_to_endless_zeros,
    link_to_itself,
    empty_pipe,
    unix_socket,
    larger_than_any,
    three_sparse_gigabytes,
    rubbish,
    deep_json,
]


@pytest.mark.parametrize("put_there", PUT)
class TestSmallFilesThatAreNone:
    def test_reason_is_unreadable_and_written_again(
        self, spool: Path, outside: Path, put_there: Callable[[Path, Path], None]
    ) -> None:
        archive = archive_in(spool, PARKED)
        archive.path.write_bytes(b"archive")
        put_there(reason_path(archive.path), outside)
        assert read_reason(archive.path) is None
        park(spool, archive, BEHIND, at=NOON)
        reason = read_reason(archive.path)
        assert reason is not None
        assert reason.reason == BEHIND.problem

    def test_receipt_is_unreadable_and_written_again(
        self, spool: Path, outside: Path, put_there: Callable[[Path, Path], None]
    ) -> None:
        put_there(spool / "receipts" / receipt_filename(NAME), outside)
        with pytest.raises(ReceiptError, match="delete the file"):
            read_receipt(spool, NAME, signing_keys=())
        write_receipt(spool, RECEIPT, signing_keys=())
        assert read_receipt(spool, NAME, signing_keys=()) == RECEIPT

    def test_checkpoint_is_unreadable_and_written_again(
        self, spool: Path, outside: Path, put_there: Callable[[Path, Path], None]
    ) -> None:
        put_there(spool / "receipts" / Checkpoint.FILE, outside)
        if put_there is link_to_a_file:
            assert Checkpoint.read(outside, signing_keys=()) == CHECKPOINT
        with pytest.raises(ReceiptError, match="delete the file"):
            Checkpoint.read(spool, signing_keys=())
        CHECKPOINT.write(spool, signing_keys=())
        assert Checkpoint.read(spool, signing_keys=()) == CHECKPOINT

    def test_archive_is_none_and_nothing_waits_for_it(
        self, spool: Path, outside: Path, put_there: Callable[[Path, Path], None]
    ) -> None:
        path = archive_in(spool, WAITING).path
        put_there(path, outside)
        regular = path.is_file() and not path.is_symlink()
        assert [archive.path for archive in list_waiting(spool)] == [path] * regular
        if not regular:
            with pytest.raises((CorruptArchiveError, UnreadableArchiveError)):
                open_regular_file(path)


@pytest.mark.parametrize(
    "put_there", [link_to_a_file, link_to_endless_zeros, empty_pipe, unix_socket]
)
@pytest.mark.parametrize(
    "change",
    [
        mark_applied,
        lambda spool, archive: park(spool, archive, BEHIND, at=NOON),
        lambda spool, archive: quarantine(spool, archive, CORRUPT, at=NOON),
    ],
)
def test_archive_that_became_something_else_has_vanished(
    spool: Path,
    outside: Path,
    put_there: Callable[[Path, Path], None],
    change: Callable[[Path, SpooledArchive], object],
) -> None:
    archive = archive_in(spool, WAITING)
    put_there(archive.path, outside)
    with pytest.raises(ArSyncError, match="disappeared from"):
        change(spool, archive)


@pytest.mark.parametrize("put_there", [link_to_a_file, empty_pipe])
def test_entry_with_the_name_of_an_applied_archive_is_quarantined(
    spool: Path, outside: Path, put: PutArchive, put_there: Callable[[Path, Path], None]
) -> None:
    put()
    (archive,) = list_waiting(spool)
    put_there(spool / "partial" / NAME.applied, outside)
    applied = mark_applied(spool, archive)
    assert applied.path.read_bytes() == b"archive"
    assert os.path.lexists(spool / "quarantine" / NAME.applied)


def test_folder_with_the_name_of_an_applied_archive_is_renamed_where_it_is(
    spool: Path, put: PutArchive
) -> None:
    """Only its owner can move a folder to another one, whatever the modes of the two."""
    put()
    (archive,) = list_waiting(spool)
    (spool / "partial" / NAME.applied / "full").mkdir(parents=True)
    assert mark_applied(spool, archive).path.read_bytes() == b"archive"
    (aside,) = (spool / "partial").glob(".moved-aside-*")
    assert (aside / "full").is_dir()
    assert list((spool / "quarantine").iterdir()) == []


@pytest.mark.parametrize("modified_at", [-(2**40), 2**40])
def test_time_of_a_file_may_be_one_that_no_calendar_has(
    spool: Path, put: PutArchive, modified_at: int
) -> None:
    in_the_way = put(applied=True, content=b"another size")
    os.utime(in_the_way, (modified_at, modified_at))
    put()
    (archive,) = list_waiting(spool)
    assert not written_within(in_the_way, timedelta(hours=1), NOON)
    assert mark_applied(spool, archive).path.read_bytes() == b"archive"
    assert (spool / "quarantine" / NAME.applied).read_bytes() == b"another size"


def test_hard_link_of_another_file_is_never_written_through(spool: Path, outside: Path) -> None:
    """Every write is a new file and a rename, so the other name keeps its bytes."""
    target = outside / "receipts" / receipt_filename(NAME)
    content = target.read_bytes()
    archive = archive_in(spool, PARKED)
    archive.path.write_bytes(b"archive")
    linked = [
        reason_path(archive.path),
        spool / "receipts" / receipt_filename(NAME),
        spool / "receipts" / Checkpoint.FILE,
    ]
    for path in linked:
        os.link(target, path)
    park(spool, archive, BEHIND, at=NOON)
    write_receipt(
        spool, RECEIPT.model_copy(update={"state": ReceiptState.SUPERSEDED}), signing_keys=()
    )
    CHECKPOINT.write(spool, signing_keys=())
    assert target.read_bytes() == content
    assert [path.stat().st_nlink for path in linked] == [1, 1, 1]


def test_two_names_of_one_file_become_the_one_that_is_due(spool: Path, put: PutArchive) -> None:
    os.link(put(), spool / "partial" / NAME.applied)
    (archive,) = list_waiting(spool)
    assert mark_applied(spool, archive).path.stat().st_nlink == 1
    assert list_waiting(spool) == []


@pytest.mark.parametrize("put_there", [link_to_a_file, empty_pipe, a_folder])
def test_something_else_under_the_applied_name_is_not_an_archive_that_was_applied(
    spool: Path, outside: Path, put_there: Callable[[Path, Path], None]
) -> None:
    put_there(spool / "partial" / NAME.applied, outside)
    with pytest.raises(ArSyncError, match="disappeared from"):
        mark_applied(spool, archive_in(spool, WAITING))


def test_hard_link_as_an_archive_is_renamed_and_deleted_by_its_name_only(
    spool: Path, outside: Path
) -> None:
    target = outside / "partial" / NAME.waiting
    archive = archive_in(spool, WAITING)
    os.link(target, archive.path)
    parked = park(spool, archive, BEHIND, at=NOON)
    applied = mark_applied(spool, unpark(spool, parked))
    apply_retention([Decision(applied, False, "old")])
    assert not applied.path.exists()
    assert target.read_bytes() == b"archive"


@pytest.mark.parametrize("folder", FOLDERS)
def test_archive_is_not_opened_through_a_folder_that_is_a_link(
    spool: Path, outside: Path, folder: str
) -> None:
    link_away(spool / folder, outside / folder)
    with pytest.raises(UnreadableArchiveError, match="cannot be read"):
        open_regular_file(spool / folder / "x")
