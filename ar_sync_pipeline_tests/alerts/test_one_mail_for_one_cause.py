"""One mail when a cause begins and one when it is over, whatever is found and closed meanwhile."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.alerts.store import IncidentStore
from ar_sync_pipeline.operations.check_evaluation import unchanged_since
from ar_sync_pipeline.sync.watch.alerting import incidents_file
from ar_sync_pipeline_tests.alerts.operation import MINUTES, UP_TO_DATE, Operation


@pytest.mark.long
def test_late_data_is_one_finding_and_closed_for_good_until_its_age_doubles(
    operation: Operation,
) -> None:
    """The reason names open incidents, and so the check's own one: it must not be a finding."""
    operation.run("complete_dump", "complete_loaddata")
    operation.watch(25 * MINUTES)
    operation.tick(7 * MINUTES)
    since = set()
    for _ in range(5):
        operation.tick(3 * MINUTES)
        since.add(unchanged_since(operation.found(UP_TO_DATE)))
    assert "incident is open" in str(operation.found(UP_TO_DATE).description)
    assert len(since) == 1
    assert verbs(operation) == ["Failing:"]
    store = IncidentStore(incidents_file(operation.receiver().settings), ["mail"])
    assert store.close(1, operation.now)
    operation.watch(10 * MINUTES)
    assert verbs(operation) == ["Failing:", "Recovered:"], "a person has closed it"
    operation.watch(15 * MINUTES)
    assert verbs(operation) == ["Failing:", "Recovered:", "Failing:"], "an hour"


def verbs(operation: Operation) -> list[str]:
    """What the receiver's mails say, in their order."""
    return [one.split()[2] for one in operation.subjects if one.startswith("[ar_sync receiver]")]
