"""A sender removes the parts of its own uploads that nobody continues, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.archive.spool_names import INCOMING
from ar_sync_pipeline.sync.dump import publish
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.given_up import given_up
from ar_sync_pipeline.sync.dump.publish import publish_archive
from ar_sync_pipeline.sync.dump.table_dump import TableDump
from ar_sync_pipeline_tests.sync.fix_differential import put
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

MARK = "0123456789abcdef"


class Interrupted(BaseException):
    """The process of a run ends in the middle of its upload."""


@pytest.fixture
def sender(media_sender: MediaSender) -> MediaSender:
    put(media_sender, "1.jpeg", b"picture")
    return media_sender


def parts(sender: MediaSender) -> list[Path]:
    return sorted((sender.sites.spool / INCOMING).glob("*.part"))


def begin(sender: MediaSender, build: BuildFolder) -> Path:
    """Interrupt the upload of an archive, and return its part."""
    before = parts(sender) if (sender.sites.spool / INCOMING).exists() else []

    def interrupt(done_bytes: int, _total_bytes: int) -> None:
        if done_bytes:
            raise Interrupted

    with pytest.raises(Interrupted):
        publish_archive(sender.settings, build, lambda: datetime.now(UTC), progress=interrupt)
    (part,) = set(parts(sender)) - {*before}
    return part


Bundle = Callable[[MediaSender], BuildFolder]


@pytest.fixture(params=["complete", "partial"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """Return how a run makes an archive of a kind."""
    kind: str = request.param
    return lambda sender: getattr(sender, f"bundled_{kind}")()


def test_part_of_a_run_that_is_over_goes(sender: MediaSender, bundle: Bundle) -> None:
    build = bundle(sender)
    begin(sender, build)
    build.remove()
    sender.publish(bundle(sender))
    assert parts(sender) == []


def test_part_of_a_run_at_work_stays_and_is_resumed(sender: MediaSender, bundle: Bundle) -> None:
    """One of the two runs was started by hand, beside that of the daemon."""
    first, second = bundle(sender), bundle(sender)
    part = begin(sender, first)
    sender.publish(second)
    assert parts(sender) == [part]
    sender.publish(first)
    assert parts(sender) == []


def test_part_of_another_sender_stays_however_old_it_is(
    sender: MediaSender, bundle: Bundle
) -> None:
    """Another pair sends to the same spool."""
    build = bundle(sender)
    mine = begin(sender, build)
    build.remove()
    name = ArchiveName.parse(mine.name.partition(".tar")[0] + ".tar")
    assert name is not None
    other = ArchiveName(name.kind, name.snapshot_at - timedelta(hours=30))
    foreign = mine.with_name(f"{other.waiting}.{MARK}.part")
    foreign.write_bytes(b"half an archive")
    sender.publish(bundle(sender))
    assert parts(sender) == [foreign]


def test_sender_whose_journal_is_lost_removes_nothing(sender: MediaSender, bundle: Bundle) -> None:
    build = bundle(sender)
    part = begin(sender, build)
    build.remove()
    (sender.scratch / "ar_sync_sent.json").unlink()
    sender.publish(bundle(sender))
    assert parts(sender) == [part]


def test_damaged_build_folder_is_resumed_by_nobody(sender: MediaSender) -> None:
    build = sender.bundled_complete()
    begin(sender, build)
    at = build.read(TableDump).watermark.snapshot_at
    names = {ArchiveName.parse(part.name.partition(".tar")[0] + ".tar") for part in parts(sender)}
    archives = [name for name in names if name]
    assert [name.snapshot_at for name in archives] == [at]
    assert given_up(sender.scratch, archives) == set()
    (build.path / "TableDump.json").write_bytes(b"{")
    assert given_up(sender.scratch, archives) == {*archives}


def test_points_of_failed_uploads_are_kept_as_those_that_cannot_have_arrived(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a rename that was not answered leaves one that may have."""
    build = sender.bundled_partial()
    begin(sender, build)
    assert arriving(sender) == []
    with monkeypatch.context() as patch:
        patch.setattr(publish, "remember_sent", killed)
        with pytest.raises(Interrupted):
            sender.publish(build)
    at = build.read(TableDump).watermark.snapshot_at
    assert arriving(sender) == [at]
    sender.publish(build)
    assert arriving(sender) == [], "it is recorded as sent"


def killed(*_: object) -> None:
    raise Interrupted


def arriving(sender: MediaSender) -> list[datetime]:
    journal = json.loads((sender.scratch / "ar_sync_sent.json").read_bytes())
    return [datetime.fromisoformat(at) for at in journal["arriving"]]
