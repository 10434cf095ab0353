"""A transform command with and without Dagster Pipes: its metadata, and the log of its run."""

import logging
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.receiver.postprocess_command import run_command
from ar_sync_pipeline.settings.model import load_receiver_settings

WITH_PIPES = """
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    pipes.log.info(f"of run {pipes.run_id}")
    pipes.report_custom_message({"buses": 3})
    pipes.report_asset_materialization(metadata={"stops": 4})
"""


def run(tmp_path: Path, url: str, script: str) -> tuple[dict[str, Any], list[tuple[int, str]], str]:
    """Return the metadata of a run of a script, its log except Dagster's events, and its id."""
    program = tmp_path / "transform.py"
    program.write_text(script)
    for name in ("spool", "media"):
        (tmp_path / name).mkdir()
    settings = load_receiver_settings(
        {
            "AR_SYNC_RECEIVER_DATABASE_URL": url,
            "AR_SYNC_RECEIVER_MEDIA_FLDR": str(tmp_path / "media"),
            "AR_SYNC_REMOTE_BKP_FLDR": str(tmp_path / "spool"),
        }
    )

    @dg.asset
    def made(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        try:
            words = [sys.executable, str(program)]
            metadata = run_command(context, words, settings, timeout_seconds=60)
        except ArSyncError as error:
            metadata = {"error": str(error)}
        return dg.MaterializeResult(metadata=dict(metadata))

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([made], instance=instance)
        entries = instance.all_logs(result.run_id)
    (event,) = result.asset_materializations_for_node("made")
    log = [(int(one.level), one.user_message) for one in entries if not one.is_dagster_event]
    return {name: one.value for name, one in event.metadata.items()}, log, result.run_id


@pytest.mark.parametrize("status", [0, 3])
def test_command_that_does_not_use_pipes_leaves_no_warning(
    tmp_path: Path, empty_database: str, status: int
) -> None:
    metadata, log, _ = run(tmp_path, empty_database, f"raise SystemExit({status})")
    assert ("error" in metadata) == bool(status)
    assert log == []


@pytest.mark.parametrize("status", [0, 3])
def test_command_that_does_not_close_pipes_is_told(
    tmp_path: Path, empty_database: str, status: int
) -> None:
    script = f"import os\nfrom dagster_pipes import *\nopen_dagster_pipes()\nos._exit({status})"
    _, log, _ = run(tmp_path, empty_database, script)
    (warning,) = (message for level, message in log if level == logging.WARNING)
    assert "did not close Dagster Pipes" in warning


def test_what_a_command_reports_through_pipes_is_metadata_and_in_the_log(
    tmp_path: Path, empty_database: str
) -> None:
    metadata, log, run_id = run(tmp_path, empty_database, WITH_PIPES)
    assert metadata["messages"] == [{"buses": 3}]
    assert metadata["stops"] == 4
    assert metadata["exit_status"] == 0
    assert f"of run {run_id}" in [message for _, message in log]
    assert max(level for level, _ in log) == logging.INFO
