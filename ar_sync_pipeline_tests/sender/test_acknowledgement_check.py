"""The check that the receiver answers, and that it has no archive of another sender."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import dagster as dg
import pytest

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.sender.acknowledgement_check import acknowledgement_check_result
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.spool.load_at_work import LoadAtWork
from ar_sync_pipeline.sync.dump.starting_point import StartingPoint
from ar_sync_pipeline_tests.alerts.operation import NO_GAP, Operation

ACKNOWLEDGED = dg.AssetCheckKey(NO_GAP.asset_key, "acknowledged")


@pytest.mark.long
def test_archive_of_another_sender_is_mailed_once_and_is_over_with_the_complete(
    operation: Operation,
) -> None:
    operation.run("complete_dump", "complete_loaddata", "partial_dump", "partial_loaddata")
    assert operation.found(ACKNOWLEDGED).passed
    other = ArchiveName(ArchiveKind.PARTIAL, datetime.now(UTC))
    (operation.watched.deployment.spool / "partial" / other.applied).write_bytes(b"")
    for _ in range(2):
        operation.run("partial_dump")
        assert not operation.found(ACKNOWLEDGED).passed
        operation.watched.tick("sender")
    (subject,) = operation.subjects
    assert "an archive that this sender never sent" in subject
    assert "stop the sender that should not publish here" in operation.watched.text(0)
    (operation.watched.deployment.spool / "partial" / other.applied).unlink()
    operation.run("complete_dump", "complete_loaddata", "partial_dump")
    assert operation.found(ACKNOWLEDGED).passed
    operation.watched.tick("sender")
    assert "Recovered" in operation.subjects[-1]


def test_what_is_not_believed_keeps_its_file_name_and_has_a_remedy_of_its_own() -> None:
    with pytest.raises(ReceiptError) as caught:
        LoadAtWork.parse(b'{"at":"2026-12-01T18:00:00Z"}', signing_keys=[b"key"])
    assert caught.value.remedy.endswith("if they have it, the receiver's next load signs again")
    problems = (
        f"{caught.value.problem}: {caught.value.remedy}",
        "backup_partial_20261201T180000.000000Z.tar: a receipt is not signed",
        "the receiver's checkpoint is not believed",
    )
    start = StartingPoint(None, None, None, (), problems)
    result = acknowledgement_check_result(start, cast(SenderSite, SimpleNamespace(names=ALONE)))
    assert result.description is not None
    assert result.description.startswith("receipts/load_at_work.json is not signed with")
    assert " again. backup_partial_2026" in result.description
    assert ". The receiver's checkpoint is not believed." in result.description
    assert "the receiver's next load writes" in str((result.metadata or {})["remedy"])
