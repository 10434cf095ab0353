"""An archive that vanishes from the spool before it is applied is named, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.operations.check_evaluation import NO_MAIL_BEFORE
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.archive_sensors import archive_sensor
from ar_sync_pipeline.receiver.jobs import partial_loaddata
from ar_sync_pipeline.receiver.load_checks import load_check_results
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import check_lag
from ar_sync_pipeline.spool import states
from ar_sync_pipeline.spool.layout import PARKED, QUARANTINE
from ar_sync_pipeline.spool.seen_archives import SeenArchives, read_seen, write_seen
from ar_sync_pipeline.spool.states import list_parked, list_quarantined
from ar_sync_pipeline.sync.load import vanished_archives
from ar_sync_pipeline.sync.load.vanished_archives import forget_archives, remember_archives
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.status import Status
from ar_sync_pipeline_tests.fix_sites import TwoSites, recent_window, watermark_of


@pytest.fixture
def based(filled: TwoSites) -> TwoSites:
    """Two servers; the receiver has a complete."""
    filled.complete()
    filled.load()
    return filled


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def site_of(sites: TwoSites) -> ReceiverSite:
    return ReceiverSite(sites.settings, sites.catalog, sites.clock)


def tick(sites: TwoSites, instance: dg.DagsterInstance) -> None:
    """Run a tick of the sensor that looks for partials."""
    sensor = archive_sensor(site_of(sites), ArchiveKind.PARTIAL, partial_loaddata(ALONE))
    sensor(dg.build_sensor_context(instance))


def see(sites: TwoSites) -> None:
    remember_archives(sites.settings, sites.clock())


def status(sites: TwoSites) -> Status:
    return receiver_status(sites.settings, sites.catalog, sites.clock())


def seen(sites: TwoSites) -> set[str]:
    return {name.waiting for name in read_seen(sites.spool, signing_keys=())}


def test_partial_that_the_sensor_has_seen_is_named_until_the_next_one_brings_what_it_held(
    based: TwoSites, instance: dg.DagsterInstance
) -> None:
    lost = based.partial(recent_window(), since=base_of(based))
    tick(based, instance)
    assert status(based).count("vanished") == 0
    lost.unlink()
    tick(based, instance)
    name = lost.name.removeprefix("NEW_")
    found = check_lag(site_of(based), instance)
    assert not found.result.passed
    assert found.result.severity is dg.AssetCheckSeverity.WARN
    assert (
        f"because {name} has vanished from the spool before it was applied; no action is needed:"
        " the sender's next partial carries what it held." in str(found.result.description)
    )
    assert not status(based).ok
    snapshot_at = ArchiveName.parse(name)
    assert snapshot_at is not None
    times = found.with_times(snapshot_at.snapshot_at - timedelta(days=1), None).metadata
    mailed = (times or {})[NO_MAIL_BEFORE].value
    assert mailed == (snapshot_at.snapshot_at + timedelta(minutes=15)).timestamp()

    based.partial(recent_window(), since=base_of(based))
    based.load()
    assert check_lag(site_of(based), instance).result.passed
    assert status(based).ok
    assert seen(based) == set()


def test_complete_is_named_with_its_remedy_until_a_later_one_comes(based: TwoSites) -> None:
    base = base_of(based)
    lost = based.complete()
    see(based)
    lost.unlink()
    based.partial(recent_window(), since=base)
    based.load()
    found = status(based)
    assert found.count("vanished") == 1, "a partial brings no deletions"
    assert "launch `complete_dump` at the sender, or wait for its next" in found.lag.because
    based.complete()
    assert status(based).count("vanished") == 0, "that one brings them"
    based.load()
    assert status(based).ok


def test_first_complete_is_named_although_the_receiver_has_no_data(
    filled: TwoSites, instance: dg.DagsterInstance
) -> None:
    lost = filled.complete()
    see(filled)
    lost.unlink()
    found = check_lag(site_of(filled), instance)
    assert "holds no data yet, because backup_complete_" in str(found.result.description)
    assert "launch `complete_dump`" in str(found.result.description)
    assert found.settles < timedelta(hours=1)


def test_partial_before_the_first_complete_is_of_no_use(filled: TwoSites) -> None:
    lost = filled.partial(recent_window())
    see(filled)
    lost.unlink()
    assert status(filled).lag.because == "no complete archive has been applied"


@pytest.mark.parametrize("step", ["admitted", "parked"])
def test_archive_of_the_checkpoint_that_vanishes_is_named(based: TwoSites, step: str) -> None:
    if step == "parked":
        based.at_receiver("ALTER TABLE app_child DROP COLUMN amount")
        based.at_sender("UPDATE app_child SET changed = now() WHERE id = 7")
    path = based.partial(recent_window(), since=base_of(based))
    based.admit()
    if step == "parked":
        (parked,) = list_parked(based.spool)
        path = parked.path
        based.at_receiver("ALTER TABLE app_child ADD COLUMN amount double precision")
    assert status(based).count("vanished") == 0
    path.unlink()
    assert status(based).count("vanished") == 1
    report = based.load()
    assert status(based).count("vanished") == 1, "no load brings it"
    loaded = next(iter(load_check_results(report, 5, ALONE)))
    assert (loaded.passed, str(loaded.description).partition(". backup_partial_")[0]) == (
        True,
        "Every admitted archive that is still in the spool is applied",
    )


def quarantined_and_removed(sites: TwoSites, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])
    sites.load()
    (archive,) = list_quarantined(sites.spool)
    assert status(sites).count("vanished") == 0
    archive.path.unlink()
    (sites.spool / QUARANTINE / f"{archive.path.name}.reason.json").unlink()


def applied_and_removed(sites: TwoSites, path: Path) -> None:
    sites.load()
    path.with_name(path.name.removeprefix("NEW_")).unlink()


def brought_by_a_later_one(sites: TwoSites, path: Path) -> None:
    path.unlink()
    sites.partial(recent_window(), since=base_of(sites))
    sites.load()


def of_a_wrong_clock(sites: TwoSites, path: Path) -> None:
    path.unlink()
    name = ArchiveName(ArchiveKind.PARTIAL, sites.clock() + timedelta(days=300))
    write_seen(sites.spool, [name], signing_keys=())


def moved_by_hand_between_folders(sites: TwoSites, path: Path) -> None:
    path.rename(sites.spool / "complete" / path.name)


def parked_while_nobody_writes(sites: TwoSites, path: Path) -> None:
    path.rename(sites.spool / PARKED / path.name)


@pytest.mark.parametrize(
    "fate",
    [
        applied_and_removed,
        quarantined_and_removed,
        brought_by_a_later_one,
        of_a_wrong_clock,
        moved_by_hand_between_folders,
        parked_while_nobody_writes,
    ],
)
def test_other_fates_are_no_alarm(based: TwoSites, fate: Callable[[TwoSites, Path], None]) -> None:
    path = based.partial(recent_window(), since=base_of(based))
    see(based)
    fate(based, path)
    assert status(based).count("vanished") == 0


def test_archive_that_is_renamed_while_the_spool_is_listed_is_no_alarm(
    based: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = based.partial(recent_window(), since=base_of(based))
    see(based)
    parked = path.rename(based.spool / PARKED / path.name)

    def list_parked_after_the_renaming(spool: Path) -> list[states.SpooledArchive]:
        if parked.exists():
            parked.rename(path)
        return states.list_parked(spool)

    monkeypatch.setattr(vanished_archives, "list_parked", list_parked_after_the_renaming)
    assert status(based).count("vanished") == 0
    assert path.exists()


def test_damaged_or_forged_list_is_no_list(based: TwoSites) -> None:
    lost = based.partial(recent_window(), since=base_of(based))
    see(based)
    file = based.spool / "receipts" / SeenArchives.FILE
    file.write_text(file.read_text().replace("backup", "\\u001b"))
    lost.unlink()
    assert status(based).count("vanished") == 0
    file.write_text("no list")
    assert status(based).count("vanished") == 0
    path = based.partial(recent_window(), since=base_of(based))
    see(based)
    assert seen(based) == {path.name}


def test_list_of_a_spool_that_no_load_has_prepared_is_not_written(filled: TwoSites) -> None:
    (filled.spool / "receipts").rmdir()
    filled.partial(recent_window())
    see(filled)
    assert not (filled.spool / "receipts").exists()


def test_longest_list_can_be_read(filled: TwoSites) -> None:
    now = filled.clock()
    names = [ArchiveName(ArchiveKind.COMPLETE, now - timedelta(seconds=n)) for n in range(2000)]
    write_seen(filled.spool, names, signing_keys=[b"k" * 32, b"o" * 32])
    found = read_seen(filled.spool, signing_keys=[b"o" * 32])
    assert found == frozenset(names[:500])


def test_long_list_is_written_once_and_without_archives_of_the_future(
    filled: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tick compared all that wait with the 500 of the file, and replaced it."""
    now, file = filled.clock(), filled.spool / "receipts" / SeenArchives.FILE
    partials = [ArchiveName(ArchiveKind.PARTIAL, now - timedelta(seconds=n)) for n in range(600)]
    later = [ArchiveName(ArchiveKind.PARTIAL, now + timedelta(days=n)) for n in range(1, 9)]
    waiting = frozenset([*partials, *later])
    monkeypatch.setattr(vanished_archives, "_not_applied", lambda _spool: waiting)
    remember_archives(filled.settings, now)
    assert read_seen(filled.spool, signing_keys=()) == frozenset(partials[:500])
    written = file.stat().st_ino
    remember_archives(filled.settings, now)
    forget_archives(filled.settings, (), now)
    assert file.stat().st_ino == written


def base_of(sites: TwoSites) -> Watermark:
    (base,) = (sites.spool / "complete").glob("backup_*")
    return watermark_of(base)
