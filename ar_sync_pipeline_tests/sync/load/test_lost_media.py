"""A media folder that is emptied or not mounted is noticed; nothing is installed below a mount."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import psycopg
import pytest

from ar_sync_pipeline.media.errors import MediaLostError, MediaNotMountedError
from ar_sync_pipeline.spool.states import list_waiting
from ar_sync_pipeline.sync.load.lost_media import lost_media
from ar_sync_pipeline.sync.watch import database_access
from ar_sync_pipeline.sync.watch.preflight import preflight, sudden_problems
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.status import Status
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, recent_window
from ar_sync_pipeline_tests.open_sessions import session

NAMES = [f"{number}.jpeg" for number in range(6)]


@pytest.fixture
def sites(filled: TwoSites) -> TwoSites:
    for name in NAMES:
        (filled.sender_media / name).write_text(name)
    filled.complete()
    filled.load()
    assert {*NAMES} <= installed(filled)
    return filled


def installed(sites: TwoSites) -> set[str]:
    return {path.name for path in sites.receiver_media.iterdir() if path.is_file()}


def empty(sites: TwoSites) -> None:
    shutil.rmtree(sites.receiver_media)
    sites.receiver_media.mkdir()


def unmount(sites: TwoSites) -> None:
    """Leave the folder as a disk leaves it that was mounted there."""
    empty(sites)
    execute(
        sites.receiver,
        "UPDATE ar_sync.installed_media SET facts = jsonb_set(facts::jsonb, '{mounted_at}',"
        f" to_jsonb('{sites.receiver_media}'::text))::text",
    )


def lost(sites: TwoSites) -> object:
    with session(sites.receiver) as connection:
        return lost_media(connection, sites.settings.receiver_media_fldr)


def status(sites: TwoSites) -> Status:
    return receiver_status(sites.settings, sites.catalog, datetime.now(UTC))


def found(sites: TwoSites) -> list[str]:
    result = preflight(sites.settings, sites.catalog, sites.clock)
    return [one.problem for one in result.findings if one.area == "media files"]


def test_emptied_folder_contradicts_all_is_well(sites: TwoSites) -> None:
    assert (lost(sites), found(sites), status(sites).lost_media) == (None, [], "")
    empty(sites)
    assert isinstance(lost(sites), MediaLostError)
    (problem,) = found(sites)
    assert f"the media folder {sites.receiver_media} has none of the files" in problem
    shown = status(sites)
    assert not shown.ok
    assert "all is well" not in str(shown.lag)
    assert problem in shown.lag.because
    assert sudden_problems(sites.settings, sites.clock) == problem


def test_lock_on_the_ledger_does_not_hold_up_the_hint(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty(sites)
    monkeypatch.setattr(database_access, "_LONGEST_LOCK_WAIT", "100ms")
    with psycopg.connect(sites.receiver) as other:
        other.execute("LOCK TABLE ar_sync.installed_media")
        assert sudden_problems(sites.settings, sites.clock) is None
    assert sudden_problems(sites.settings, sites.clock)


def test_emptied_folder_is_filled_by_completes(sites: TwoSites) -> None:
    empty(sites)
    sites.complete()
    sites.load()
    assert {*NAMES} <= installed(sites)
    assert lost(sites) is None


def test_files_that_people_delete_singly_are_no_finding(sites: TwoSites) -> None:
    for name in NAMES[1:]:
        (sites.receiver_media / name).unlink()
    assert lost(sites) is None


@pytest.mark.parametrize("deletes", ["true", "false"])
def test_files_that_the_sender_deleted_are_no_finding(sites: TwoSites, deletes: str) -> None:
    sites.environ["AR_SYNC_MEDIA_DELETE"] = deletes
    sites.complete()
    sites.load()
    for path in sites.sender_media.iterdir():
        path.unlink()
    (sites.sender_media / "new.jpeg").write_text("new")
    sites.complete()
    sites.load()
    empty(sites)  # whatever the receiver kept, or a person removed then
    assert lost(sites) is None


def test_receiver_without_media_is_no_finding(filled: TwoSites) -> None:
    assert lost(filled) is None
    filled.complete()
    filled.load()
    empty(filled)
    assert lost(filled) is None


def test_nothing_is_installed_below_a_mount(sites: TwoSites) -> None:
    unmount(sites)
    sites.environ["AR_SYNC_PAIR"] = ""
    sites.partial(recent_window())
    with pytest.raises(MediaNotMountedError, match="is not mounted there"):
        sites.load()
    assert list(sites.receiver_media.iterdir()) == []
    assert len(list_waiting(sites.spool)) == 1
    assert "is not mounted there" in status(sites).lag.because


def test_loads_continue_once_a_file_shows_that_there_is_no_such_disk(sites: TwoSites) -> None:
    unmount(sites)
    sites.complete()
    with pytest.raises(MediaNotMountedError, match="files_are_lost"):
        sites.load()
    (sites.receiver_media / "files_are_lost").touch()
    sites.load()
    assert {*NAMES} <= installed(sites)
    assert lost(sites) is None


def test_disk_that_is_mounted_again_ends_it(sites: TwoSites) -> None:
    aside = sites.folder / "disk"
    shutil.copytree(sites.receiver_media, aside)
    unmount(sites)
    sites.partial(recent_window())
    with pytest.raises(MediaNotMountedError):
        sites.load()
    shutil.copytree(aside, sites.receiver_media, dirs_exist_ok=True)
    sites.load()
    assert list_waiting(sites.spool) == []


def test_ledger_of_an_earlier_version_knows_no_files(sites: TwoSites) -> None:
    execute(sites.receiver, "DROP TABLE ar_sync.installed_media")
    empty(sites)
    assert lost(sites) is None
    assert found(sites) == []
    assert status(sites).lost_media == ""
