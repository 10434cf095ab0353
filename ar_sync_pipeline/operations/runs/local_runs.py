"""Runs of jobs in this process, recorded in a Dagster instance, for the demo and the tests."""

from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import RunFailureReason

Definitions = dg.Definitions


@dataclass(frozen=True)
class RunOutcome:
    """Result of a run.

    Attributes:
        run_id: Id in the instance.
        succeeded: Whether it ended with success.
        failures: Messages of the failed steps.
    """

    run_id: str
    succeeded: bool
    failures: tuple[str, ...]


class LocalRuns:
    """Runs jobs in this process, recorded in the Dagster instance of a folder."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __enter__(self) -> Self:
        """Open the instance."""
        self._instance = dg.DagsterInstance.from_config(str(self._home))
        return self

    def __exit__(self, *_: object) -> None:
        """Close the instance."""
        self._instance.dispose()

    def run(self, definitions: dg.Definitions, name: str, *, windowed: bool = False) -> RunOutcome:
        """Run a job to its end; Dagster's own log is appended to ``runs.log`` in the folder.

        Args:
            definitions: Definitions of a code location.
            name: Name of the job.
            windowed: Whether the job is partitioned by window; it runs for the newest closed one.

        Raises:
            KeyboardInterrupt: A signal ended the run; Dagster catches the signal.
        """
        job = definitions.resolve_job_def(name)
        windows = job.partitions_def
        window = windows.get_last_partition_key() if windowed and windows else None
        with (self._home / "runs.log").open("a") as log, redirect_stderr(log):
            result = job.execute_in_process(
                instance=self._instance, raise_on_error=False, partition_key=window
            )
        if any(map(_was_interrupted, result.all_events)):
            raise KeyboardInterrupt
        return RunOutcome(result.run_id, result.success, tuple(_failures(result)))


def _was_interrupted(event: dg.DagsterEvent) -> bool:
    if not event.is_job_failure:
        return False
    return event.job_failure_data.failure_reason is RunFailureReason.UNEXPECTED_TERMINATION


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data is not None and data.user_failure_data.description:
                yield data.user_failure_data.description
            elif data.error is not None:
                yield data.error.to_string()
