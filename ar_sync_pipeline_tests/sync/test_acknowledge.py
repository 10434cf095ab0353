"""The receiver's reports to the sender stay readable, however much is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.spool.checkpoint import MOST_PARKED, read_checkpoint
from ar_sync_pipeline.spool.layout import PARKED
from ar_sync_pipeline.spool.reasons import Reason, reason_path
from ar_sync_pipeline.sync.load.acknowledge import acknowledge
from ar_sync_pipeline_tests.fix_sites import TwoSites

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def test_position_names_many_parked_archives_with_the_longest_reasons(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    for number in range(MOST_PARKED + 5):
        name = ArchiveName(ArchiveKind.PARTIAL, NOW - timedelta(minutes=number))
        archive = filled.spool / PARKED / name.waiting
        archive.write_bytes(b"")
        # Anybody who may write to the spool may have written it.
        reason = Reason(reason="\x01" * 2000, remedy="", error="", since=NOW, at=NOW)
        reason_path(archive).write_text(reason.model_dump_json())
    with connect(filled.receiver, application="test") as connection:
        acknowledge(filled.settings, connection, lambda: NOW)
    position = read_checkpoint(filled.spool)
    assert position is not None
    assert len(position.parked) == MOST_PARKED
    assert position.parked[0].reason.startswith("\x01")
