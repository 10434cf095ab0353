"""A load of partials applies partials only, whatever an earlier run admitted."""

from __future__ import annotations

import psycopg
import pytest

from ar_sync_pipeline.postgres.errors import LockWaitError
from ar_sync_pipeline.spool.states import list_applied, list_waiting
from ar_sync_pipeline_tests.fix_sites import execute, recent_window
from ar_sync_pipeline_tests.receiver.sites import PostprocessedSites

NEW_BUS = (
    'INSERT INTO "AndroidRequests_busv2" (id, "registrationPlate", uuid)'
    " VALUES (99, 'zzzz99', gen_random_uuid())"
)
NEW_REPORT = (
    'INSERT INTO "AndroidRequests_report" (id, "timeStamp", message, "reportInfo", "phoneId")'
    " VALUES (99, now(), '', '{}', gen_random_uuid())"
)


@pytest.mark.long
def test_a_complete_whose_load_fails_does_not_stop_the_partials(sites: PostprocessedSites) -> None:
    sites.load_some_rows()
    two = sites.two
    execute(two.sender, NEW_BUS)
    complete = two.complete()
    with psycopg.connect(two.receiver) as other, other.transaction():
        other.execute('LOCK TABLE "AndroidRequests_busv2" IN SHARE MODE')
        patient, two.receiver = two.receiver, f"{two.receiver}?options=-c%20lock_timeout%3D1s"
        with pytest.raises(LockWaitError):
            two.load()
        execute(two.sender, NEW_REPORT)
        partial = two.partial(recent_window())
        assert sites.run_job("partial_loaddata", AR_SYNC_TRANSFORM="none").succeeded
    assert [archive.path for archive in list_waiting(two.spool)] == [complete]
    assert partial.name.removeprefix("NEW_") in {a.path.name for a in list_applied(two.spool)}
    two.receiver = patient
    two.load()
    assert list_waiting(two.spool) == []
