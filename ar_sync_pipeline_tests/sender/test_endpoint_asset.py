"""Runs that upload at the same time record in one check whether the receiver can be reached."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from ar_sync_pipeline.operations.asset_keys import endpoint_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.sender.endpoint_asset import CHECK, record_publication
from ar_sync_pipeline.sftp.errors import UnreachableHostError
from ar_sync_pipeline_tests.fix_dagster import is_shown

KEY = dg.AssetCheckKey(endpoint_key(ALONE), CHECK)
SITE: Any = SimpleNamespace(names=ALONE)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY.asset_key))
        yield instance


def run_of(instance: dg.DagsterInstance, *uploads: str | Callable[[], None]) -> None:
    """Run a job that tries these uploads one after the other; each works or fails."""

    @dg.asset
    def archive(context: dg.AssetExecutionContext) -> None:
        for upload in uploads:
            if callable(upload):
                upload()
                continue
            with suppress(UnreachableHostError), record_publication(context, SITE):
                if upload == "fails":
                    raise UnreachableHostError("nobody answers", remedy="start sshd")

    assert dg.materialize([archive], instance=instance).success


def outcomes(instance: dg.DagsterInstance) -> Sequence[bool]:
    """Return all evaluations, the newest first, of which the UI shows the first."""
    assert is_shown(instance, KEY)
    history = instance.event_log_storage.get_asset_check_execution_history(KEY, limit=9)
    return [record.evaluation.passed for record in history if record.evaluation is not None]


def test_upload_that_works_after_failures_of_several_runs_is_the_newest_evaluation(
    instance: dg.DagsterInstance,
) -> None:
    run_of(instance, "fails", lambda: run_of(instance, "fails"), "works")
    assert outcomes(instance) == [True, False, False]


def test_upload_that_fails_again_after_that_of_another_run_worked_is_the_newest_evaluation(
    instance: dg.DagsterInstance,
) -> None:
    run_of(instance, "fails", lambda: run_of(instance, "works"), "fails")
    assert outcomes(instance) == [False, True, False]


def test_attempts_of_one_run_that_fail_alike_are_one_evaluation(
    instance: dg.DagsterInstance,
) -> None:
    run_of(instance, "fails", "fails", "fails")
    assert outcomes(instance) == [False]


def test_run_whose_next_attempt_works_does_not_hide_that_the_first_one_failed(
    instance: dg.DagsterInstance,
) -> None:
    run_of(instance, "fails", "works", "works")
    assert outcomes(instance) == [True, False]
