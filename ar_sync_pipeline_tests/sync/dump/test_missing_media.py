"""A name in a row without a file is a finding as long as the file is missing and a row names it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from ar_sync_pipeline.sync.dump import bundle_media
from ar_sync_pipeline.sync.dump.media_journal import MEDIA_JOURNAL, open_journal
from ar_sync_pipeline_tests.sync.dump.test_media_of_partials import put
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender, names


@pytest.fixture
def sender(media_sender: MediaSender) -> MediaSender:
    """Return a sender whose newest partial contains a row that names a missing file."""
    media_sender.complete()
    media_sender.sites.load()
    media_sender.sites.at_sender("UPDATE app_child SET picture = 'lost.jpeg' WHERE id = 1")
    assert missing_of_partial(media_sender) == ("lost.jpeg",)
    return media_sender


def missing_of_partial(sender: MediaSender) -> tuple[str, ...]:
    """Publish and load a partial; return the missing files that it reports."""
    sender.partial()
    sender.sites.load()
    return reported(sender)


def reported(sender: MediaSender) -> tuple[str, ...]:
    assert sender.bundle is not None
    return (*sender.bundle.missing, *(name for name, _ in sender.bundle.refused))


@pytest.mark.long
def test_missing_file_is_a_finding_of_every_partial_and_complete(sender: MediaSender) -> None:
    assert [missing_of_partial(sender) for _ in range(3)] == [("lost.jpeg",)] * 3
    sender.complete()
    assert reported(sender) == ("lost.jpeg",)
    sender.sites.load()
    assert missing_of_partial(sender) == ("lost.jpeg",)


def test_finding_of_a_complete_is_one_of_the_next_partial(media_sender: MediaSender) -> None:
    media_sender.sites.at_sender("UPDATE app_child SET picture = 'lost.jpeg' WHERE id = 1")
    media_sender.complete()
    media_sender.sites.load()
    assert missing_of_partial(media_sender) == ("lost.jpeg",)


@pytest.mark.long
def test_restored_file_ends_the_finding_and_is_sent_though_its_time_is_old(
    sender: MediaSender,
) -> None:
    put(sender, "lost.jpeg", "restored")
    assert names(sender.partial()) == ["lost.jpeg"]
    assert reported(sender) == ()
    sender.sites.load()
    assert (sender.sites.receiver_media / "lost.jpeg").read_text() == "restored"
    assert missing_of_partial(sender) == ()


@pytest.mark.long
def test_restored_file_is_sent_again_if_its_partial_is_lost(sender: MediaSender) -> None:
    put(sender, "lost.jpeg", "restored")
    sender.waiting(sender.partial()).unlink()
    assert names(sender.partial()) == ["lost.jpeg"]
    sender.sites.load()
    assert names(sender.partial()) == []


@pytest.mark.long
def test_restored_file_is_sent_by_the_next_partial_if_its_complete_is_lost(
    sender: MediaSender,
) -> None:
    put(sender, "lost.jpeg", "restored")
    complete = sender.complete()
    assert reported(sender) == ()
    sender.waiting(complete).unlink()
    assert names(sender.partial()) == ["lost.jpeg"]
    sender.sites.load()
    assert (sender.sites.receiver_media / "lost.jpeg").read_text() == "restored"
    assert names(sender.partial()) == []


@pytest.mark.long
def test_restored_file_of_a_complete_that_is_applied_is_not_sent_again(
    sender: MediaSender,
) -> None:
    put(sender, "lost.jpeg", "restored")
    sender.complete()
    sender.sites.load()
    assert names(sender.partial()) == []
    with open_journal(sender.scratch) as journal:
        assert journal.owed() == ()


def test_finding_ends_when_no_row_names_the_file(sender: MediaSender) -> None:
    sender.sites.at_sender("UPDATE app_child SET picture = NULL WHERE id = 1")
    assert missing_of_partial(sender) == ()


@pytest.mark.long
def test_refused_name_is_a_finding_of_every_partial(sender: MediaSender) -> None:
    sender.sites.at_sender("UPDATE app_child SET picture = '../x.jpeg' WHERE id = 1")
    assert [missing_of_partial(sender) for _ in range(2)] == [("../x.jpeg",)] * 2
    sender.sites.at_sender("UPDATE app_child SET picture = NULL WHERE id = 1")
    assert missing_of_partial(sender) == ()


@pytest.mark.long
def test_table_too_large_to_be_read_keeps_the_finding_until_the_complete(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_media, "reads_watermark", lambda *_: False)
    sender.sites.at_sender("UPDATE app_child SET picture = NULL WHERE id = 1")
    assert missing_of_partial(sender) == ("lost.jpeg",)
    sender.complete()
    sender.sites.load()
    assert missing_of_partial(sender) == ()


def test_journal_keeps_a_limited_number_of_names(sender: MediaSender) -> None:
    with open_journal(sender.scratch) as journal:
        journal.keep_unresolved(["lost.jpeg"], ["x" * 5000, *(f"{n}.jpeg" for n in range(3000))])
        assert len(journal.unresolved()) == 1000
        journal.keep_unresolved(journal.unresolved(), ["a.jpeg"])
        assert journal.unresolved() == {"a.jpeg"}


@pytest.mark.long
def test_journal_of_an_earlier_version_keeps_what_it_knows(sender: MediaSender) -> None:
    put(sender, "1.jpeg", "sent before")
    sender.sites.at_sender("UPDATE app_child SET picture = '1.jpeg' WHERE id = 1")
    assert names(sender.partial()) == ["1.jpeg"]
    sender.sites.load()
    with closing(sqlite3.connect(sender.scratch / MEDIA_JOURNAL)) as journal:
        journal.executescript("DROP TABLE unresolved; PRAGMA user_version = 1")
    sender.sites.at_sender("UPDATE app_child SET amount = amount + 1 WHERE id = 1")
    assert names(sender.partial()) == [], "the receiver is still known to have it"
