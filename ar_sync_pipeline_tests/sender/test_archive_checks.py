"""What the checks of an archive say."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
import time_machine

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.files import open_file
from ar_sync_pipeline.operations.asset_keys import media_bundle_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.sender.archive_assets import lost_in_words
from ar_sync_pipeline_tests.alerts.operation import Operation
from ar_sync_pipeline_tests.fix_sites import execute

OPENER = "ar_sync_pipeline.media.hash_media.open_file"


@pytest.mark.parametrize(
    ("missing", "refused", "said"),
    [
        (0, 0, "Every file that a row names was found."),
        (2, 0, "2 names in rows have no file."),
        (0, 1, "1 name of a file, or in rows, cannot be sent."),
        (2, 1, "2 names in rows have no file, and 1 name of a file, or in rows, cannot be sent."),
    ],
)
def test_refused_name_of_a_file_is_not_told_as_one_of_a_row(
    missing: int, refused: int, said: str
) -> None:
    assert lost_in_words(missing, refused) == said


def test_each_kind_of_lost_file_is_said_with_a_name_and_its_reason() -> None:
    first = ("lost.jpeg", "../a.jpeg: it leads out of the folder", "b.jpeg: it cannot be read")
    assert lost_in_words(2, 1, 10, first) == (
        "2 names in rows have no file, such as lost.jpeg, and 1 name of a file, or in rows, cannot"
        " be sent, such as ../a.jpeg: it leads out of the folder, and 10 files could not be sent by"
        " earlier archives, and cannot now, such as b.jpeg: it cannot be read."
    )
    assert lost_in_words(0, 0, 1, first).endswith("cannot now, such as b.jpeg: it cannot be read.")


@pytest.mark.long
def test_file_that_stays_unreadable_is_mailed_after_an_hour(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation.run("complete_dump", "complete_loaddata")
    deployment, key = operation.watched.deployment, media_bundle_key(ArchiveKind.PARTIAL, ALONE)
    (deployment.folder / "sender_media" / "closed.jpeg").write_bytes(b"x")
    monkeypatch.setattr(OPENER, refuse(open_file, "closed.jpeg"))
    for late in (0, 1, 1):
        operation.run("partial_dump")
        operation.tick()
        found = operation.found(dg.AssetCheckKey(key, "references_resolved"))
        assert found.passed is (late == 0)
        assert found.metadata.get("late_files") == dg.IntMetadataValue(late)
        assert ("such as closed.jpeg" in (found.description or "")) is (late == 1)
    assert operation.subjects == []
    operation.now += timedelta(hours=2)
    with time_machine.travel(operation.now):
        operation.run("partial_dump")
    operation.tick()
    (subject,) = operation.subjects
    assert "1 file could not be sent by earlier archives, and cannot now" in subject
    said = str(operation.found(dg.AssetCheckKey(key, "references_resolved")).description)
    assert said.endswith("such as closed.jpeg: it cannot be read (Permission denied).")


@pytest.mark.long
def test_name_without_a_file_and_name_that_cannot_be_sent_are_in_the_message(
    operation: Operation,
) -> None:
    url, key = (
        operation.watched.deployment.sender_url,
        media_bundle_key(ArchiveKind.COMPLETE, ALONE),
    )
    for number, name in ((1, "lost.jpeg"), (2, "../out.jpeg")):
        query = f"UPDATE app_child SET picture = '{name}' WHERE id = {number}"
        execute(url, query)
    operation.run("complete_dump")
    said = str(operation.found(dg.AssetCheckKey(key, "references_resolved")).description)
    assert "no file, such as lost.jpeg, and 1 name" in said
    assert "cannot be sent, such as ../out.jpeg: " in said


@pytest.mark.long
def test_other_files_that_are_late_the_next_night_are_not_mailed_at_once(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy into the folder is at work at each complete; partials send its files minutes later."""
    operation.run("complete_dump", "complete_loaddata")
    key = dg.AssetCheckKey(media_bundle_key(ArchiveKind.COMPLETE, ALONE), "references_resolved")
    for night in ("first.jpeg", "second.jpeg"):
        media = operation.watched.deployment.folder / "sender_media"
        (media / night).write_bytes(b"x")
        os.utime(media / night, (operation.now.timestamp(),) * 2)
        with monkeypatch.context() as patches:
            patches.setattr(OPENER, refuse(open_file, night))
            for job in ("partial_dump", "complete_dump"):
                run(operation, job)
        assert not operation.found(key).passed
        for _ in range(2):
            run(operation, "partial_dump")
        operation.now += timedelta(hours=20)
    assert not [one for one in operation.subjects if "could not be sent" in one]


def run(operation: Operation, job: str) -> None:
    operation.now += timedelta(minutes=5)
    with time_machine.travel(operation.now):
        operation.run(job)
    operation.tick()


def refuse(opened: Callable[[int, str], Any], closed: str) -> Callable[[int, str], Any]:
    def attempt(parent: int, name: str) -> Any:
        if name == closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(parent, name)

    return attempt
