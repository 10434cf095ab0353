"""Comparison of the other side's files with this side's settings, database and clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.errors import UnsignedArchiveError
from ar_sync_pipeline.archive.manifest import Manifest, SenderIdentity, Watermark
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.clock import CLOCK_TOLERANCE, Clock
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.checks.findings import Finding, Level, as_error
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger import AppliedArchive, read_ledger, read_sender
from ar_sync_pipeline.postgres.ledger_tables import has_ledger_table
from ar_sync_pipeline.postgres.own_database import read_own_database
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.spool.agreed_settings import AgreedSettings
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.states import list_waiting
from ar_sync_pipeline.sync.dump.believed_checkpoint import checkpoint_problem, is_of_old_system
from ar_sync_pipeline.sync.load.newest_archive import (
    last_arrival,
    newest_in_spool,
    newest_manifest,
    not_superseded,
)
from ar_sync_pipeline.sync.load.one_database import (
    ONE_OF_TWO,
    databases_of_completes,
    own_database_problem,
)
from ar_sync_pipeline.visible_text import visible

_WORTH_SAYING = timedelta(seconds=60)
_IN_TURN_WITHIN = timedelta(days=2)
_RECENT_PARTIALS = 10
# The first ones after a start may each cover several windows.
_ENOUGH_PARTIALS = 3


def clock_findings(connection: Connection, clock: Clock) -> Iterator[Finding]:
    """Compare the clocks of this machine and the database server."""
    before = clock()
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    middle = before + (clock() - before) / 2
    if row is None:
        return
    difference = row[0] - middle
    if abs(difference) > _WORTH_SAYING:
        ahead = "ahead of" if difference > timedelta() else "behind"
        yield Finding(
            Level.ERROR if abs(difference) > CLOCK_TOLERANCE else Level.WARNING,
            f"the database server's clock is {abs(difference).total_seconds():,.0f} s {ahead} this"
            " machine's",
            "set both clocks with NTP (chronyc tracking shows a machine's own)",
        )


def receiver_as_written(
    settings: SenderSettings,
    checkpoint: Checkpoint | None,
    agreed: AgreedSettings | None,
    own_cluster: str | None,
) -> Iterator[Finding]:
    """Compare, at the sender, the receiver's files with this side's settings and database.

    Args:
        settings: The sender's settings.
        checkpoint: Checkpoint of the receiver; None if it could not be read.
        agreed: Settings of the receiver; None if they could not be read.
        own_cluster: System identifier of the sender's database; None if it could not be read.
    """
    if agreed is not None:
        yield from _agreement(settings, agreed)
    if settings.signing_keys.current is None and any(
        file is not None and file.hmac is not None for file in (checkpoint, agreed)
    ):
        yield Finding(
            Level.ERROR,
            "the receiver signs what it writes, so it quarantines archives without a signature,"
            " and AR_SYNC_SIGNING_KEY is not set here",
            "set the same AR_SYNC_SIGNING_KEY on both sides",
        )
    point = checkpoint.watermark if checkpoint else None
    if point is None or own_cluster is None or point.system_identifier == own_cluster:
        return
    if point.system_identifier == OLD_SYSTEM.system_identifier:
        return
    known_by_name = agreed is not None and settings.sender_name == agreed.sender_name != ""
    yield Finding(
        Level.WARNING if known_by_name else Level.ERROR,
        f"the receiver holds data of the database cluster {visible(point.system_identifier, 40)},"
        f" and this sender's is {own_cluster}",
        "if this sender has moved, launch `complete_dump`, which the receiver needs before it takes"
        f" a partial; if not, {ONE_OF_TWO}"
        if known_by_name
        else "check AR_SYNC_SENDER_DATABASE_URL; if the sender moved to another cluster, set the"
        " same AR_SYNC_SENDER_NAME on both sides",
    )


def checkpoint_as_written(
    checkpoint: Checkpoint | None, known: Sequence[Watermark], now: datetime
) -> Iterator[Finding]:
    """Compare, at the sender, the receiver's checkpoint with the archives that this side sent.

    Args:
        checkpoint: Checkpoint of the receiver; None if it could not be read.
        known: Points of the sender's archives.
        now: The current time.
    """
    point = checkpoint.watermark if checkpoint else None
    if point is None or is_of_old_system(point):
        return
    problem = checkpoint_problem(point, known, now)
    if problem is not None:
        yield Finding(
            Level.WARNING,
            f"the receiver's checkpoint {problem}",
            "see the runbook, 'Archives are sent and not acknowledged': another sender may publish"
            " into this spool",
        )


def recorded_archives(connection: Connection) -> list[AppliedArchive]:
    """Return the lines of the ledger; none without a ledger. Nothing is changed."""
    return read_ledger(connection) if has_ledger_table(connection) else []


def sender_as_written(
    settings: ReceiverSettings, connection: Connection, now: datetime
) -> Iterator[Finding]:
    """Compare, at the receiver, the sender's archives with this side's settings and clock."""
    ledger = recorded_archives(connection)
    applied = read_sender(connection) if ledger else None
    newest = newest_in_spool(settings.remote_bkp_fldr, None, ledger, now)
    yield from _own_database(newest, connection, applied, ledger)
    yield from _alternation(ledger, now)
    yield from _interval(settings, ledger)
    waiting = newest_manifest(list_waiting(settings.remote_bkp_fldr), ledger, now)
    yield from _identity(settings, waiting, applied)
    yield from _signature(settings, now)
    yield from _senders_clock(settings, ledger, now)


def _agreement(settings: SenderSettings, agreed: AgreedSettings) -> Iterator[Finding]:
    for name, here, there in (
        ("AR_SYNC_PARTIAL_INTERVAL", settings.partial_interval, agreed.partial_interval),
        ("AR_SYNC_TIME", settings.time, agreed.time),
    ):
        if here != there:
            yield Finding(
                Level.WARNING,
                f"{name} is {here} minutes here and {there} at the receiver",
                f"set the same on both sides, for example {name}={here} at the receiver",
            )
    if agreed.pair != settings.pair:
        yield _other_pair(settings.pair, agreed.pair, "at the receiver")
    if agreed.sender_name and settings.sender_name != agreed.sender_name:
        yield Finding(
            Level.ERROR,
            f"AR_SYNC_SENDER_NAME is {settings.sender_name or 'not set'} here, and the receiver"
            f" accepts archives of {agreed.sender_name} only",
            f"set AR_SYNC_SENDER_NAME={agreed.sender_name} here, or correct it at the receiver",
        )
    elif settings.sender_name != agreed.sender_name:
        yield _name_on_one_side(settings.sender_name, "here", "at the receiver")


def _other_pair(here: str, there: str, where: str) -> Finding:
    return Finding(
        Level.ERROR,
        f"AR_SYNC_PAIR is {here or 'not set'} here and {visible(there, 63) or 'not set'} {where},"
        " and a receiver refuses the archives of another pair",
        "set the same AR_SYNC_PAIR on both sides, or correct the address of the other side",
    )


def _name_on_one_side(name: str, here: str, there: str) -> Finding:
    return Finding(
        Level.WARNING,
        f"AR_SYNC_SENDER_NAME is {name} {here} and not set {there}, so the sender is known by its"
        " database cluster, and a move to another one is refused",
        f"set AR_SYNC_SENDER_NAME={name} {there}, too",
    )


def _interval(settings: ReceiverSettings, ledger: Sequence[AppliedArchive]) -> Iterator[Finding]:
    """Compare the shortest recent window with the setting: after an outage windows are longer."""
    lengths = [
        line.window_end - line.window_start
        for line in not_superseded(ledger)
        if line.kind is ArchiveKind.PARTIAL
        and line.window_start is not None
        and line.window_end is not None
        and line.system_identifier != OLD_SYSTEM.system_identifier
    ][-_RECENT_PARTIALS:]
    here = timedelta(minutes=settings.partial_interval)
    if not lengths or lengths[-1] == here or min(lengths) == here:
        return
    may_be_several = min(lengths) % here == timedelta()
    if may_be_several and len(lengths) < _ENOUGH_PARTIALS:
        return
    minutes = min(lengths).total_seconds() / 60
    yield Finding(
        Level.WARNING,
        f"the sender's windows are {minutes:g} minutes long, and AR_SYNC_PARTIAL_INTERVAL is"
        f" {settings.partial_interval} here",
        f"set AR_SYNC_PARTIAL_INTERVAL={minutes:g} here, or"
        f" {settings.partial_interval} at the sender",
    )


def _identity(
    settings: ReceiverSettings, manifest: Manifest | None, applied: SenderIdentity | None
) -> Iterator[Finding]:
    """Check the sender of the newest waiting archive, or else of the applied archives."""
    is_old = manifest is not None and manifest.sender == OLD_SYSTEM
    if manifest is not None and not is_old and manifest.pair != settings.pair:
        yield _other_pair(settings.pair, manifest.pair, "in the archive that waits")
    waiting = manifest.sender if manifest else None
    sender = waiting or applied
    if sender is None or sender == OLD_SYSTEM:
        return
    if settings.sender_name:
        fits = sender.name == settings.sender_name
    else:
        fits = applied in (None, OLD_SYSTEM, sender)
    if fits:
        if sender.name and not settings.sender_name:
            yield _name_on_one_side(visible(sender.name, 63), "at the sender", "here")
        return
    level, when = (
        (Level.ERROR, "the archive that waits") if waiting else (Level.WARNING, "what was applied")
    )
    name = visible(sender.name, 63)
    yield Finding(
        level,
        f"{when} comes from the sender {name or 'without a name'} (cluster"
        f" {visible(sender.system_identifier, 40)}, database {visible(sender.database, 63)}), and"
        f" this receiver accepts {settings.sender_name or 'the sender that it knows'} only",
        f"set AR_SYNC_SENDER_NAME={name or settings.sender_name or 'production'} on both sides",
    )


def _alternation(ledger: Sequence[AppliedArchive], now: datetime) -> Iterator[Finding]:
    """Check whether the receiver went back to a database that it had left not long ago.

    The return may be the remedy: two senders that go on have completes in turn each day.
    """
    recent = [line for line in ledger if line.applied_at > now - _IN_TURN_WITHIN]
    *before, newest = databases_of_completes(recent) or [("", "")]
    if newest not in before:
        return
    one, other = (f"{database} of cluster {cluster}" for cluster, database in (newest, before[-1]))
    yield Finding(
        Level.WARNING,
        f"complete archives of the databases {visible(one, 110)} and {visible(other, 110)} were"
        " applied in turn",
        f"if the sender has moved back, or one was stopped, nothing is to be done, and this ends"
        f" within two days; if not, {ONE_OF_TWO}",
    )


def _own_database(
    newest: Manifest | None,
    connection: Connection,
    applied: SenderIdentity | None,
    ledger: Sequence[AppliedArchive],
) -> Iterator[Finding]:
    """Check that the receiver's URL is not that of the database which the archives come from."""
    here = read_own_database(connection)
    known = [(newest.sender, newest.watermark.timeline)] if newest else []
    if applied is not None:
        known += [(applied, line.timeline) for line in not_superseded(ledger)[-1:]]
    if here is not None and any(here.is_of(*one) for one in known):
        problem, remedy = own_database_problem(here, ledger)
        level = Level.ERROR if problem == here.problem else Level.WARNING
        yield Finding(level, problem, remedy)


def _signature(settings: ReceiverSettings, now: datetime) -> Iterator[Finding]:
    """Check that the newest waiting archive is signed, if this side requires it."""
    for archive in list_waiting(settings.remote_bkp_fldr)[-1:]:
        try:
            with open_archive(archive.path) as reader:
                reader.check_signature(settings.signing_keys.accepted(now))
        except UnsignedArchiveError as error:
            yield as_error(error)
        except ArSyncError:
            return  # the next load reports it


def _senders_clock(
    settings: ReceiverSettings, ledger: Sequence[AppliedArchive], now: datetime
) -> Iterator[Finding]:
    """Check whether the last archive arrived before the time of its snapshot, by the two clocks."""
    last = last_arrival(settings.remote_bkp_fldr, ledger, now)
    if last is None or last.follows_another:
        return
    early = last.name.snapshot_at - last.at
    if early > _WORTH_SAYING:
        yield Finding(
            Level.ERROR if early > CLOCK_TOLERANCE else Level.WARNING,
            f"the sender's clock is at least {early.total_seconds():,.0f} s ahead of this machine's"
            f" ({last.name.applied}, which arrived last, is dated later than it arrived)",
            "set both clocks with NTP (chronyc tracking shows a machine's own)",
        )
