"""The check that the receiver answers, and that it has no archive of another sender."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
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
