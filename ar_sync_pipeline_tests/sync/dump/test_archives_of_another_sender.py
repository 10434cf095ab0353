"""Another sender's archive in the spool says nothing about this sender's history."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import SenderIdentity
from ar_sync_pipeline.spool.states import list_quarantined
from ar_sync_pipeline_tests.fix_sites import recent_window, remake
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

OTHER = SenderIdentity(system_identifier="7", database="other", name="other")


@pytest.fixture
def pair(media_sender: MediaSender, tmp_path: Path) -> MediaSender:
    """A receiver that has quarantined an archive of another sender."""
    media_sender.complete()
    media_sender.sites.load()
    remake(media_sender.sites.partial(recent_window()), tmp_path / "other", sender=OTHER)
    assert media_sender.sites.load().loaded == ()
    assert len(list_quarantined(media_sender.sites.spool)) == 1
    return media_sender


def test_partial_joins_what_the_receiver_has(pair: MediaSender) -> None:
    assert not pair.partial().new_history
    report = pair.sites.load()
    assert report.chain is not None
    assert report.chain.gaps == ()


def test_dump_that_began_without_a_link_is_sent(pair: MediaSender) -> None:
    settings = pair.settings
    pair.settings = settings.model_copy(update={"remote_port": 1})
    build = pair.bundled_partial()
    pair.settings = settings
    assert not pair.publish(build).new_history


def test_archive_that_waits_may_be_of_this_senders_lost_history(pair: MediaSender) -> None:
    pair.sites.partial(recent_window())
    assert pair.partial().new_history
