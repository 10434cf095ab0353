"""The two checks of the transform: no row waits too long, and no row was rejected."""

from collections.abc import Sequence
from datetime import UTC

import dagster as dg

from ar_sync_pipeline.operations.asset_keys import postprocessed_key
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.operations.run_metadata import markdown_table
from ar_sync_pipeline.operations.standing_check import doublings
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.sync.load.postprocess import PostprocessState, postprocess_state
from ar_sync_pipeline.transform.rejected_rows import RejectedRows, Severity
from ar_sync_pipeline.visible_text import visible

_PAGE = "transform_fails"
_LONGEST_IDS = 300
WAITING = "rows_transformed_in_time"
REJECTED = "no_rows_rejected"


def check_specs(site: ReceiverSite) -> Sequence[dg.AssetCheckSpec]:
    """Return the specifications of both checks."""
    return [_waiting_spec(site), _rejected_spec(site)]


def _waiting_spec(site: ReceiverSite) -> dg.AssetCheckSpec:
    minutes = site.settings.transform_max_age
    return check_spec(
        WAITING,
        postprocessed_key(site.names),
        meaning=f"No loaded row has been untransformed for more than {minutes} minutes"
        " (AR_SYNC_TRANSFORM_MAX_AGE) since it was last written, by a load or by anybody else; a"
        " few refused ones, which no_rows_rejected names, do not count",
        remedy="the transform is still at work, has failed, or its command leaves rows"
        " behind; read its last run, and if that has ended materialize this asset again",
        page=_PAGE,
    )


def _rejected_spec(site: ReceiverSite) -> dg.AssetCheckSpec:
    return check_spec(
        REJECTED,
        postprocessed_key(site.names),
        meaning="Every row got its results; a detail may be missing",
        remedy="`ar_sync.rejected_row` in the receiver's database says which row lacks"
        " what and why; the others are not touched by it. An entry goes when its row"
        " is handled again without it, or is deleted",
        page=_PAGE,
    )


def check_results(
    site: ReceiverSite,
) -> list[dg.AssetCheckResult]:
    """Return the results of both checks from the database now.

    Raises:
        LockWaitError: Another session locks one of the tables.
    """
    return results_of(postprocess_state(site.settings, site.catalog, site.clock), site)


def results_of(state: PostprocessState, site: ReceiverSite) -> list[dg.AssetCheckResult]:
    """Return the results of both checks from a state of the database."""
    return [_waiting_result(state, site), _rejected_result(state, site)]


def news_of(state: PostprocessState) -> tuple[frozenset[str], frozenset[str]]:
    """Return what the findings of both checks consist of: more rows count when they double."""
    waiting = (doublings(table.table, table.too_old) for table in state.waiting if table.too_old)
    rejected = (
        doublings(f"{one.table}, {one.step}: {one.reason}", one.rows)
        for one in state.rejected
        if one.severity is Severity.ERROR
    )
    return frozenset[str]().union(*waiting), frozenset[str]().union(*rejected)


def _waiting_result(state: PostprocessState, site: ReceiverSite) -> dg.AssetCheckResult:
    waiting = {table.table: table for table in state.waiting if table.rows}
    return result_for(
        _waiting_spec(site),
        passed=not state.too_old,
        description=_waiting_message(state, site.settings),
        metadata={
            "rows_waiting": sum(table.rows for table in waiting.values()),
            "rows_waiting_too_long": state.too_old,
            "by_table": dg.MetadataValue.json({name: t.rows for name, t in waiting.items()}),
        },
    )


def _rejected_result(state: PostprocessState, site: ReceiverSite) -> dg.AssetCheckResult:
    rows = {severity: _rows(state.rejected, severity) for severity in Severity}
    return result_for(
        _rejected_spec(site),
        # Production names unknown buses every day: what nobody can fix is no warning.
        passed=not rows[Severity.ERROR],
        severity=dg.AssetCheckSeverity.WARN,
        description=_rejected_message(state),
        metadata={
            "rejected_rows": rows[Severity.ERROR],
            "rejected_details": rows[Severity.INFO],
            "by_reason": rejected_table(state.rejected),
        },
    )


def _waiting_message(state: PostprocessState, settings: ReceiverSettings) -> str:
    if not state.waiting:
        return "The catalog has no `reset_on_change`, so this check cannot see which rows wait."
    if not state.too_old:
        return "No row waits too long for the transform."
    tables = ", ".join(f"{t.table} ({t.too_old:,})" for t in state.waiting if t.too_old)
    return (
        f"{state.too_old:,} rows have been untransformed for more than"
        f" {settings.transform_max_age} minutes: {tables}."
    )


def _rejected_message(state: PostprocessState) -> str:
    if not state.rejected:
        return "No row lacks a result."
    results, details = (_rows(state.rejected, one) for one in (Severity.ERROR, Severity.INFO))
    missing = _counted(results, "result") if results else "No row lacks its result"
    also = f", {_counted(details, 'detail')}" if details else ""
    worst = state.rejected[0]
    return (
        f"{missing}{also}, most gravely: {worst.reason} ({worst.table}, rows: {worst.rows:,},"
        f" {visible(worst.examples[0], 100)} for example)."
    )


def _counted(many: int, what: str) -> str:
    return f"{many:,} {what} is missing" if many == 1 else f"{many:,} {what}s are missing"


def _rows(rejected: Sequence[RejectedRows], severity: Severity) -> int:
    return sum(one.rows for one in rejected if one.severity is severity)


def rejected_table(rejected: Sequence[RejectedRows]) -> dg.MarkdownMetadataValue | str:
    """Return the rejected rows by reason, the most severe first, with the first ids of each."""
    heads = ("table", "step", "severity", "reason", "rows", "last seen (UTC)", "first ids")
    return markdown_table(
        heads,
        [
            (
                one.table,
                one.step,
                str(one.severity),
                one.reason,
                one.rows,
                f"{one.last_seen.astimezone(UTC):%Y-%m-%d %H:%M}",
                visible(", ".join(one.examples), _LONGEST_IDS),
            )
            for one in rejected
        ],
    )
