"""What the sender sends and the receiver lacks is named, and unverified once it is there."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.load_checks import load_check_results
from ar_sync_pipeline.spool.states import list_applied, list_parked
from ar_sync_pipeline.sync.dump.reading import Reading
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.status import Status
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, recent_window, rows

PARENT = "UPDATE app_parent SET code = code || '.' WHERE id = 1"
NEW = "CREATE TABLE app_new (id integer PRIMARY KEY, parent_id integer REFERENCES app_parent)"


def partial(sites: TwoSites, *changes: str) -> None:
    sites.at_sender(*changes)
    archives = [*list_applied(sites.spool), *list_parked(sites.spool)]
    newest = max(archives, key=lambda archive: archive.name.snapshot_at)
    since = verify_archive(newest.path, signing_keys=()).watermark
    sites.partial(recent_window(), since=since)


def status(sites: TwoSites) -> Status:
    return receiver_status(sites.settings, sites.catalog, sites.clock())


@pytest.fixture
def loaded(filled: TwoSites) -> TwoSites:
    filled.complete()
    assert filled.load().missing == ()
    return filled


@pytest.fixture
def ignoring(loaded: TwoSites) -> TwoSites:
    loaded.environ["AR_SYNC_SCHEMA_DRIFT"] = "ignore"
    return loaded


def test_table_that_the_receiver_dropped_is_named_until_it_is_back(loaded: TwoSites) -> None:
    loaded.at_receiver("ALTER TABLE app_child RENAME TO old_child")
    partial(loaded, PARENT)
    assert loaded.load().missing == ("app_child",)
    assert not (found := status(loaded)).ok
    assert found.missing == ("app_child",)
    assert found.lag.because.startswith("the receiver lacks app_child, which the sender sends")
    loaded.at_receiver("ALTER TABLE old_child RENAME TO app_child")
    assert status(loaded).ok


def test_table_that_both_sides_dropped_is_not_missing(loaded: TwoSites) -> None:
    loaded.at_sender("DROP TABLE app_child")
    partial(loaded, PARENT)
    assert loaded.load().unsent == ("app_child",)
    loaded.at_receiver("DROP TABLE app_child CASCADE")
    assert status(loaded).ok
    partial(loaded, PARENT)
    report = loaded.load()
    assert (report.missing, report.unsent) == ((), ())


def test_table_that_both_sides_dropped_is_not_missing_where_the_sender_cannot_say_so(
    loaded: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a sender of an earlier version, or one that has lost its journal."""
    monkeypatch.setattr(Reading, "gone", lambda _reading: ())
    for statement in (PARENT, "DROP TABLE app_child"):
        partial(loaded, statement)
        assert loaded.load().missing == ()
    loaded.at_receiver("DROP TABLE app_child CASCADE")
    assert status(loaded).ok
    partial(loaded, PARENT)
    assert loaded.load().missing == ()
    assert status(loaded).ok


@pytest.mark.long
def test_table_that_a_load_left_out_is_unverified_once_it_is_there(ignoring: TwoSites) -> None:
    ignoring.at_sender(NEW, "INSERT INTO app_new SELECT n, n FROM generate_series(1, 5) n")
    for send in (lambda: partial(ignoring), ignoring.complete):
        send()
        report = ignoring.load()
        assert (len(report.loaded), report.missing, report.unverified) == (1, ("app_new",), ())
    assert status(ignoring).missing == ("app_new",)
    ignoring.at_receiver(NEW)
    assert status(ignoring).missing == ()
    partial(ignoring, "INSERT INTO app_new VALUES (6, 6)")
    report = ignoring.load()
    assert (report.missing, report.unverified) == ((), ("app_new",))
    assert rows(ignoring.receiver, "TABLE app_new") == [(6, 6)]
    ignoring.complete()
    assert ignoring.load().unverified == ()
    assert equal(ignoring, "SELECT * FROM app_new ORDER BY id")
    assert status(ignoring).ok


@pytest.mark.long
def test_renamed_column_that_a_load_left_out_is_unverified_once_it_is_there(
    ignoring: TwoSites,
) -> None:
    rename = "ALTER TABLE app_child RENAME amount TO weight"
    partial(ignoring, rename, "UPDATE app_child SET weight = 7, changed = now() WHERE id = 7")
    assert ignoring.load().missing == ("app_child.weight",)
    partial(ignoring, PARENT)
    assert ignoring.load().missing == ("app_child.weight",)
    ignoring.at_receiver(rename)
    partial(ignoring, PARENT)
    report = ignoring.load()
    assert (report.missing, report.unverified) == ((), ("app_child",))
    ignoring.complete()
    assert ignoring.load().unverified == ()
    assert equal(ignoring, "SELECT id, weight FROM app_child ORDER BY id")


def test_renamed_table_is_named_by_both_names(ignoring: TwoSites) -> None:
    ignoring.at_sender("ALTER TABLE app_child RENAME TO app_kid")
    ignoring.complete()
    report = ignoring.load()
    assert (report.unsent, report.missing) == (("app_child",), ("app_kid",))
    (check,) = (
        one for one in load_check_results(report, 5, ALONE) if one.check_name == "tables_sent"
    )
    assert (check.passed, check.metadata["missing"].value) == (False, 1)
    for said in (status(ignoring).lag.because, str(check.description)):
        assert "the sender does not send app_child" in said
        assert "the receiver lacks app_kid" in said


@pytest.mark.long
def test_what_the_sender_drops_again_is_not_missing(ignoring: TwoSites) -> None:
    ignoring.at_sender(NEW, "ALTER TABLE app_child ADD weight integer")
    ignoring.complete()
    assert ignoring.load().missing == ("app_child.weight", "app_new")
    partial(ignoring, "DROP TABLE app_new")
    assert ignoring.load().missing == ("app_child.weight",)
    partial(ignoring, PARENT)
    assert ignoring.load().missing == ("app_child.weight",)
    ignoring.at_sender("ALTER TABLE app_child DROP weight")
    ignoring.complete()
    assert ignoring.load().missing == ()
    assert status(ignoring).ok
