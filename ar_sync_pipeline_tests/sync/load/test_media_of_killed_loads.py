"""What a killed load left in the media folder is taken back, also if no load follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ar_sync_pipeline.media.install import rename_into_place
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import DatabaseUnreachableError
from ar_sync_pipeline.postgres.ledger_tables import load_lock
from ar_sync_pipeline.sync.load import load_session
from ar_sync_pipeline.sync.load.media_of_load import recover_by_itself
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute

END_THE_LOAD = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'ar_sync load' AND datname = current_database()"
)
BEFORE = {"p.jpeg": b"first"}
AFTER = {"p.jpeg": b"second", "q.jpeg": b"new"}


@pytest.fixture
def sites(filled: TwoSites, monkeypatch: pytest.MonkeyPatch) -> TwoSites:
    """Return sites whose newest load has ended before its commit, with its files in place."""

    def then_end(*arguments: Any) -> None:
        rename_into_place(*arguments)
        execute(filled.receiver, END_THE_LOAD)

    (filled.sender_media / "p.jpeg").write_bytes(BEFORE["p.jpeg"])
    filled.complete()
    filled.load()
    for name, content in AFTER.items():
        (filled.sender_media / name).write_bytes(content)
    filled.at_sender("UPDATE app_child SET picture = 'q.jpeg', changed = now() WHERE id = 5")
    filled.complete()
    with monkeypatch.context() as patch, pytest.raises(DatabaseUnreachableError):
        patch.setattr(load_session, "rename_into_place", then_end)
        filled.load()
    assert AFTER.items() <= media(filled).items()
    return filled


def media(sites: TwoSites) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sites.receiver_media.iterdir()}


def test_admission_of_an_archive_that_no_longer_fits_takes_its_pictures_back(
    sites: TwoSites,
) -> None:
    sites.at_receiver("ALTER TABLE app_child RENAME amount TO total")
    assert sites.admit().parked
    assert media(sites) == BEFORE
    sites.at_receiver("ALTER TABLE app_child RENAME total TO amount")
    assert sites.load().loaded
    assert media(sites) == AFTER
    assert equal(sites)


def test_pictures_are_taken_back_when_nothing_waits(sites: TwoSites) -> None:
    for archive in (sites.spool / "complete").glob("NEW_*"):
        archive.unlink()
    recover_by_itself(sites.settings, sites.catalog.name)
    assert media(sites) == BEFORE


@pytest.mark.parametrize(
    "recover",
    [lambda sites: sites.admit(), lambda sites: recover_by_itself(sites.settings, "small")],
)
def test_files_of_a_load_at_work_are_its_own(
    sites: TwoSites, recover: Callable[[TwoSites], object]
) -> None:
    left = media(sites)
    with connect(sites.receiver, application="load") as connection, load_lock(connection):
        recover(sites)
        assert media(sites) == left
    recover(sites)
    assert media(sites) == BEFORE


def test_files_that_cannot_be_taken_back_are_a_warning_of_the_admission(sites: TwoSites) -> None:
    (journal,) = sites.receiver_media.glob(".ar-sync-*.journal")
    journal.unlink()
    journal.mkdir()
    admission = sites.admit()
    assert len(admission.admitted) == 1
    assert [warning for warning in admission.warnings if "is not a regular file" in warning]
    recover_by_itself(sites.settings, sites.catalog.name)


def test_receiver_without_a_ledger_has_nothing_to_take_back(small_sites: TwoSites) -> None:
    recover_by_itself(small_sites.settings, small_sites.catalog.name)
    assert media(small_sites) == {}
