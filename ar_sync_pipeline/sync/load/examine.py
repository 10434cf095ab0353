"""Checks of an archive each time its file is opened: on admission and in the load.

In between, the file, the receiver's tables and the ledger may have changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from uuid import UUID

from ar_sync_pipeline.archive.converted import OLD_SYSTEM, comes_from_old_system
from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest import Manifest, SenderIdentity, TypeDefinition
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.reader import ArchiveReader
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.approved_archives import read_allowed
from ar_sync_pipeline.postgres.checks.rights import role_script
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.gate import (
    FREE_TRANSFORMED,
    catalog_mismatches,
    missing_migrations,
    missing_rights,
    refused_values,
    schema_mismatches,
    transformed_in_keys,
)
from ar_sync_pipeline.postgres.ledger import AppliedArchive, read_ledger, read_sender
from ar_sync_pipeline.postgres.migrations import read_migrations
from ar_sync_pipeline.postgres.own_database import OwnDatabase, read_own_database
from ar_sync_pipeline.postgres.relations import relations_in_place_of_tables
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.postgres.type_facts import read_types
from ar_sync_pipeline.settings.model import OldArchives, ReceiverSettings, SchemaDrift
from ar_sync_pipeline.spool.states import SpooledArchive
from ar_sync_pipeline.sync.errors import ArchiveParkedError, ForeignArchiveError, OtherPairError
from ar_sync_pipeline.sync.intake import check_old_system
from ar_sync_pipeline.sync.load.applied_chain import chain_in, content_until, is_brought
from ar_sync_pipeline.sync.load.dates import Histories, check_date, check_not_set_back
from ar_sync_pipeline.sync.load.delete_guard import held_by_guard
from ar_sync_pipeline.sync.load.one_database import check_database, check_own_database
from ar_sync_pipeline.sync.load.waiting_manifests import read_waiting

_MIGRATE_RECEIVER = (
    "migrate the receiver, or the sender if the receiver is ahead of it; the archive is then loaded"
    " by itself, or superseded by a later one"
)
_MIGRATE_EITHER = (
    "migrate the sender, too, if the receiver was migrated first, and a later archive supersedes"
    " this one; otherwise migrate the receiver (DROP NOT NULL, SET DEFAULT or DROP EXPRESSION of"
    " the column), and the archive is loaded by itself"
)


@dataclass(frozen=True)
class Receiver:
    """State of the receiver with which archives are compared.

    Attributes:
        pair: Pair of the receiver; empty: a pair without a name.
        sender: Sender whose archives are loaded; None before the first load.
        sender_name: Name by which the operator identifies the sender; empty: its database
            identifies it.
        ledger: Ledger at the time when it was read.
        allowed: Sha256 of the approved manifest of each archive that an operator approved for the
            delete guard, by name.
        spool: Spool in which archives wait.
        in_place: What is no table at the receiver, as `relations_in_place_of_tables`.
        database: Database into which archives are loaded; None: the role may not read its cluster's
            identity.
    """

    catalog: Catalog
    tables: dict[str, TableFacts]
    types: tuple[TypeDefinition, ...]
    migrations: tuple[str, ...]
    sender: SenderIdentity | None
    sender_name: str
    ignores_drift: bool
    ledger: Sequence[AppliedArchive]
    spool: Path
    allowed: Mapping[str, str]
    now: datetime
    takes_old: bool
    signing_keys: Collection[bytes]
    database: OwnDatabase | None
    in_place: Mapping[str, str]
    pair: str = ""

    @cached_property
    def histories(self) -> Histories:
        """Histories of the applied archives, for each archive that is checked."""
        return Histories(self.ledger, {}, self.waiting)

    def waiting(self) -> Mapping[UUID, Manifest]:
        """Return the manifests of what waits, as it was when they were first needed."""
        return self._waiting

    @cached_property
    def _waiting(self) -> dict[UUID, Manifest]:
        return read_waiting(self.spool, self.ledger, self.signing_keys)

    @cached_property
    def _reached(self) -> dict[ArchiveKind, datetime | None]:
        """Snapshot up to which an archive of each kind brings nothing."""
        return content_until(self.ledger, chain_in(self.ledger))

    def has_content_of(self, name: ArchiveName) -> bool:
        """Return whether applied archives have brought, by their dates, what an archive holds."""
        return is_brought(name, self._reached)

    def waits_for_a_person(self, archive: SpooledArchive) -> bool:
        """Return whether the delete guard parked it, without approval, and nothing overtook it."""
        waits = held_by_guard(archive) and archive.name.applied not in self.allowed
        return waits and not self.has_content_of(archive.name)


def describe_receiver(
    connection: Connection, settings: ReceiverSettings, catalog: Catalog, now: datetime
) -> Receiver:
    """Return the state of this receiver that decides whether an archive may be loaded."""
    tables = read_tables(connection, catalog.schema_name, catalog.replicates)
    return Receiver(
        catalog=catalog,
        tables=tables,
        types=read_types(connection, catalog, tables),
        migrations=read_migrations(connection, catalog.schema_name, catalog.django_app),
        sender=read_sender(connection),
        sender_name=settings.sender_name,
        ignores_drift=settings.schema_drift is SchemaDrift.IGNORE,
        ledger=read_ledger(connection),
        spool=settings.remote_bkp_fldr,
        allowed=read_allowed(connection),
        now=now,
        takes_old=settings.old_archives is OldArchives.ACCEPT,
        signing_keys=settings.signing_keys.accepted(now),
        database=read_own_database(connection),
        in_place=relations_in_place_of_tables(connection, catalog),
        pair=settings.pair,
    )


def examine(reader: ArchiveReader, receiver: Receiver) -> list[str]:
    """Compare an open archive with the receiver.

    Returns:
        What an operator should know of an archive that may be loaded. A superseded one changes
        nothing, so that it need not match the receiver's schema.

    Raises:
        CorruptArchiveError: The signature is wrong, or another archive has its name or id.
        ForeignArchiveError: Another sender made it.
        OtherPairError: It is for another pair of servers.
        ArchiveParkedError: It does not match the receiver's schema yet, or comes from the database
            into which it would be loaded, or from another one than the receiver follows.
        FutureArchiveError: It is dated in the future.
        SetBackError: It is of an earlier state of the sender's database than applied archives.
    """
    reader.check_signature(receiver.signing_keys)
    manifest = reader.manifest
    _check_identity(manifest, receiver)
    _check_applied(reader, receiver.ledger)
    check_date(manifest, receiver.histories, receiver.now, reader.written_at)
    check_database(manifest, receiver.ledger)
    if receiver.has_content_of(manifest.name):
        return []
    check_not_set_back(manifest, receiver.histories, receiver.now, reader.written_at)
    return check_schema(manifest, receiver)


def _check_applied(reader: ArchiveReader, ledger: Sequence[AppliedArchive]) -> None:
    """Refuse an archive with the name or id of an applied one that is not that archive."""
    manifest = reader.manifest
    for line in ledger:
        same = (line.archive_id == manifest.archive_id, line.name == manifest.name.applied)
        if not any(same):
            continue
        if not all(same) or line.manifest_sha256 not in (None, reader.manifest_sha256):
            raise CorruptArchiveError(
                "another archive of this name or id was applied before",
                archive=reader.path.name,
                remedy="find out who put it there; an archive is never made twice",
            )


def _check_identity(manifest: Manifest, receiver: Receiver) -> None:
    sender = manifest.sender
    check_own_database(manifest, receiver.database, receiver.ledger)
    if comes_from_old_system(manifest):
        check_old_system(manifest.name.applied, receiver.sender, accepted=receiver.takes_old)
        return
    _check_pair(manifest, receiver)
    if receiver.sender_name:
        known = sender.name == receiver.sender_name
    else:
        # The first archive of the new sender takes over from the old system.
        known = receiver.sender in (None, OLD_SYSTEM, sender)
    if not known:
        raise ForeignArchiveError(
            f"{manifest.name.applied} comes from another sender"
            f" (cluster {sender.system_identifier}, database {sender.database},"
            f" name {sender.name or 'not set'})",
            remedy="if the sender really moved, give both sides the same AR_SYNC_SENDER_NAME",
        )


def _check_pair(manifest: Manifest, receiver: Receiver) -> None:
    """Refuse another pair's archive, unless it was applied before the pair got its name."""
    applied = any(line.archive_id == manifest.archive_id for line in receiver.ledger)
    if manifest.pair != receiver.pair and not applied:
        raise OtherPairError(
            f"{manifest.name.applied} is {of_pair(manifest.pair)}, and this receiver is"
            f" {of_pair(receiver.pair)}",
            remedy="set the same AR_SYNC_PAIR on both sides, or correct the sender's"
            " AR_SYNC_REMOTE_BKP_FLDR if it sends to the wrong receiver; the next archive of the"
            " right pair carries what this one held",
        )


def of_pair(pair: str) -> str:
    """Return in words which pair something belongs to."""
    return f"of the pair {pair}" if pair else "of a pair without a name"


def check_schema(manifest: Manifest, receiver: Receiver) -> list[str]:
    """Compare an archive's tables with the receiver's and with the rights of its role.

    Returns:
        Mismatches that the operator chose to ignore.

    Raises:
        ArchiveParkedError: It does not match.
    """
    by_catalog = catalog_mismatches(manifest, receiver.catalog)
    if by_catalog and not receiver.ignores_drift:
        raise ArchiveParkedError(
            f"{manifest.name.applied} does not match the receiver's catalog"
            f" ({'; '.join(by_catalog)})",
            remedy="give both sides the same catalog, and the receiver's role its rights (`ar-sync"
            " grants receiver`); the archive is then loaded by itself, or superseded by another",
        )
    lacking_parts = missing_migrations(manifest.migrations, receiver.migrations)
    lacking_parts += schema_mismatches(
        manifest, receiver.catalog, receiver.tables, receiver.types, receiver.in_place
    )
    refused = refused_values(manifest, receiver.catalog, receiver.tables)
    mismatches = [*lacking_parts, *refused]
    if mismatches and not receiver.ignores_drift:
        raise ArchiveParkedError(
            f"{manifest.name.applied} waits for the receiver's schema ({'; '.join(mismatches)})",
            remedy=_MIGRATE_RECEIVER if lacking_parts else _MIGRATE_EITHER,
        )
    # Not a difference that may be ignored: a load would delete rows that the sender has.
    in_keys = transformed_in_keys(manifest, receiver.catalog, receiver.tables)
    if in_keys:
        raise ArchiveParkedError(
            f"{manifest.name.applied} waits for the receiver's keys ({'; '.join(in_keys)})",
            remedy=f"{FREE_TRANSFORMED}; the archive is then loaded by itself",
        )
    lacking = missing_rights(manifest, receiver.tables)
    if lacking:
        raise ArchiveParkedError(
            f"{manifest.name.applied} waits for rights of the receiver's role"
            f" ({'; '.join(lacking)})",
            remedy=f"run at the receiver's database {role_script('receiver')}; the archive is then"
            " loaded by itself",
        )
    return [*by_catalog, *mismatches]
