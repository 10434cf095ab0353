"""Inputs and state of the transform step: arguments of a command, and untransformed rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger import AppliedArchive, read_ledger
from ar_sync_pipeline.postgres.ledger_tables import open_existing_ledger
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.transform.errors import NoBuiltinTransformError
from ar_sync_pipeline.transform.rejected_rows import RejectedRows, count_rejected_rows
from ar_sync_pipeline.transform.specification import (
    BuiltinTransform,
    CommandTransform,
    TransformSpecification,
    command_line,
    parse_transform,
)
from ar_sync_pipeline.transform.transapp.catalog_marks import BUILT_IN, lines_to_add
from ar_sync_pipeline.transform.transapp.receiver_tables import missing_in
from ar_sync_pipeline.transform.transapp.report import TransformReport
from ar_sync_pipeline.transform.untransformed import WaitingRows, count_waiting_rows


@dataclass(frozen=True)
class PostprocessState:
    """Rows that the transform has left, counted in the database for any kind of transform.

    Attributes:
        waiting: Untransformed rows by table.
        rejected: Rows for which the built-in rules could not compute a value; none if another
            transform works.
    """

    waiting: tuple[WaitingRows, ...]
    rejected: tuple[RejectedRows, ...]

    @property
    def too_old(self) -> int:
        """Number of rows that have waited longer than ``AR_SYNC_TRANSFORM_MAX_AGE``."""
        return sum(table.too_old for table in self.waiting)


def choose_transform(settings: ReceiverSettings, catalog: Catalog) -> TransformSpecification:
    """Return the transform of ``AR_SYNC_TRANSFORM``, if the catalog supports it.

    Raises:
        TransformSpecificationError: The setting is wrong.
        NoBuiltinTransformError: The catalog lacks tables of the built-in rules, or keys by which
            loads leave changed rows to them.
    """
    transform = parse_transform(settings.transform)
    if isinstance(transform, BuiltinTransform):
        missing = missing_in(catalog)
        if missing:
            raise NoBuiltinTransformError(
                f"the catalog `{catalog.name}` has no built-in transform, since "
                f"builtin:{transform.name} needs {missing[0]} and {len(missing) - 1} more tables "
                "that it does not name",
                remedy="set AR_SYNC_TRANSFORM to `none`, or to `command:<words>` for a transform "
                "of your own",
            )
        lines = tuple(lines_to_add(catalog))
        if lines:
            raise NoBuiltinTransformError(
                f"the catalog `{catalog.name}` does not leave all changed rows to "
                f"builtin:{transform.name}, whose results would stay old; it lacks "
                f"{'; '.join(lines)}",
                remedy=f"copy these keys from the sections of the same tables of {BUILT_IN}",
            )
    return transform


def command_words(settings: ReceiverSettings, transform: CommandTransform) -> list[str] | None:
    """Return the operator's command for the newest applied archive; None before the first load."""
    newest = _newest_applied(settings.database_url)
    if newest is None:
        return None
    look_back = timedelta(minutes=settings.time)
    return command_line(
        transform,
        archive=newest.name,
        minutes=settings.time,
        window_start=newest.window_start or newest.snapshot_at - look_back,
        window_end=newest.window_end or newest.snapshot_at,
    )


def run_builtin(
    settings: ReceiverSettings, catalog: Catalog, clock: Clock, *, timeout_seconds: float
) -> TransformReport:
    """Run the built-in rules over every untransformed row."""
    # They need pandas, which is slow to import and which most processes never use.
    from ar_sync_pipeline.transform.transapp.run import run_transapp  # noqa: PLC0415

    return run_transapp(
        settings.database_url,
        clock=clock,
        schema=catalog.schema_name,
        timeout_seconds=timeout_seconds,
    )


def postprocess_state(
    settings: ReceiverSettings, catalog: Catalog, clock: Clock, *, lock_timeout: str | None = None
) -> PostprocessState:
    """Count the rows that the transform has left; frequent calls make the ages more exact.

    Args:
        lock_timeout: Longest wait for a lock, as PostgreSQL writes it; None: that of all sessions.

    Raises:
        LockWaitError: Another session locks one of the tables.
    """
    limit = timedelta(minutes=settings.transform_max_age)
    url = settings.database_url
    with connect(url, application="postprocess state") as connection:
        if lock_timeout is not None:
            connection.execute("SELECT set_config('lock_timeout', %s, false)", [lock_timeout])
        # No other transform removes what the built-in rules have recorded.
        by_rules = isinstance(parse_transform(settings.transform), BuiltinTransform)
        return PostprocessState(
            count_waiting_rows(
                connection, catalog, now=clock(), limit=limit, excuse_refused=by_rules
            ),
            count_rejected_rows(connection) if by_rules else (),
        )


def _newest_applied(url: str) -> AppliedArchive | None:
    with connect(url, application="postprocess") as connection:
        if not open_existing_ledger(connection):
            return None
        applied = [line for line in read_ledger(connection) if not line.superseded]
    return applied[-1] if applied else None
