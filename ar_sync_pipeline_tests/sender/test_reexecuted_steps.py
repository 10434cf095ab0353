"""A step of a complete that is executed again ends with an archive, or says what helps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key, media_bundle_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.sender.definitions import definitions_of
from ar_sync_pipeline_tests.fix_dagster import Deployment

TABLE = dg.AssetKey(["complete", "tables", "app_parent"])
MEDIA = media_bundle_key(ArchiveKind.COMPLETE, ALONE)
ARCHIVE = archive_key(ArchiveKind.COMPLETE, ALONE)


def complete_job() -> dg.JobDefinition:
    """Return the job of completes, as a process of a run finds it."""
    return definitions_of(os.environ).resolve_job_def("complete_dump")


class Completes:
    """A job of completes that an operator starts again from selected steps."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self._scratch, self._spool = deployment.folder / "scratch", deployment.spool / "complete"
        self._instance = instance
        self.first = self._run()

    def waiting(self) -> list[Path]:
        return list(self._spool.glob("*.tar"))

    def made(self, key: dg.AssetKey) -> int:
        return len(self._instance.fetch_materializations(key, limit=10).records)

    def again(self, *steps: str) -> dg.ExecuteJobResult:
        """Re-execute steps of the first run, whose archive is no longer in the spool."""
        for archive in self.waiting():
            archive.unlink()
        return self._run(
            dg.ReexecutionOptions(parent_run_id=self.first.run_id, step_selection=steps)
        )

    def lose_results(self) -> None:
        shutil.rmtree(self._scratch / f"ar_sync_build_{self.first.run_id}")

    def _run(self, options: dg.ReexecutionOptions | None = None) -> dg.ExecuteJobResult:
        job = dg.reconstructable(complete_job)
        # The definition of the test before has another database.
        type(job).get_repository_definition.cache_clear()
        type(job).get_definition.cache_clear()
        return dg.execute_job(
            job,
            instance=self._instance,
            reexecution_options=options,
        )


@pytest.fixture
def completes(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[Completes]:
    for name, value in deployment.sender_environment().items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        yield Completes(deployment, instance)


@pytest.mark.long
@pytest.mark.parametrize(
    "steps",
    [["complete_tables"], ["complete_tables", "complete_archive"]],
    ids=["first step", "first and last"],
)
def test_reexecuted_tables_have_an_archive(completes: Completes, steps: list[str]) -> None:
    assert completes.again(*steps).success
    assert len(completes.waiting()) == 1
    assert [completes.made(key) for key in (TABLE, MEDIA, ARCHIVE)] == [2, 2, 2]


@pytest.mark.long
@pytest.mark.parametrize("step", ["complete_media_bundle", "complete_archive"])
@pytest.mark.parametrize("lost", ["rows", "folder"])
def test_reexecuted_step_without_the_results_before_it_says_to_launch_the_job(
    completes: Completes, step: str, lost: str
) -> None:
    """Rows are removed after their archive has arrived, the folder when it may not be needed."""
    if lost == "folder":
        completes.lose_results()
    result = completes.again(step)
    (failed,) = (event.step_failure_data for event in result.get_step_failure_events())
    failure = failed.user_failure_data
    assert failure is not None, failed.error
    reason = {"rows": "their archive had arrived", "folder": "of an earlier step of this run"}[lost]
    assert reason in str(failure.description)
    assert "launch the job again, not from the failed step" in str(failure.description)
    assert completes.waiting() == []
