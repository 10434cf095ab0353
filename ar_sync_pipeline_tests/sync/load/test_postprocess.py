"""What the checks of the transform read, for the built-in rules and for any other transform."""

from __future__ import annotations

from datetime import UTC, datetime

from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.sync.load.postprocess import PostprocessState, postprocess_state
from ar_sync_pipeline.transform.rejected_rows import (
    Rejection,
    Severity,
    prepare_rejected_rows,
    record_rejections,
)
from ar_sync_pipeline.transform.transapp.report import WRITE
from ar_sync_pipeline_tests.fix_sites import TwoSites


def test_what_the_built_in_rules_recorded_says_nothing_of_another_transform(
    filled: TwoSites,
) -> None:
    """Nothing but the built-in rules removes their entries."""
    refused = Rejection("1", WRITE, Severity.ERROR, "it is refused")
    with connect(filled.receiver, application="test") as connection:
        prepare_rejected_rows(connection)
        record_rejections(connection, "app_parent", [1], [refused], now=datetime.now(UTC))
    assert [one.rows for one in _state(filled, "builtin:transapp").rejected] == [1]
    assert _state(filled, "command:true").rejected == ()
    assert _state(filled, "none").rejected == ()


def _state(sites: TwoSites, transform: str) -> PostprocessState:
    settings = sites.settings.model_copy(update={"transform": transform})
    return postprocess_state(settings, sites.catalog, sites.clock)
