"""Comparison of a complete's tables with the base: what the receiver is known to have of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

import ar_sync_pipeline
from ar_sync_pipeline.archive.manifest import BaseArchive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.dump_session import DumpSession
from ar_sync_pipeline.export.held_tables import HeldTable
from ar_sync_pipeline.export.history import may_precede
from ar_sync_pipeline.export.row_versions import judged_tables
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.sync.dump.journal_of_tables import digests_of
from ar_sync_pipeline.sync.dump.kept_manifests import Base
from ar_sync_pipeline.sync.dump.reading import Reading
from ar_sync_pipeline.sync.dump.sender_journal_file import DigestsOf

# A daily complete is not made at the same second each day.
_EARLIER = timedelta(hours=1)


def _has_same_history(session: DumpSession, base: Base) -> bool:
    """Return whether digests of an earlier complete, and of the receiver, are comparable."""
    now, then = session.snapshot.watermark, base.manifest.watermark
    return (
        then.snapshot_at < now.snapshot_at
        and may_precede(then, now)
        and session.snapshot.database == base.manifest.sender.database
        and probe_digest(session.connection) == base.manifest.digest_probe == base.digest_probe
    )


@dataclass(frozen=True)
class Comparison:
    """How the tables of a complete are compared with its base.

    Attributes:
        held: What the receiver has, by table.
        base: Complete to compare with; None: everything is carried.
        before: When all digests of the base were computed, if those of unchanged chunks are taken
            from it; None: all are computed.
    """

    held: Mapping[str, HeldTable]
    base: Base | None = None
    before: DigestsOf | None = None

    def digests(self, snapshot_at: datetime, misjudged: dict[str, int]) -> DigestsOf:
        """Return the time of the last full computation of digests, and its findings.

        Args:
            misjudged: Number of chunks by table that are found to differ in this complete.
        """
        if self.before is not None:
            return self.before.model_copy(update={"snapshot_at": snapshot_at})
        return DigestsOf(snapshot_at=snapshot_at, computed_at=snapshot_at, misjudged=misjudged)

    @property
    def described(self) -> dict[str, object]:
        """Fields of the dump about the base."""
        if self.base is None:
            return {}
        manifest = self.base.manifest
        return {
            "base": BaseArchive(archive_id=manifest.archive_id, snapshot_at=manifest.snapshot_at),
            "held_at": self.base.reached,
            "lacking": self.base.lacking,
        }

    @classmethod
    def of(
        cls, reading: Reading, catalog: Catalog, base: Base | None, verify_after: timedelta
    ) -> Self:
        """Decide how to compare with a base, if there is one and it is of the same history.

        Args:
            verify_after: Age of digests from which those of unchanged chunks are computed again.
        """
        session = reading.session
        if base is None or reading.new_history or not _has_same_history(session, base):
            return cls({})
        now = session.snapshot.watermark.snapshot_at
        before = digests_of(reading.scratch, base.manifest.snapshot_at)
        if before is not None and now - before.computed_at >= verify_after - _EARLIER:
            before = None
        judged = _judged(reading, base)
        held = base.held_tables(catalog, session.tables, judged, digests_all=before is None)
        return cls(held, base, before)


def _judged(reading: Reading, base: Base) -> frozenset[str]:
    """Return the tables whose row versions show every change since the base."""
    if base.manifest.product_version != ar_sync_pipeline.__version__:
        return frozenset()  # it may have exported other values, or computed other digests
    session, since = reading.session, base.manifest.watermark
    judged = judged_tables(session.connection, session.tables, since, session.snapshot.watermark)
    return judged - reading.read_otherwise(since)
