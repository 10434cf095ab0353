"""How a dump reads the tables, compared with how the archives before it were read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.export.definition_changes import (
    columns_with_stored_default,
    has_other_values,
    redefined_tables,
)
from ar_sync_pipeline.export.dump_session import DumpSession
from ar_sync_pipeline.export.history import comparable, has_traces, may_precede
from ar_sync_pipeline.export.masking import NO_RULES
from ar_sync_pipeline.export.object_ids import ObjectIds, read_object_ids
from ar_sync_pipeline.export.selection import Selection
from ar_sync_pipeline.postgres.table_definitions import TableDefinition, read_definitions
from ar_sync_pipeline.spool.receipts import ReceiptState
from ar_sync_pipeline.sync.dump.coverage import uncovered_at
from ar_sync_pipeline.sync.dump.journal_of_tables import remember_rules, remember_unread, rules_at
from ar_sync_pipeline.sync.dump.kept_manifests import tables_of_complete
from ar_sync_pipeline.sync.dump.known_clocks import (
    Reread,
    last_reread,
    remember_clocks,
    remember_reread,
    set_back_since,
)
from ar_sync_pipeline.sync.dump.known_definitions import definitions_at, remember_definitions
from ar_sync_pipeline.sync.dump.known_objects import databases_at, objects_of, remember_objects
from ar_sync_pipeline.sync.dump.known_rules import FoundRuled
from ar_sync_pipeline.sync.dump.sender_journal import own_points, read_sent
from ar_sync_pipeline.sync.dump.sender_journal_file import UnreadTables
from ar_sync_pipeline.sync.dump.table_dump import PartialRequest, Reported


@dataclass(frozen=True)
class Reading:
    """The point from which a dump knows the changes, and what it reads the tables by.

    Attributes:
        ruled: Values under a rule, as they are now.
        rules: Digests of the column rules, by replicated table.
        objects: Ids of the database, the schemas and the tables.
        untracked: Definitions of the tables that partials do not read.
        since: Requested starting point; None if transaction ids cannot be compared with it.
        new_history: Whether that point, or a later one that the receiver has or may have, is not in
            the current history of the database.
        reported: What else the receiver reports.
    """

    session: DumpSession
    ruled: FoundRuled
    rules: Mapping[str, str]
    objects: ObjectIds
    untracked: Mapping[str, TableDefinition]
    since: Watermark | None
    new_history: bool
    reported: Reported

    @property
    def scratch(self) -> Path:
        """Scratch folder, with the journals of earlier archives."""
        return self.ruled.scratch

    @classmethod
    def begin(
        cls,
        session: DumpSession,
        ruled: FoundRuled,
        rules: Mapping[str, str],
        untracked: Collection[str],
        since: Watermark | None,
        reported: Reported,
    ) -> Self:
        """Compare the starting point, and all points after it, with the database as it is now.

        The receiver may have any archive after the starting point whose upload began.

        Args:
            untracked: Tables that partials do not read.
        """
        now, scratch = session.snapshot.watermark, ruled.scratch
        remember_clocks(scratch, now.snapshot_at, session.snapshot.clocks)
        objects = read_object_ids(session.connection, session.tables)
        history = _History(session, scratch, objects)
        later = [*own_points(scratch, since, now.snapshot_at)]
        if reported.claimed is not None:
            later.append(reported.claimed)
        is_foreign = since is not None and not history.has([since])
        return cls(
            session,
            ruled,
            rules,
            objects,
            read_definitions(session.connection, {n: session.tables[n] for n in untracked}),
            since=None if is_foreign else comparable(since, now),
            new_history=is_foreign or reported.has_unknown or not history.has(later),
            reported=reported,
        )

    def selection(self, request: PartialRequest) -> Selection:
        """Return the criteria of a partial's changed rows: also those of a clock set back.

        Where that is unknown, the large tables are read once, not again by each partial from the
        same point while the receiver applies none. Those that follow find what is written later.
        """
        if self.since is None:
            return Selection(request.changed_at, None, request.look_back)
        set_back = self._set_back_since(self.since)
        read = self._parked_reread(self.since) if set_back is None else None
        later = self._set_back_since(read.at) if read else None
        if read and later is not None:
            set_back = read.until_then + later
        return Selection(
            request.changed_at,
            self.since,
            request.look_back + (set_back or timedelta()),
            clock_is_unproved=set_back is None or read is not None,
            rereads=set_back is None,
        )

    def _set_back_since(self, point: Watermark) -> timedelta | None:
        clocks = self.session.snapshot.clocks
        return set_back_since(self.scratch, point.snapshot_at, clocks)

    def _parked_reread(self, since: Watermark) -> Reread | None:
        """Return the partial that read the large tables for a point, if the receiver keeps it.

        If it waited, this one would start from it.
        """
        read = last_reread(self.scratch, since)
        parked = {
            archive.watermark.snapshot_at
            for archive in read_sent(self.scratch)
            if archive.state is ReceiptState.PARKED
        }
        return read if read is not None and read.at.snapshot_at in parked else None

    def redefined(self) -> frozenset[str]:
        """Return tables whose unchanged rows may have other values than in an earlier archive."""
        if self.since is None:
            return frozenset()
        tables = self.session.tables
        changed = redefined_tables(self.session.connection, tables, self.since)
        return changed | (self.read_otherwise(self.since) & tables.keys())

    def altered(self) -> frozenset[str]:
        """Return those of which this is known, among the tables that partials do not read.

        A table that is read is carried whole at the least doubt; these can only be reported.
        """
        if self.since is None or not self.untracked:
            return frozenset()
        tables = {name: self.session.tables[name] for name in self.untracked}
        written = redefined_tables(self.session.connection, tables, self.since)
        before = definitions_at(self.scratch, self.since.snapshot_at, written)
        stored = columns_with_stored_default(self.session.connection, tables) if before else {}
        harmless = {
            name
            for name, known in before.items()
            if not has_other_values(known, self.untracked[name], stored.get(name, frozenset()))
        }
        # Without any known rules, all tables seem to be read otherwise. Where an earlier version
        # recorded only those with rules, nothing says that the others were not sent.
        knows_rules = bool(_rules_at(self.scratch, self.since.snapshot_at))
        otherwise = self.read_otherwise(self.since, self.rules) if knows_rules else frozenset[str]()
        return written - harmless | (otherwise & tables.keys())

    def gone(self) -> tuple[str, ...]:
        """Return the tables that an earlier archive replicated and that this one does not."""
        if self.since is None:
            return ()
        before = _rules_at(self.scratch, self.since.snapshot_at)
        return tuple(sorted(before.keys() - self.rules.keys()))

    def read_otherwise(self, since: Watermark, if_unlisted: Collection[str] = ()) -> frozenset[str]:
        """Return tables that had other rules, were others, or were not replicated at a point.

        Args:
            if_unlisted: Tables that count as replicated where only tables with rules are recorded.
        """
        at = since.snapshot_at
        objects, rules = objects_of(self.scratch, at), _rules_at(self.scratch, at, if_unlisted)
        moved = self.objects.tables_of_others(objects, self.session.tables) if objects else set()
        changed = (name for name, digest in self.rules.items() if rules.get(name) != digest)
        return frozenset(changed) | moved

    def uncovered(self) -> frozenset[str]:
        """Return tables of which the receiver may lack changes at the point; all without one."""
        tables = frozenset(self.session.tables)
        if self.since is None:
            return tables
        return uncovered_at(self.scratch, self.since.snapshot_at, tables)

    def remember_unread(self, unread: Iterable[str], made_up: Iterable[str]) -> None:
        """Record what a partial leaves out, and what it makes up for, as in `UnreadTables`.

        No partial starts from one that has no starting point itself.
        """
        if self.since is not None:
            at = self.session.snapshot.watermark.snapshot_at
            names, whole = tuple(sorted(unread)), tuple(sorted(made_up))
            found = UnreadTables(first_at=at, last_at=at, names=names, made_up=whole)
            remember_unread(self.scratch, found)

    def remember_reread(self, selection: Selection) -> None:
        """Record that a partial has read the large tables."""
        if selection.rereads and selection.since is not None:
            read = Reread(since=selection.since, at=self.session.snapshot.watermark)
            remember_reread(self.scratch, read)

    def remember(self) -> None:
        """Record it for the dumps that follow."""
        at = self.session.snapshot.watermark.snapshot_at
        remember_rules(self.scratch, at, self.rules)
        remember_objects(self.scratch, at, self.objects)
        remember_definitions(self.scratch, at, self.untracked)
        self.ruled.remember()


def _rules_at(
    scratch: Path, snapshot_at: datetime, if_unlisted: Collection[str] = ()
) -> Mapping[str, str]:
    """Return the rules of the tables in the archive of a snapshot; of no table if none is known.

    Args:
        if_unlisted: Tables to assume in it if neither the journal nor a complete lists all tables.
    """
    known = rules_at(scratch, snapshot_at)
    if known is not None and known.every_table:
        return known.digests
    plain = dict.fromkeys(tables_of_complete(scratch, snapshot_at) or if_unlisted, NO_RULES)
    return plain | (known.digests if known else {})


@dataclass(frozen=True)
class _History:
    """The current history of the database.

    Attributes:
        objects: Ids of the database as it is now.
    """

    session: DumpSession
    scratch: Path
    objects: ObjectIds

    def has(self, points: Sequence[Watermark]) -> bool:
        """Return whether all points are earlier ones of this history, as far as known."""
        now = self.session.snapshot.watermark
        dates = (point.snapshot_at for point in points)
        return (
            all(may_precede(point, now) for point in points)
            and has_traces(self.session.connection, *points)
            and databases_at(self.scratch, dates) <= {self.objects.database}
        )
