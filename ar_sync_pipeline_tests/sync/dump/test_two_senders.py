"""Two senders publish into one spool: what the one that should tells its operator."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.spool.agreed_settings import AgreedSettings
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.dump.receiver_view import observe_receiver
from ar_sync_pipeline.sync.dump.sender_journal import read_points
from ar_sync_pipeline.sync.dump.starting_point import never_sent_in_words, starting_point
from ar_sync_pipeline.sync.watch.other_side import (
    checkpoint_as_written,
    receiver_as_written,
    sender_as_written,
)
from ar_sync_pipeline.sync.watch.sender_status import sender_status
from ar_sync_pipeline.sync.watch.status import Status
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import CHILDREN, PARENTS, TwoSites, equal, rows
from ar_sync_pipeline_tests.open_sessions import session
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender
from ar_sync_pipeline_tests.sync.load.test_one_database import CHANGE, filled_copy

NEVER_SENT = "that this sender never sent"
DELETION = "DELETE FROM app_child WHERE id BETWEEN 100 AND 120"


@pytest.fixture
def production(media_sender: MediaSender) -> MediaSender:
    media_sender.settings = media_sender.settings.model_copy(update={"sender_name": "production"})
    media_sender.sites.environ["AR_SYNC_SENDER_NAME"] = "production"
    return media_sender


@pytest.fixture
def copy(production: MediaSender, database_factory: DatabaseFactory, tmp_path: Path) -> MediaSender:
    """A copy of production with its settings, but another scratch folder."""
    return second(production, filled_copy(production.sites, database_factory()), tmp_path)


@pytest.fixture
def other_machine(production: MediaSender, tmp_path: Path) -> MediaSender:
    """A second machine that dumps the same database."""
    return second(production, production.sites, tmp_path)


def second(production: MediaSender, sites: TwoSites, tmp_path: Path) -> MediaSender:
    scratch = tmp_path / "second_scratch"
    scratch.mkdir()
    update = {"tmp_bkp_fldr": scratch, "database_url": sites.sender}
    return MediaSender(replace(sites), production.settings.model_copy(update=update))


def status(sender: MediaSender) -> Status:
    return sender_status(sender.settings, datetime.now(UTC))


def told(sender: MediaSender) -> str:
    """Return what check `acknowledged` and the status tell of another sender."""
    start, found = starting_point(sender.settings, datetime.now(UTC)), status(sender)
    assert not found.ok
    assert "all is well" not in str(found.lag)
    return "\n".join([*start.problems, start.never_sent, str(found.lag)])


def is_equal(sender: MediaSender) -> bool:
    return all(equal(sender.sites, query) for query in (PARENTS, CHILDREN))


def load(sender: MediaSender) -> int:
    sender.sites.load()
    return len(list_parked(sender.sites.spool))


def own_cluster(sender: MediaSender) -> str:
    ((cluster,),) = rows(
        sender.sites.sender, "SELECT system_identifier::text FROM pg_control_system()"
    )
    return str(cluster)


def findings_at_receiver(sender: MediaSender, later: timedelta = timedelta()) -> list[Finding]:
    with session(sender.sites.receiver) as connection:
        return [*sender_as_written(sender.sites.settings, connection, datetime.now(UTC) + later)]


@pytest.fixture
def pair(production: MediaSender) -> MediaSender:
    """Production, whose receiver has a complete and a partial."""
    for dump in (production.complete, production.partial):
        dump()
        assert load(production) == 0
    assert status(production).ok
    return production


@pytest.mark.long
def test_partial_of_a_copy_is_told_where_it_waits_and_where_it_is_parked(
    pair: MediaSender, copy: MediaSender
) -> None:
    copy.partial()
    assert NEVER_SENT in told(pair)
    assert load(pair) == 1
    assert NEVER_SENT in told(pair)
    # The copy's operator learns it, too.
    assert "comes from database" in told(copy)
    pair.sites.at_sender(CHANGE)
    pair.partial()
    assert load(pair) == 1
    assert is_equal(pair)
    assert NEVER_SENT in told(pair)


@pytest.mark.long
def test_complete_of_a_copy_is_told_until_one_of_production_has_replaced_it(
    pair: MediaSender, copy: MediaSender
) -> None:
    copy.complete()
    assert load(pair) == 0
    assert is_equal(copy)
    assert "this sender never sent: if another sender publishes into this spool, stop it" in (
        told(pair)
    )
    pair.partial()
    copy.partial()
    assert load(pair) == 1
    assert is_equal(copy)
    # The copy is stopped, and a complete is made: each archive after it is applied.
    pair.sites.at_sender(CHANGE, DELETION)
    pair.complete()
    load(pair)
    for _ in range(2):
        pair.sites.at_sender(CHANGE)
        pair.partial()
        assert load(pair) == 0
        assert is_equal(pair)
        assert status(pair).ok
    assert not starting_point(pair.settings, datetime.now(UTC)).never_sent
    (found,) = findings_at_receiver(pair)
    assert "were applied in turn" in found.problem
    for url in (pair.sites.sender, copy.sites.sender):
        assert f"{url.rpartition('/')[2]} of cluster {own_cluster(pair)}" in found.problem
    assert findings_at_receiver(pair, timedelta(days=2)) == []


def test_sender_that_moved_once_is_no_alternation(pair: MediaSender, copy: MediaSender) -> None:
    copy.complete()
    assert load(pair) == 0
    assert status(copy).ok
    assert not starting_point(copy.settings, datetime.now(UTC)).never_sent
    assert findings_at_receiver(pair) == []


@pytest.mark.long
def test_two_machines_of_one_database_lose_nothing_and_tell_each_other(
    pair: MediaSender, other_machine: MediaSender
) -> None:
    for _ in range(2):
        for sender in (pair, other_machine):
            sender.sites.at_sender(CHANGE)
            sender.partial()
        assert load(pair) == 0
        assert is_equal(pair)
        assert NEVER_SENT in told(pair)
    assert NEVER_SENT in told(other_machine)
    pair.sites.at_sender(DELETION)
    other_machine.complete()
    pair.sites.at_sender(CHANGE)
    pair.partial()
    load(pair)
    assert is_equal(pair)
    # The other machine is stopped.
    pair.complete()
    load(pair)
    pair.partial()
    load(pair)
    assert is_equal(pair)
    assert status(pair).ok


@pytest.mark.long
def test_copy_of_the_whole_machine_is_told(pair: MediaSender, other_machine: MediaSender) -> None:
    """It has production's scratch folder, too."""
    rmtree(other_machine.scratch)
    copytree(pair.scratch, other_machine.scratch)
    other_machine.partial()
    load(pair)
    assert NEVER_SENT in told(pair)


class TestPreflightOfTheSender:
    def found(self, sender: MediaSender, cluster: str) -> list[Finding]:
        spool, now = sender.sites.spool, datetime.now(UTC)
        checkpoint = Checkpoint.read(spool, signing_keys=())
        agreed = AgreedSettings.read(spool, signing_keys=())
        known = read_points(sender.scratch)
        return [
            *receiver_as_written(sender.settings, checkpoint, agreed, cluster),
            *checkpoint_as_written(checkpoint, known, now),
        ]

    def test_all_is_well(self, pair: MediaSender) -> None:
        assert self.found(pair, own_cluster(pair)) == []

    def test_other_cluster_under_the_same_name(self, pair: MediaSender) -> None:
        (found,) = self.found(pair, "7")
        assert found.level is Level.WARNING
        assert "launch `complete_dump`, which the receiver needs" in found.remedy
        assert "two senders publish into this spool" in found.remedy

    def test_archive_that_this_sender_never_sent(
        self, pair: MediaSender, copy: MediaSender
    ) -> None:
        copy.complete()
        load(pair)
        (found,) = self.found(pair, own_cluster(pair))
        assert "which this sender never sent" in found.problem
        assert self.found(copy, own_cluster(copy)) == []


@pytest.mark.parametrize(("point", "said"), [(True, False), (False, True)])
def test_old_sender_that_is_not_stopped_is_thought_of(
    pair: MediaSender, point: bool, said: bool
) -> None:
    view = observe_receiver(pair.settings, lambda: datetime.now(UTC))
    assert view.checkpoint is not None
    if not point:
        view = replace(view, checkpoint=view.checkpoint.model_copy(update={"watermark": None}))
    assert ("its cron lines" in never_sent_in_words([datetime.now(UTC)], view)) is said


def test_waiting_complete_of_another_sender_is_told_however_new_the_own_data_is(
    pair: MediaSender, copy: MediaSender
) -> None:
    """The load of partials leaves it; once it is loaded it replaces everything."""
    built = copy.bundled_complete()
    pair.sites.at_sender(CHANGE)
    pair.partial()
    foreign = copy.publish(built)
    pair.sites.load([ArchiveKind.PARTIAL])
    found = status(pair)
    assert NEVER_SENT in told(pair)
    assert (found.count("waiting"), found.count("never sent")) == (0, 1)
    assert found.lag.data_until is not None
    assert found.lag.data_until > foreign.snapshot_at
    # To its own sender it is one that waits.
    assert (status(copy).count("waiting"), copy.waiting(foreign).exists()) == (1, True)


def test_parked_archive_of_another_sender_is_not_counted_as_its_own(
    pair: MediaSender, copy: MediaSender
) -> None:
    copy.partial()
    assert load(pair) == 1
    found = status(pair)
    assert (found.count("parked"), found.count("never sent")) == (0, 1)
    (note,) = [one.note for one in found.archives if one.state == "never sent"]
    assert "comes from database" in note
    assert not found.ok


def test_last_window_is_not_claimed_beside_a_report_that_is_not_believed(
    pair: MediaSender, copy: MediaSender
) -> None:
    copy.complete()
    load(pair)
    reason = status(pair).lag.because
    assert reason.startswith("the receiver's report is not believed")
    assert "last window" not in reason
