"""Spool and scratch stay small, no unapplied archive is deleted, and a full disk loses nothing."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.cli import main
from ar_sync_pipeline.media.errors import MediaSpaceError
from ar_sync_pipeline.operations.check_evaluation import ERROR
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.archive_sensors import archive_sensor
from ar_sync_pipeline.receiver.jobs import complete_loaddata
from ar_sync_pipeline.receiver.load_checks import load_check_results
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.errors import SpoolAccessError
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    list_applied,
    list_parked,
    list_quarantined,
    list_waiting,
)
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.dump_tables import dump_complete
from ar_sync_pipeline.sync.dump.scratch import clean_scratch
from ar_sync_pipeline.sync.errors import (
    ScratchFullError,
    ScratchMissingError,
    ScratchNotPrivateError,
)
from ar_sync_pipeline.sync.load.acknowledge import acknowledge_by_hand
from ar_sync_pipeline.sync.load.load_archives import load_archives
from ar_sync_pipeline_tests.fix_rights import permissions_count
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, recent_window, watermark_of
from ar_sync_pipeline_tests.missing_parts import require_root


def names(archives: Sequence[SpooledArchive]) -> list[str]:
    return [archive.name.applied for archive in archives]


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_at_removal(step: int, patch: pytest.MonkeyPatch) -> list[object]:
    """End the process before it removes another file or folder after some; return where."""
    removed, killed = itertools.count(), list[object]()

    def killable(remove: Callable[..., None]) -> Callable[..., None]:
        def removing(path: Any, **more: Any) -> None:
            if next(removed) >= step:
                killed.append(path)
                raise Killed
            remove(path, **more)

        return removing

    for name in ("unlink", "rmdir"):
        patch.setattr(os, name, killable(getattr(os, name)))
    return killed


class TestAfterEachLoad:
    @pytest.mark.long
    def test_applied_archives_go_when_their_time_is_over(self, filled: TwoSites) -> None:
        old = watermark_of(filled.complete())
        filled.load()
        filled.partial(recent_window(), since=old)
        filled.load()
        filled.clock = lambda: datetime.now(UTC) + timedelta(days=5)
        newest = filled.complete()
        filled.load()
        assert names(list_applied(filled.spool)) == [newest.name.removeprefix("NEW_")]

    def test_d32_archive_that_was_never_applied_stays_whatever_its_age(
        self, filled: TwoSites
    ) -> None:
        filled.complete()
        filled.load()
        partial = filled.partial(recent_window())
        os.utime(partial, (0, 0))
        filled.clock = lambda: datetime.now(UTC) + timedelta(days=50)
        filled.complete()
        filled.load(kinds=())
        assert partial.exists()
        assert len(list_waiting(filled.spool)) == 2

    def test_uploads_that_nobody_continues_are_removed(self, filled: TwoSites) -> None:
        abandoned = filled.spool / ".incoming" / "NEW_x.tar.part"
        fresh = filled.spool / ".incoming" / "NEW_y.tar.part"
        for path in (abandoned, fresh):
            path.write_bytes(b"half an archive")
        os.utime(abandoned, (0, 0))
        filled.complete()
        filled.load()
        assert (abandoned.exists(), fresh.exists()) == (False, True)

    def test_abandoned_uploads_are_removed_although_nothing_arrives(self, filled: TwoSites) -> None:
        """A disk that is full of them lets no archive arrive, so no load runs."""
        prepare_spool(filled.spool)
        abandoned = filled.spool / ".incoming" / "NEW_x.tar.part"
        abandoned.write_bytes(b"half an archive")
        os.utime(abandoned, (0, 0))
        site = ReceiverSite(filled.settings, filled.catalog, filled.clock)
        sensor = archive_sensor(site, ArchiveKind.COMPLETE, complete_loaddata(ALONE))
        with dg.DagsterInstance.ephemeral() as instance:
            sensor(dg.build_sensor_context(instance))
        assert not abandoned.exists()


def test_retention_command_says_why_and_deletes_nothing_in_a_dry_run(filled: TwoSites) -> None:
    filled.clock = lambda: datetime.now(UTC) - timedelta(days=9)
    filled.complete()
    filled.load()
    filled.clock = lambda: datetime.now(UTC)
    filled.complete()
    filled.load(kinds=())
    abandoned = filled.spool / ".incoming" / "NEW_x.tar.part"
    abandoned.write_bytes(b"x" * 1_500_000)
    os.utime(abandoned, (0, 0))
    environ = {
        "AR_SYNC_RECEIVER_DATABASE_URL": filled.receiver,
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(filled.receiver_media),
        "AR_SYNC_REMOTE_BKP_FLDR": str(filled.spool),
    }
    shown = CliRunner().invoke(main, ["retention", "--dry-run", "--json"], env=environ)
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert [(a["state"], a["keep"], a["reason"]) for a in found["archives"]] == [
        ("applied", True, "it is the newest applied complete"),
        ("waiting", True, "it is waiting, not applied"),
    ]
    assert found["abandoned_uploads"] == [abandoned.name]
    text = CliRunner().invoke(main, ["retention", "--dry-run"], env=environ)
    assert re.search(f"{abandoned.name} +1.5 +would delete", text.stdout)
    assert abandoned.exists()
    text = CliRunner().invoke(main, ["retention"], env=environ)
    assert "1.5 MB freed" in text.stdout
    assert len(list_applied(filled.spool)) == 1


def test_retention_command_lists_the_spool_before_the_first_load(small_sites: TwoSites) -> None:
    small_sites.complete()
    environ = {
        "AR_SYNC_RECEIVER_DATABASE_URL": small_sites.receiver,
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(small_sites.receiver_media),
        "AR_SYNC_REMOTE_BKP_FLDR": str(small_sites.spool),
    }
    for words in (["retention", "--dry-run"], ["retention"]):
        shown = CliRunner().invoke(main, words, env=environ)
        assert shown.exit_code == 0, shown.output
        assert "it is waiting, not applied" in shown.stdout
    missing = environ | {"AR_SYNC_REMOTE_BKP_FLDR": str(small_sites.folder / "nowhere")}
    assert CliRunner().invoke(main, ["retention", "--dry-run"], env=missing).exit_code == 2


class TestScratch:
    def test_missing_folder_is_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(ScratchMissingError, match="does not exist") as caught:
            open_build(tmp_path / "unmounted", "run")
        assert f"install -d -m 0700 -o {os.geteuid()}" in caught.value.remedy

    def test_folders_of_killed_runs_go_and_nothing_else(self, tmp_path: Path) -> None:
        killed, working = open_build(tmp_path, "killed"), open_build(tmp_path, "working")
        others = [tmp_path / "ar_sync_build_of_a_person", tmp_path / "photos"]
        for folder in others:
            folder.mkdir()
        for folder in (killed.path, *others):
            os.utime(folder, (0, 0))
        assert clean_scratch(tmp_path, datetime.now(UTC)) == 1
        assert not killed.path.exists()
        assert all(folder.exists() for folder in (working.path, *others))

    def test_removal_that_is_killed_is_completed_by_a_later_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And it leaves no result of a step whose members are gone."""
        kills = 0
        for step in itertools.count():
            build = open_build(tmp_path, f"run-{step}")
            for path in (build.path / "TableDump.json", build.path / "media.sqlite"):
                path.touch()
            for number in range(3):
                (build.members / f"{number}.zst").touch()
            with monkeypatch.context() as patch:
                killed = kill_at_removal(step, patch)
                with suppress(Killed):
                    build.remove()
            if not killed:
                break
            kills += 1
            if not build.members.exists() or len([*build.members.iterdir()]) < 3:
                assert not (build.path / "TableDump.json").exists()
            clean_scratch(tmp_path, datetime.now(UTC), lambda _run_id: True)
            left = [path for path in tmp_path.rglob("*") if path != build.path]
            assert left == [], "at most an empty folder is left"
            with suppress(FileNotFoundError):
                build.path.rmdir()
        assert kills > 6
        assert not build.path.exists()

    def test_files_of_killed_writers_go_after_two_days(self, tmp_path: Path) -> None:
        now = datetime.now(UTC)
        names = (".writing-0123456789abcdef", ".writing-fedcba9876543210", ".writing", "a.json")
        old, new, *others = (tmp_path / name for name in names)
        (tmp_path / ".writing-folder").mkdir()
        (tmp_path / ".writing-link").symlink_to(others[1])
        for path in (old, new, *others):
            path.touch()
            days = 1 if path == new else 3
            at = (now - timedelta(days=days)).timestamp()
            os.utime(path, (at, at))
        assert clean_scratch(tmp_path, now) == 0
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {names[1], *names[2:], ".writing-folder", ".writing-link"}

    def test_unfinished_copies_of_killed_admissions_go_with_the_next_one(
        self, filled: TwoSites
    ) -> None:
        copy = filled.spool / "parked" / ".writing-copy-0123456789abcdef"
        copy.write_bytes(b"half of an archive")
        os.utime(copy, (time.time() - 10,) * 2)
        filled.admit()
        assert not copy.exists()

    def test_full_disk_is_one_sentence_and_gives_back_what_was_written(
        self, filled: TwoSites, small_disk: Path
    ) -> None:
        filled.at_sender(
            "INSERT INTO app_parent (code, label)"
            " SELECT md5(n::text), md5(random()::text) || md5(random()::text)"
            " FROM generate_series(1, 30000) n"
        )
        build = open_build(small_disk, "run")
        with pytest.raises(ScratchFullError, match="is full") as caught:
            dump_complete(filled.database, build)
        assert "AR_SYNC_TMP_BKP_FLDR" in caught.value.remedy
        assert list(build.members.iterdir()) == []

    @pytest.mark.parametrize("mode", [0o1777, 0o777, 0o770, 0o702])
    def test_folder_that_others_may_write_to_is_refused_until_the_remedy_is_carried_out(
        self, tmp_path: Path, mode: int
    ) -> None:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        scratch.chmod(mode)
        with pytest.raises(ScratchNotPrivateError, match=f"mode {mode:04o}") as caught:
            open_build(scratch, "run")
        with pytest.raises(ScratchNotPrivateError):
            clean_scratch(scratch, datetime.now(UTC))
        assert list(scratch.iterdir()) == []
        command = caught.value.remedy.removeprefix("run `").removesuffix("`")
        subprocess.run(command.split(), check=True)
        assert open_build(scratch, "run").members.is_dir()

    def test_folder_of_another_account_is_refused(self, tmp_path: Path) -> None:
        require_root("give a folder away")
        mine, scratch, link = tmp_path / "mine", tmp_path / "scratch", tmp_path / "link"
        mine.mkdir()
        scratch.mkdir()
        os.chown(scratch, 65534, 65534)
        link.symlink_to(mine)
        assert open_build(link, "run").path.is_dir()
        os.chown(link, 65534, 65534, follow_symlinks=False)
        for folder in (scratch, link):
            with pytest.raises(ScratchNotPrivateError, match="belongs to another account"):
                open_build(folder, "run")

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        """Yield a file system of one megabyte; mounting one needs root, as in CI."""
        require_root("mount a small disk")
        folder = tmp_path / "disk"
        folder.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", folder], check=True
        )
        yield folder
        subprocess.run(["umount", folder], check=True)


class TestFullSpool:
    """Only loads free space in the spool, so a full one stops neither admission nor load."""

    def test_load_frees_space_and_reports_then(self, small_spool: TwoSites) -> None:
        sites = small_spool
        sites.clock = lambda: datetime.now(UTC) - timedelta(days=9)
        sites.complete()
        sites.load()
        sites.clock = lambda: datetime.now(UTC)
        newest = sites.complete().name.removeprefix("NEW_")
        fill_up(sites.spool)
        admission = sites.admit()
        assert admission.names == (newest,)
        assert "is full" in admission.warnings[-1]
        report = load_archives(sites.settings, sites.catalog, admission.names, sites.clock)
        assert [archive.manifest.name.applied for archive in report.loaded] == [newest]
        assert names(list_applied(sites.spool)) == [newest]
        assert (sites.spool / "receipts" / f"{newest}.json").exists()
        checkpoint = Checkpoint.read(sites.spool, signing_keys=())
        assert checkpoint is not None
        assert checkpoint.watermark is not None
        assert checkpoint.watermark.snapshot_at == report.loaded[0].manifest.snapshot_at

    def test_rows_are_loaded_although_no_report_can_be_written(self, small_spool: TwoSites) -> None:
        """The load is committed: what follows it must run, since no archive waits any more."""
        sites = small_spool
        sites.complete()
        sites.load()
        newest = sites.complete().name.removeprefix("NEW_")
        fill_up(sites.spool)
        report = sites.load()
        assert [archive.manifest.name.applied for archive in report.loaded] == [newest]
        loaded = next(iter(load_check_results(report, 5, ALONE)))
        assert (loaded.check_name, loaded.passed) == ("archives_loaded", False)
        assert (loaded.metadata or {})[ERROR].value == SpoolAccessError.code
        assert "No space left" in str(loaded.description)
        (sites.spool / "ballast").unlink()
        assert acknowledge_by_hand(sites.settings, sites.clock)
        assert (sites.spool / "receipts" / f"{newest}.json").exists()
        assert next(iter(load_check_results(sites.load(), 5, ALONE))).passed

    def test_damaged_archive_waits_for_its_reason_file(self, small_spool: TwoSites) -> None:
        sites = small_spool
        good = sites.complete().name.removeprefix("NEW_")
        damaged = sites.partial(recent_window())
        damaged.write_bytes(damaged.read_bytes()[:-2000])
        fill_up(sites.spool)
        admission = sites.admit()
        assert admission.names == (good,)
        assert [one.name for one in admission.parked] == [damaged.name.removeprefix("NEW_")]
        assert names(list_parked(sites.spool)) == [damaged.name.removeprefix("NEW_")]
        (sites.spool / "ballast").unlink()
        sites.load()
        (quarantined,) = list_quarantined(sites.spool)
        assert read_reason(quarantined.path) is not None
        assert list_parked(sites.spool) == []

    @pytest.mark.long
    def test_archive_that_the_load_refuses_is_refused_again_when_there_is_space(
        self, small_spool: TwoSites
    ) -> None:
        sites = small_spool
        sites.environ["AR_SYNC_DELETE_GUARD"] = "5"
        sites.complete()
        sites.load()
        sites.at_sender("DELETE FROM app_child")
        guarded = sites.complete().name.removeprefix("NEW_")
        fill_up(sites.spool)
        admission = sites.admit()
        report = load_archives(sites.settings, sites.catalog, admission.names, sites.clock)
        assert "No space left" in str(report.unreported)  # nothing can be deleted
        (sites.spool / "ballast").unlink()
        report = sites.load()
        assert [one.name for one in report.refused] == [guarded]
        (parked,) = list_parked(sites.spool)
        assert read_reason(parked.path) is not None

    @pytest.fixture
    def small_spool(self, filled: TwoSites) -> Iterator[TwoSites]:
        require_root("mount a small disk")
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0755", "tmpfs", filled.spool], check=True
        )
        prepare_spool(filled.spool)
        yield filled
        subprocess.run(["umount", filled.spool], check=True)


def fill_up(folder: Path) -> None:
    with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_full_media_disk_parks_the_archive_and_the_next_run_loads_it(filled: TwoSites) -> None:
    require_root("mount a small disk")
    (filled.sender_media / "large.jpeg").write_bytes(os.urandom(2_000_000))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", filled.receiver_media], check=True
    )
    try:
        filled.complete()
        report = filled.load()
        assert "large.jpeg" in str(report.refused[0])
        assert report.loaded == ()
    finally:
        subprocess.run(["umount", filled.receiver_media], check=True)
    filled.load()
    assert equal(filled)
    assert (filled.receiver_media / "large.jpeg").stat().st_size == 2_000_000


def test_media_disk_that_is_full_when_the_journal_is_written(filled: TwoSites) -> None:
    """The failure is told as it was, and the next load begins without the staged file."""
    require_root("mount a small disk")
    (filled.sender_media / "large.jpeg").write_bytes(os.urandom(1024**2))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", filled.receiver_media], check=True
    )
    try:
        filled.complete()
        with pytest.raises(MediaSpaceError, match="free space on that disk"):
            filled.load()
        subprocess.run(["mount", "-o", "remount,size=2m", filled.receiver_media], check=True)
        filled.load()
        assert equal(filled)
        assert [path.name for path in filled.receiver_media.iterdir()] == ["large.jpeg"]
    finally:
        subprocess.run(["umount", filled.receiver_media], check=True)


def test_folder_that_the_account_cannot_enter_stops_no_load(filled: TwoSites) -> None:
    (filled.sender_media / "a.jpeg").write_bytes(b"a")
    (filled.receiver_media / "lost+found").mkdir(mode=0)
    filled.complete()
    with permissions_count():
        report = filled.load()
    assert (report.refused, len(report.loaded)) == ((), 1)
    assert (filled.receiver_media / "a.jpeg").read_bytes() == b"a"
