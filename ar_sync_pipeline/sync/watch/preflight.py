"""The preflight of a side: all its requirements, checked in parallel, each finding with a remedy.

Each area is checked in its own thread. If one hangs, for example because a server accepts
connections and does not answer, the others are still checked, and the whole ends in time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.export.masking import require_pseudonym_key
from ar_sync_pipeline.postgres.checks.findings import Finding, Level, as_error
from ar_sync_pipeline.postgres.checks.sender_checks import useless_exclusions
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.settings.loading import variable_name
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings, side_of
from ar_sync_pipeline.settings.usable import UnusableSettingError
from ar_sync_pipeline.sync.dump.known_rules import ruled_before
from ar_sync_pipeline.sync.dump.sender_journal import read_points
from ar_sync_pipeline.sync.load.lost_media import lost_media
from ar_sync_pipeline.sync.load.newest_archive import newest_in_spool
from ar_sync_pipeline.sync.load.one_receiver import other_receiver
from ar_sync_pipeline.sync.watch.alerting import incidents_file
from ar_sync_pipeline.sync.watch.database_access import as_findings, limit_waits
from ar_sync_pipeline.sync.watch.database_findings import (
    check_access,
    check_receiver,
    check_sender,
    sorted_by_level,
)
from ar_sync_pipeline.sync.watch.folder_findings import (
    media_findings,
    scratch_findings,
    secret_findings,
    spool_findings,
    state_findings,
)
from ar_sync_pipeline.sync.watch.media_columns import sent_file_findings, unsent_file_findings
from ar_sync_pipeline.sync.watch.moving_in import moving_in_findings
from ar_sync_pipeline.sync.watch.old_results import old_results
from ar_sync_pipeline.sync.watch.other_side import (
    checkpoint_as_written,
    clock_findings,
    receiver_as_written,
    recorded_archives,
    sender_as_written,
)
from ar_sync_pipeline.sync.watch.parallel_areas import Area, examine_areas
from ar_sync_pipeline.sync.watch.parked_findings import parked_findings
from ar_sync_pipeline.sync.watch.preflight_result import Preflight
from ar_sync_pipeline.sync.watch.service_findings import (
    dagster_findings,
    mail_findings,
    transform_findings,
)

if TYPE_CHECKING:
    # It imports the SSH client, which the receiver does not need.
    from ar_sync_pipeline.sync.watch.endpoint_check import EndpointCheck

PREFLIGHT_SECONDS = 115.0
_HINT_SECONDS = 5.0
_CLUSTER = "SELECT system_identifier::text FROM pg_control_system()"


def preflight(
    settings: SenderSettings | ReceiverSettings,
    catalog: Catalog | None,
    clock: Clock,
    *,
    within_seconds: float = PREFLIGHT_SECONDS,
    moving_in: bool = False,
    by_hand: bool = False,
) -> Preflight:
    """Check everything that a side needs; nothing is changed, and temporary files are removed.

    Args:
        settings: Settings of the side, of which some may be unusable (`settings.usable`).
        catalog: The catalog; None if it cannot be used.
        clock: Returns the current time.
        within_seconds: Time limit; areas that are not checked by then are errors.
        moving_in: Whether to check also what the migration from the old system needs.
        by_hand: Whether to check also what `dagster` needs if it is started like this process.
    """
    started = time.monotonic()
    checked: list[EndpointCheck] = []
    if isinstance(settings, SenderSettings):
        areas = _sender_areas(settings, catalog, clock, checked)
    else:
        areas = _receiver_areas(settings, catalog, clock)
    if moving_in:
        areas["moving in"] = lambda: _moving_in_findings(settings, _usable(catalog))
    if by_hand:
        areas["dagster"] = partial(dagster_findings, os.environ)
    findings = sorted_by_level(examine_areas(_owner_of(settings), areas, within_seconds))
    return Preflight(
        side_of(settings),
        _each_once(findings),
        _unwise(settings),
        checked[0] if checked else None,
        time.monotonic() - started,
        frozenset(one.area for one in findings if one.unexamined and not one.table),
    )


def sudden_problems(settings: ReceiverSettings, clock: Clock) -> str | None:
    """Return what may go wrong between two preflights, empty if nothing; None: no answer in time.

    A disk whose server is gone does not answer; the preflight itself then reports it.
    """
    areas: dict[str, Area] = {
        "hint of media files": partial(_media_files, settings),
        "hint of receivers": lambda: _ask_for(
            settings.database_url, lambda c: _other(settings, c, clock())
        ),
    }
    found = examine_areas(_owner_of(settings), areas, _HINT_SECONDS)
    if any(one.unexamined for one in found):
        return None
    return "; ".join(one.problem for one in found)


def _usable(catalog: Catalog | None) -> Catalog:
    if catalog is None:
        raise UnusableSettingError(variable_name("catalog"))
    return catalog


def _owner_of(settings: SenderSettings | ReceiverSettings) -> Path:
    try:
        return incidents_file(settings)
    except UnusableSettingError:
        return Path(side_of(settings))


def _unwise(settings: SenderSettings | ReceiverSettings) -> tuple[str, ...]:
    try:
        return settings.warnings
    except UnusableSettingError:
        return ()


def _moving_in_findings(
    settings: SenderSettings | ReceiverSettings, catalog: Catalog
) -> Iterator[Finding]:
    yield from moving_in_findings(settings)
    if isinstance(settings, ReceiverSettings) and settings.transform.startswith("builtin:"):
        yield from _ask_for(settings.database_url, lambda c: old_results(c, catalog), catalog)


def _sender_areas(
    settings: SenderSettings, catalog: Catalog | None, clock: Clock, checked: list[EndpointCheck]
) -> dict[str, Area]:
    def link() -> Iterator[Finding]:
        # The receiver needs no SSH client, which takes a twentieth of a run's start.
        from ar_sync_pipeline.sync.watch.endpoint_check import check_endpoint  # noqa: PLC0415

        checked.append(check_endpoint(settings, clock))
        unexamined: list[Finding] = []
        own = _ask(
            settings.database_url, lambda connection: scalar(connection, _CLUSTER), unexamined
        )
        checkpoint = checked[0].checkpoint
        yield from receiver_as_written(settings, checkpoint, checked[0].agreed, own)
        yield from unexamined
        if checkpoint is not None:
            with suppress(ArSyncError):  # area `scratch` tells it
                known = read_points(settings.tmp_bkp_fldr)
                yield from checkpoint_as_written(checkpoint, known, clock())

    def with_rules(url: str, catalog: Catalog) -> Iterable[Finding]:
        before = None
        with suppress(ArSyncError, UnusableSettingError):  # area `scratch` tells it
            before = ruled_before(settings.tmp_bkp_fldr)
        return check_sender(url, catalog, before)

    def named(connection: Connection) -> Iterator[Finding]:
        folder, patterns = settings.sender_media_fldr, settings.media_patterns
        yield from sent_file_findings(connection, _usable(catalog), folder, patterns)
        yield from unsent_file_findings(connection, _usable(catalog), folder, patterns)

    def ask(question: Callable[[Connection], Iterable[Finding]]) -> Area:
        return lambda: _ask_for(settings.database_url, question, catalog)

    return {
        "database": partial(_database, settings, catalog, with_rules),
        "pseudonyms": lambda: _pseudonym_findings(settings, _usable(catalog)),
        "catalog": ask(lambda c: useless_exclusions(c, _usable(catalog))),
        "clock": ask(lambda c: clock_findings(c, clock)),
        "media": partial(media_findings, settings),
        "media columns": ask(named),
        "scratch": partial(scratch_findings, settings),
        "secrets": partial(secret_findings, settings),
        "state": partial(state_findings, settings),
        "mail": partial(mail_findings, settings, clock),
        "receiver": link,
    }


def _pseudonym_findings(settings: SenderSettings, catalog: Catalog) -> Iterator[Finding]:
    try:
        require_pseudonym_key(catalog, settings.pseudonym_secret)
    except ArSyncError as error:
        yield as_error(error)


def _database(
    settings: SenderSettings | ReceiverSettings,
    catalog: Catalog | None,
    compare: Callable[[str, Catalog], Iterable[Finding]],
) -> Iterator[Finding]:
    if catalog is None:
        yield from check_access(settings.database_url)
    yield from compare(settings.database_url, _usable(catalog))


def _receiver_areas(
    settings: ReceiverSettings, catalog: Catalog | None, clock: Clock
) -> dict[str, Area]:
    def with_spool(url: str, catalog: Catalog) -> Iterable[Finding]:
        ledger = _ask(url, recorded_archives, []) or []
        try:
            newest, complete = (
                newest_in_spool(settings.remote_bkp_fldr, kind, ledger, clock())
                for kind in (None, ArchiveKind.COMPLETE)
            )
        except (ArSyncError, UnusableSettingError):
            newest = complete = None  # the check of the spool reports it
        return check_receiver(url, catalog, newest, complete)

    def ask(question: Callable[[Connection], Iterable[Finding]]) -> Area:
        return lambda: _ask_for(settings.database_url, question)

    return {
        "database": partial(_database, settings, catalog, with_spool),
        "clock": ask(lambda c: clock_findings(c, clock)),
        "media": partial(media_findings, settings),
        "media files": partial(_media_files, settings),
        "spool": partial(spool_findings, settings),
        "parked": lambda: parked_findings(settings, _usable(catalog), clock),
        "secrets": partial(secret_findings, settings),
        "state": partial(state_findings, settings),
        "transform": lambda: transform_findings(settings, _usable(catalog), clock),
        "mail": partial(mail_findings, settings, clock),
        "sender": ask(
            lambda c: (*sender_as_written(settings, c, clock()), *_other(settings, c, clock()))
        ),
    }


def _media_files(settings: ReceiverSettings) -> list[Finding]:
    def lost(connection: Connection) -> list[Finding]:
        error = lost_media(connection, settings.receiver_media_fldr)
        return [] if error is None else [as_error(error)]

    return _ask_for(settings.database_url, lost)


def _other(settings: ReceiverSettings, connection: Connection, now: datetime) -> list[Finding]:
    ledger = recorded_archives(connection)
    found = other_receiver(settings.remote_bkp_fldr, connection, ledger, now)
    return [] if found is None else [found]


def _ask(
    url: str,
    question: Callable[[Connection], Any],
    unexamined: list[Finding],
    catalog: Catalog | None = None,
) -> Any:  # noqa: ANN401  as it answers
    """Return the result of a query to the database; None if it cannot be used.

    The check of the database itself reports the reason. If it is a matter of time, a note is added
    to ``unexamined``.
    """
    failed: list[Finding] = []
    answer = None
    with as_findings(url, failed, catalog), connect(url, application="check") as connection:
        limit_waits(connection)
        answer = question(connection)
    unexamined += (replace(one, level=Level.NOTE) for one in failed if one.unexamined)
    return answer


def _ask_for(
    url: str,
    question: Callable[[Connection], Iterable[Finding]],
    catalog: Catalog | None = None,
) -> list[Finding]:
    unexamined: list[Finding] = []
    found = _ask(url, lambda connection: tuple(question(connection)), unexamined, catalog)
    return [*(found or ()), *unexamined]


def _each_once(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings without what keeps one more area from being examined."""
    problems = [one.problem for one in findings]
    return tuple(
        one
        for before, one in enumerate(findings)
        if not one.unexamined or one.problem not in problems[:before]
    )
