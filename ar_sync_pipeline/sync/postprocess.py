"""The transform step's inputs: what a command is told, and the built-in rules' connection."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger import AppliedArchive, ensure_ledger, read_ledger
from ar_sync_pipeline.postgres.snapshot import Clock
from ar_sync_pipeline.settings import ReceiverSettings
from ar_sync_pipeline.sync.errors import NothingLoadedError
from ar_sync_pipeline.transform.specification import CommandTransform, command_line
from ar_sync_pipeline.transform.transapp.run import TransformReport, run_transapp


def command_words(settings: ReceiverSettings, transform: CommandTransform) -> list[str]:
    """The operator's command, told of the newest archive that was applied.

    Raises:
        NothingLoadedError: no archive has been applied yet.
    """
    newest = _newest_applied(settings.receiver_database_url.get_secret_value())
    look_back = timedelta(minutes=settings.time)
    return command_line(
        transform,
        archive=newest.name,
        minutes=settings.time,
        window_start=newest.window_start or newest.snapshot_at - look_back,
        window_end=newest.window_end or newest.snapshot_at,
    )


def run_builtin(settings: ReceiverSettings, clock: Clock) -> TransformReport:
    """Run the built-in rules over every untransformed row."""
    return run_transapp(settings.receiver_database_url.get_secret_value(), clock=clock)


def builtin_metadata(report: TransformReport) -> dict[str, Any]:
    """Rows per result, rejected rows by reason, seconds per step."""
    return {
        **{f"rows_{name}": count for name, count in report.rows.items()},
        **{f"rejected_{reason}": count for reason, count in _by_reason(report).items()},
        **{f"seconds_{step}": round(seconds, 3) for step, seconds in report.seconds.items()},
        "batches": report.batches,
    }


def _newest_applied(url: str) -> AppliedArchive:
    with connect(url, application="postprocess") as connection:
        ensure_ledger(connection)
        applied = [line for line in read_ledger(connection) if not line.superseded]
    if not applied:
        raise NothingLoadedError(
            "this receiver has not applied any archive yet",
            remedy="run complete_loaddata first",
        )
    return applied[-1]


def _by_reason(report: TransformReport) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (_, _, reason), count in report.rejected.items():
        counts[reason] = counts.get(reason, 0) + count
    return counts
