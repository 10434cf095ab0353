"""Reasons of rejected archives name the archives that they are about, and are said once."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.errors import ParkedError, TerminalError
from ar_sync_pipeline.operations.asset_keys import admitted_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.admission_asset import fail_on_refusals
from ar_sync_pipeline.receiver.load_checks import load_check_results
from ar_sync_pipeline.spool.errors import SpoolAccessError
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline.spool.states import list_parked, list_waiting, park
from ar_sync_pipeline.sync.errors import ContentLackingError
from ar_sync_pipeline.sync.load.acknowledge import acknowledge_by_hand
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline.sync.rejection import Rejection, by_cause, most_urgent_first, reject
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.sender_status import sender_status
from ar_sync_pipeline_tests.fix_sites import TwoSites, recent_window, watermark_of
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
REFUSED = "the receiver refuses the archive's rows"


@pytest.fixture
def refused(filled: TwoSites) -> tuple[TwoSites, LoadReport, list[str]]:
    """Two partials whose rows a constraint of the receiver refuses, the report, and their names."""
    since = watermark_of(filled.complete())
    filled.load()
    filled.at_receiver("ALTER TABLE app_child ADD CONSTRAINT small CHECK (amount < 1000)")
    names = []
    for _ in range(2):
        filled.at_sender("UPDATE app_child SET amount = 5000, changed = now() WHERE id = 7")
        names.append(filled.partial(recent_window(), since=since).name.removeprefix("NEW_"))
    return filled, filled.load(), names


def test_refused_archives_are_named_and_their_common_reason_is_said_once(
    refused: tuple[TwoSites, LoadReport, list[str]],
) -> None:
    sites, report, names = refused
    loaded = next(iter(load_check_results(report, 5, ALONE)))
    with pytest.raises(dg.Failure) as failed:
        fail_on_refusals(admitted_key(ALONE), report.refused)
    found = receiver_status(sites.settings, sites.catalog, sites.clock())
    (note,) = (one.note for one in found.archives if one.state == "parked")
    for text in (loaded.description, failed.value.description, note):
        assert text is not None
        assert text.startswith(f"{names[0]}, {names[1]}: {REFUSED}")
        assert text.count(REFUSED) == 1
    assert f"because {names[0]}: {REFUSED}" in str(found.lag)
    assert str(found.lag).endswith(" (and 1 more).")
    assert len(list_parked(sites.spool)) == 2


def test_sender_names_parked_archives_and_says_their_common_reason_once(
    media_sender: MediaSender,
) -> None:
    sites = media_sender.sites
    media_sender.complete()
    sites.load()
    sites.at_receiver("ALTER TABLE app_child ADD CONSTRAINT small CHECK (amount < 1000)")
    names = []
    for _ in range(2):
        sites.at_sender("UPDATE app_child SET amount = 5000, changed = now() WHERE id = 7")
        names.append(media_sender.partial().name.applied)
    sites.load()
    found = sender_status(media_sender.settings, sites.clock())
    (note,) = (one.note for one in found.archives if one.state == "parked")
    assert note.startswith(f"{names[0]}, {names[1]}: {REFUSED}")
    assert note.count(REFUSED) == 1
    assert f"because {names[0]}: {REFUSED}" in str(found.lag)


def rejection(name: str, problem: str, remedy: str = "wait") -> Rejection:
    return Rejection(name, problem, remedy, "some-code", waits=True)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([("a.tar", "waits")], ["a.tar: waits: wait."]),
        ([("a.tar", "a.tar waits")], ["a.tar waits: wait."]),
        (
            [("a.tar", "NEW_a.tar waits"), ("b.tar", "NEW_b.tar waits")],
            ["a.tar, b.tar: the archive waits: wait."],
        ),
        (
            [("a.tar", "waits"), ("b.tar", "is bad"), ("c.tar", "waits")],
            ["a.tar, c.tar: waits: wait.", "b.tar: is bad: wait."],
        ),
        ([("a.tar", "waits")] * 2, ["a.tar: waits: wait."]),
        (
            [(f"{n}.tar", "waits") for n in "abcde"],
            ["a.tar, b.tar, c.tar, and 2 more: waits: wait."],
        ),
    ],
)
def test_each_cause_is_one_sentence(found: Sequence[tuple[str, str]], said: list[str]) -> None:
    assert [str(one) for one in by_cause(rejection(*one) for one in found)] == said


def test_other_remedies_are_other_causes() -> None:
    found = [
        rejection("a.tar", "a.tar waits", "allow a.tar"),
        rejection("b.tar", "b.tar waits", "allow b.tar"),
    ]
    assert [str(one) for one in by_cause(found)] == [
        "a.tar waits: allow a.tar.",
        "b.tar waits: allow b.tar.",
    ]


COMPLETE = ArchiveName(ArchiveKind.COMPLETE, NOW).applied
PARTIAL = ArchiveName(ArchiveKind.PARTIAL, NOW + timedelta(minutes=1)).applied
BY_ITSELF = "no action is needed: the sender carries it"


@pytest.mark.parametrize(
    ("found", "first"),
    [
        ([rejection(COMPLETE, "lacks", BY_ITSELF), rejection(PARTIAL, "0035")], PARTIAL),
        # At the sender the reason contains the remedy.
        ([rejection(COMPLETE, f"lacks; {BY_ITSELF}", ""), rejection(PARTIAL, "0035", "")], PARTIAL),
        # Data is newer than the one, and waits for the other.
        ([rejection(COMPLETE, "guard", "allow it"), rejection(PARTIAL, "0035")], PARTIAL),
        # Only a person lets the older one through.
        ([rejection(COMPLETE, "guard"), rejection(PARTIAL, "lacks", BY_ITSELF)], COMPLETE),
        ([rejection(PARTIAL, "0035"), rejection(PARTIAL, "guard")], PARTIAL),
        ([rejection("old.tar.gz", "0035"), rejection(PARTIAL, "0035")], "old.tar.gz"),
        ([rejection("old.tar.gz", "0035", BY_ITSELF), rejection(PARTIAL, "0035")], PARTIAL),
    ],
)
def test_reason_that_needs_a_person_comes_first(found: Sequence[Rejection], first: str) -> None:
    ordered = most_urgent_first(found, NOW)
    assert (ordered[0].name, len(ordered)) == (first, 2)


@pytest.mark.long
def test_both_sides_show_the_parked_archive_that_a_person_lets_through(
    media_sender: MediaSender,
) -> None:
    """A complete that the receiver replaces by itself is older than the partials that wait."""
    sites = media_sender.sites
    media_sender.complete()
    sites.load()
    errors = [
        ContentLackingError("it", Lacking(media=("a.jpeg",))),
        ParkedError("it waits for migration 0035", remedy="migrate the receiver"),
    ]
    for archive, error in zip((media_sender.complete, media_sender.partial), errors, strict=True):
        archive()
        park(sites.spool, list_waiting(sites.spool)[-1], error, at=sites.clock())
    assert acknowledge_by_hand(sites.settings, sites.clock)
    for found in (
        receiver_status(sites.settings, sites.catalog, sites.clock()),
        sender_status(media_sender.settings, sites.clock()),
    ):
        assert "it waits for migration 0035 (and 1 more)" in found.lag.because
        assert "no action is needed" not in found.lag.because


def test_late_archives_do_not_each_say_the_names_of_all(filled: TwoSites) -> None:
    """One sentence with all names, once for each of them, was the error of such a run."""
    filled.complete()
    filled.load()
    late = []
    for number in range(2):
        filled.at_sender(f"UPDATE app_child SET amount = {number}, changed = now() WHERE id = 1")
        path = filled.partial(recent_window(), since=None)
        late.append(path.rename(path.with_name(path.name + ".on-its-way")))
    last = filled.partial(recent_window(), since=None)
    filled.load()
    last.with_name(last.name.removeprefix("NEW_")).unlink()
    for path in late:
        path.rename(path.with_name(path.name.removesuffix(".on-its-way")))
    report = filled.load()
    (cause,) = by_cause(report.refused)
    assert cause.problem.startswith("the archive came late, and a later archive")
    assert len(cause.names) == 2


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("from_parked", [False, True])
def test_disk_that_is_full_at_any_fsync_leaves_one_file_and_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, from_parked: bool
) -> None:
    """NFS, quotas and btrfs may report it only then, when the file is renamed already."""
    prepare_spool(tmp_path)
    fsync, steps = os.fsync, 0

    def full(fd: int) -> None:
        nonlocal steps
        steps -= 1
        if steps == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", full)
    corrupt = TerminalError("a member has a wrong sha256", remedy="look at the disk")
    name = ArchiveName(ArchiveKind.PARTIAL, NOW)
    for step in range(1, 20):
        (tmp_path / "partial" / name.waiting).write_bytes(b"archive")
        (archive,) = list_waiting(tmp_path)
        if from_parked:
            archive = park(tmp_path, archive, ParkedError("waits", remedy="wait"), at=NOW)
        steps = step
        with suppress(SpoolAccessError):
            rejection = reject(tmp_path, archive, corrupt, NOW)
            assert rejection.waits == bool(list_parked(tmp_path))
        is_over, steps = steps > 0, 0
        for left in (*list_waiting(tmp_path), *list_parked(tmp_path)):  # by the next run
            assert not reject(tmp_path, left, corrupt, NOW).waits
        quarantine = tmp_path / "quarantine"
        assert files(tmp_path / "partial") | files(tmp_path / "parked") == set()
        assert files(quarantine) == {name.waiting, f"{name.waiting}.reason.json"}
        for file in quarantine.iterdir():
            file.unlink()
        if is_over:
            assert step > 3
            return
    pytest.fail("the change has more steps than this test counts")
