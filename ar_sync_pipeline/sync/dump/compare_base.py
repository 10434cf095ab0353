"""Comparison of a complete's tables with the base: what the receiver is known to have of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

import ar_sync_pipeline
from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.dump_session import DumpSession
from ar_sync_pipeline.export.held_tables import HeldTable
from ar_sync_pipeline.export.history import may_precede
from ar_sync_pipeline.export.object_ids import ObjectIds
from ar_sync_pipeline.export.row_versions import judged_tables
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.kept_manifests import Base
from ar_sync_pipeline.sync.dump.known_objects import objects_of
from ar_sync_pipeline.sync.dump.sent_archives import (
    DigestsOf,
    digests_of,
    tables_with_other_rules,
)

# A daily complete is not made at the same second each day.
_EARLIER = timedelta(hours=1)


def has_same_history(session: DumpSession, base: Base) -> bool:
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
        before: When all digests of the base were computed, if those of unchanged chunks are taken
            from it; None: all are computed.
    """

    held: Mapping[str, HeldTable]
    before: DigestsOf | None = None

    def digests(self, snapshot_at: datetime, misjudged: dict[str, int]) -> DigestsOf:
        """Return when all digests are computed, and what was found then.

        Args:
            misjudged: Number of chunks by table that are found to differ in this complete.
        """
        if self.before is not None:
            return self.before.model_copy(update={"snapshot_at": snapshot_at})
        return DigestsOf(snapshot_at=snapshot_at, computed_at=snapshot_at, misjudged=misjudged)

    @classmethod
    def of(
        cls,
        session: DumpSession,
        catalog: Catalog,
        build: BuildFolder,
        base: Base | None,
        rules: Mapping[str, str],
        objects: ObjectIds,
        verify_after: timedelta,
    ) -> Self:
        """Decide how to compare with a base, if there is one.

        Args:
            rules: Result of `rule_digests`.
            objects: Result of `read_object_ids`.
            verify_after: Age of digests from which those of unchanged chunks are computed again.
        """
        if base is None:
            return cls({})
        now = session.snapshot.watermark.snapshot_at
        before = digests_of(build.path.parent, base.manifest.snapshot_at)
        if before is not None and now - before.computed_at >= verify_after - _EARLIER:
            before = None
        judged = _judged(session, build, base, rules, objects)
        held = base.held_tables(catalog, session.tables, judged, digests_all=before is None)
        return cls(held, before)


def tables_read_otherwise(
    session: DumpSession,
    build: BuildFolder,
    since: Watermark,
    rules: Mapping[str, str],
    objects: ObjectIds,
) -> frozenset[str]:
    """Return tables that were read by other rules, or in another schema, for an earlier archive."""
    scratch = build.path.parent
    before = objects_of(scratch, since.snapshot_at)
    moved = objects.tables_of_others(before, session.tables) if before else frozenset()
    return moved | tables_with_other_rules(scratch, since, rules)


def _judged(
    session: DumpSession,
    build: BuildFolder,
    base: Base,
    rules: Mapping[str, str],
    objects: ObjectIds,
) -> frozenset[str]:
    """Return the tables whose row versions show every change since the base."""
    if base.manifest.product_version != ar_sync_pipeline.__version__:
        return frozenset()  # it may have exported other values, or computed other digests
    since, now = base.manifest.watermark, session.snapshot.watermark
    judged = judged_tables(session.connection, session.tables, since, now)
    return judged - tables_read_otherwise(session, build, since, rules, objects)
