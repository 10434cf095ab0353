"""A receiver with wrong reports, malicious or not, never makes the sender omit a row."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ar_sync_pipeline.archive.manifest import Manifest, Watermark
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.sftp import protocol
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.spool_folders import list_names, read_small_file
from ar_sync_pipeline.spool.receipts import ReceiptState
from ar_sync_pipeline.sync.dump import receiver_files
from ar_sync_pipeline.sync.dump.assemble import archive_id_of
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView, observe_receiver
from ar_sync_pipeline.sync.dump.sender_endpoint import endpoint
from ar_sync_pipeline.sync.dump.sender_journal import read_sent
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE
from ar_sync_pipeline.sync.dump.starting_point import starting_point, unacknowledged
from ar_sync_pipeline_tests.fix_sites import CHILDREN, rows
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

Json = dict[str, Any]
# The row looks old, so that only the checkpoint shows that it is new.
LATE_ROW = (
    "INSERT INTO app_child (parent_id, amount, changed) VALUES (1, -1, now() - interval '1 day')"
)
FUTURE = "2999-01-01T00:00:00Z"
FAR = "900000:900000:"


def follows(mark: Json) -> Json:
    """Return the point with the id that is derived from its facts, as a skilled attacker would."""
    return mark | {"archive_id": str(archive_id_of(Watermark.model_validate(mark)))}


LIES: dict[str, Callable[[Json], Json]] = {
    "dated in the future": lambda mark: mark | {"snapshot_at": FUTURE},
    "dated in the future, with its id": lambda mark: follows(mark | {"snapshot_at": FUTURE}),
    "dated a moment later": lambda mark: mark | {"snapshot_at": datetime.now(UTC).isoformat()},
    "a later snapshot": lambda mark: mark | {"snapshot": FAR},
    "a later snapshot, with its id": lambda mark: follows(
        mark | {"snapshot": FAR, "snapshot_at": datetime.now(UTC).isoformat()}
    ),
    "writes that began later": lambda mark: mark | {"oldest_write_at": FUTURE},
    "another place in the log": lambda mark: mark | {"lsn": mark["lsn"] + 1},
    "no traces": lambda mark: mark | {"traces": None},
    "other traces": lambda mark: mark | {"traces": "3c,4a"},
    "another timeline": lambda mark: mark | {"timeline": 2},
    "another deployment": lambda mark: follows(mark | {"system_identifier": "1"}),
    "an archive that was never sent": lambda mark: mark | {"archive_id": str(uuid4())},
    "no archive": lambda mark: mark | {"archive_id": None},
    "digits without end": lambda mark: mark | {"snapshot": f"{'9' * 5000}:{'9' * 5000}:"},
    "ids beyond all": lambda mark: mark | {"snapshot": f"{2**64}:{2**64}:"},
    "an end before its start": lambda mark: mark | {"snapshot": "9:8:"},
    "transactions out of order": lambda mark: mark | {"snapshot": "5:9:7,6"},
    "a long list": lambda mark: mark | {"snapshot": "1:9999:" + ",".join(map(str, range(1, 9000)))},
    "an identifier without end": lambda mark: mark | {"system_identifier": "7" * 5000},
    "a place beyond the log": lambda mark: mark | {"lsn": 2**63},
}


@pytest.fixture
def sender(media_sender: MediaSender) -> MediaSender:
    """Return a sender with a new row that looks old; the receiver has a complete."""
    media_sender.complete()
    media_sender.sites.load()
    media_sender.sites.at_sender(LATE_ROW)
    return media_sender


def checkpoint_file(sender: MediaSender) -> Path:
    return sender.sites.spool / "receipts" / "position.json"


def lie(sender: MediaSender, change: Callable[[Json], Json]) -> None:
    checkpoint = json.loads(checkpoint_file(sender).read_text())
    checkpoint["watermark"] = change(checkpoint["watermark"])
    checkpoint_file(sender).write_text(json.dumps(checkpoint))


def look(sender: MediaSender) -> ReceiverView:
    return observe_receiver(sender.settings, utc_now)


def rows_of_children(manifest: Manifest) -> int:
    return next((t.row_count for t in manifest.tables if t.name == "app_child"), 0)


def is_dated_now(manifest: Manifest) -> bool:
    return manifest.snapshot_at < datetime.now(UTC)


@pytest.mark.parametrize("change", LIES.values(), ids=list(LIES))
def test_no_lie_about_the_checkpoint_leaves_out_a_row_or_dates_an_archive(
    sender: MediaSender, change: Callable[[Json], Json]
) -> None:
    lie(sender, change)
    (problem,) = look(sender).problems
    assert "position.json" in problem
    assert "delete" in problem
    partial = sender.partial()
    assert rows_of_children(partial) >= 1
    assert is_dated_now(partial)


def test_problem_ends_without_a_full_stop_so_that_a_sentence_of_it_has_one(
    sender: MediaSender,
) -> None:
    checkpoint_file(sender).write_text("{")
    (problem,) = look(sender).problems
    assert problem.endswith("delete the file; the receiver's next run writes it again")


def test_after_a_lie_the_checkpoint_that_was_believed_last_counts(sender: MediaSender) -> None:
    honest = look(sender).checkpoint
    assert honest is not None
    lie(sender, LIES["a later snapshot, with its id"])
    assert look(sender).checkpoint == honest
    assert rows_of_children(sender.partial()) == 1


def test_without_any_checkpoint_to_believe_everything_that_is_remembered_is_carried(
    sender: MediaSender,
) -> None:
    first = read_sent(sender.scratch)[0].watermark
    lie(sender, LIES["an archive that was never sent"])
    assert starting_point(sender.settings, datetime.now(UTC)).since == first


def test_archive_in_the_folder_of_the_other_kind_counts_as_lost(sender: MediaSender) -> None:
    """The receiver does not load it from there."""
    sender.sites.at_sender(LATE_ROW)
    lost = sender.partial()
    waiting = sender.waiting(lost)
    waiting.rename(sender.sites.spool / "complete" / waiting.name)
    assert look(sender).waiting == frozenset()
    assert rows_of_children(sender.partial()) == rows_of_children(lost)


def test_checkpoint_that_says_nothing_any_more_leaves_out_no_row(sender: MediaSender) -> None:
    look(sender)
    checkpoint = json.loads(checkpoint_file(sender).read_text())
    checkpoint_file(sender).write_text(json.dumps(checkpoint | {"watermark": None}))
    for _ in range(2):
        assert rows_of_children(sender.partial()) == 1


def test_replayed_older_checkpoint_makes_the_partial_larger(sender: MediaSender) -> None:
    old = checkpoint_file(sender).read_bytes()
    sender.partial()
    sender.sites.load()
    sender.sites.at_sender(LATE_ROW)
    checkpoint_file(sender).write_bytes(old)
    assert look(sender).problems == ()
    assert rows_of_children(sender.partial()) == 2


class TestWithoutTheJournal:
    """On a new machine, whose scratch folder is empty."""

    @pytest.fixture
    def renewed(self, sender: MediaSender) -> MediaSender:
        (sender.scratch / SENT_FILE).unlink()
        return sender

    def test_honest_checkpoint_counts(self, renewed: MediaSender) -> None:
        partial = renewed.partial()
        assert partial.since is not None
        # All of them: which tables the archives before had is forgotten too.
        assert rows_of_children(partial) == len(rows(renewed.sites.sender, CHILDREN)) > 1

    def test_honest_checkpoint_still_counts_while_the_first_partial_waits(
        self, renewed: MediaSender
    ) -> None:
        renewed.partial()
        assert look(renewed).problems == ()

    @pytest.mark.parametrize(
        "name", [name for name in LIES if not name.endswith("with its id") and "deploy" not in name]
    )
    def test_checkpoint_that_does_not_agree_with_itself_is_not_believed(
        self, renewed: MediaSender, name: str
    ) -> None:
        lie(renewed, LIES[name])
        assert look(renewed).checkpoint is None
        assert len(look(renewed).problems) == 1

    @pytest.mark.parametrize("name", ["a later snapshot, with its id", "another deployment"])
    def test_checkpoint_beyond_the_database_or_of_another_one_starts_nothing(
        self, renewed: MediaSender, name: str
    ) -> None:
        lie(renewed, LIES[name])
        partial = renewed.partial()
        assert partial.since is None
        assert is_dated_now(partial)

    def test_checkpoint_of_another_deployment_is_not_believed_once_an_archive_was_sent(
        self, renewed: MediaSender
    ) -> None:
        renewed.complete()
        lie(renewed, lambda mark: LIES["another deployment"](
            mark | {"snapshot_at": datetime.now(UTC).isoformat()}
        ))  # fmt: skip
        assert len(look(renewed).problems) == 1


def receipt_of(sender: MediaSender) -> Path:
    (path,) = (sender.sites.spool / "receipts").glob("backup_*.json")
    return path


FORGERIES: dict[str, Json] = {
    "another archive": {"archive": "backup_complete_20200101T000000.000000Z.tar"},
    "another id": {"archive_id": str(uuid4())},
    "no id": {"archive_id": None},
    "a state that there is not": {"state": "adored"},
    "a date beyond the calendar": {"at": "9999-12-31T23:59:59Z"},
    "a reason without end": {"reason": "x" * 100_000},
}


class TestReceipts:
    """An archive is acknowledged by the content of a receipt, not by a file of its name."""

    def late(self, sender: MediaSender) -> int:
        """Return how many archives count as not acknowledged, without a checkpoint."""
        checkpoint_file(sender).unlink()
        (sender.scratch / "ar_sync_position.json").unlink(missing_ok=True)
        now = datetime.now(UTC) + timedelta(hours=1)
        return len(
            unacknowledged(look(sender), read_sent(sender.scratch), now, timedelta(minutes=30))
        )

    def test_honest_receipt_acknowledges(self, sender: MediaSender) -> None:
        assert self.late(sender) == 0

    @pytest.mark.parametrize("change", FORGERIES.values(), ids=list(FORGERIES))
    def test_wrong_receipt_acknowledges_nothing_and_is_named(
        self, sender: MediaSender, change: Json
    ) -> None:
        path = receipt_of(sender)
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        assert len(look(sender).problems) == 1
        assert self.late(sender) == 1

    @pytest.mark.parametrize("content", [b"", b"null", b"[" * 60_000, b"x" * 10_000_000])
    def test_damaged_receipt_acknowledges_nothing_and_stops_no_dump(
        self, sender: MediaSender, content: bytes
    ) -> None:
        receipt_of(sender).write_bytes(content)
        assert len(look(sender).problems) == 1
        assert rows_of_children(sender.partial()) == 1
        assert self.late(sender) >= 1

    @pytest.mark.parametrize("name", ["backup_*", "position.json", "capabilities.json"])
    def test_file_that_the_account_may_not_read_is_named_and_stops_no_dump(
        self, sender: MediaSender, name: str
    ) -> None:
        (path,) = (sender.sites.spool / "receipts").glob(name)
        path.chmod(0)
        (problem,) = look(sender).problems
        assert "not permitted" in problem
        assert path.name in problem
        partial = sender.partial()
        assert rows_of_children(partial) == 1
        assert not partial.new_history, "what cannot be read is not lost"

    @pytest.mark.parametrize("name", ["receipts", "complete", "partial"])
    def test_folder_that_the_account_may_not_list_is_named_and_stops_no_dump(
        self, sender: MediaSender, name: str
    ) -> None:
        folder = sender.sites.spool / name
        mode = folder.stat().st_mode
        folder.chmod(0o300)
        try:
            (problem,) = look(sender).problems
            assert f"listing /spool/{name}" in problem
            assert rows_of_children(sender.partial()) == 1
        finally:
            folder.chmod(mode)

    def test_receipt_of_an_unreadable_archive_has_no_id(self, sender: MediaSender) -> None:
        path = receipt_of(sender)
        receipt = json.loads(path.read_text())
        refused = {"archive_id": None, "state": str(ReceiptState.QUARANTINED)}
        path.write_text(json.dumps(receipt | refused))
        assert self.late(sender) == 0

    def test_receipts_of_archives_that_were_never_sent_are_not_read(
        self, sender: MediaSender
    ) -> None:
        folder = sender.sites.spool / "receipts"
        for second in range(60):
            (folder / f"backup_partial_20261123T1200{second:02}.000000Z.tar.json").write_bytes(b"?")
        assert look(sender).problems == ()

    def test_receipt_is_read_once_and_only_so_many_at_a_time(
        self, sender: MediaSender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(receiver_files, "MOST_RECEIPTS", 0)
        sender.partial()
        sender.sites.load()
        read = list[str]()

        def counting(session: Any, path: Any, most: int) -> bytes:
            read.append(path.name)
            return read_small_file(session, path, most)

        monkeypatch.setattr(receiver_files, "read_small_file", counting)
        monkeypatch.setattr(receiver_files, "MOST_RECEIPTS", 1)
        views = [look(sender) for _ in range(3)]
        assert [len(view.receipts) for view in views] == [1, 2, 2]
        assert len([name for name in read if name.startswith("backup")]) == 2

    def test_folder_of_endless_names_is_not_listed_to_its_end(
        self, sender: MediaSender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(60):
            (sender.sites.spool / "receipts" / f"{number}.json").touch()
        monkeypatch.setattr(protocol, "MOST_ENTRIES", 10)
        settings = sender.settings
        with open_session(endpoint(settings)) as session:
            assert len(list_names(session, settings.remote_bkp_fldr / "receipts")) <= 10

    def test_folder_of_long_names_is_not_listed_to_its_end(
        self, sender: MediaSender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(300):
            (sender.sites.spool / "receipts" / f"{number:200}.json").touch()
        monkeypatch.setattr(protocol, "MOST_NAMES_BYTES", 1_000)
        settings = sender.settings
        with open_session(endpoint(settings)) as session:
            # What one reply holds is listed whole.
            assert len(list_names(session, settings.remote_bkp_fldr / "receipts")) < 300

    def test_checkpoint_is_not_read_beyond_its_limit(self, sender: MediaSender) -> None:
        checkpoint_file(sender).write_bytes(b" " * 5_000_000)
        (problem,) = look(sender).problems
        assert "larger than" in problem
        assert rows_of_children(sender.partial()) >= 1
