"""Each private part of Dagster exists, and does what the product expects.

A failure names the part that a newer Dagster has moved or changed: adapt `dagster_internals.py`
and its users, or keep the range of versions in `pyproject.toml`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.monitoring import run_monitoring

from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.operations import dagster_internals

SOURCE = ast.parse(Path(dagster_internals.__file__).read_text("utf-8"))
PARTS = [
    (node.module, alias.name)
    for node in ast.walk(SOURCE)
    if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dagster.")
    for alias in node.names
]


@pytest.mark.parametrize(("module", "name"), PARTS, ids=[name for _, name in PARTS])
def test_part_is_where_it_is_imported_from(module: str, name: str) -> None:
    here = f"Dagster {dg.__version__} has no {name} in {module}"
    try:
        found = importlib.import_module(module)
    except ImportError:
        pytest.fail(here)
    assert hasattr(found, name), here


def test_part_that_became_public_is_imported_from_there() -> None:
    public = [
        name
        for module, name in PARTS
        if getattr(dg, name, None) is getattr(importlib.import_module(module), name)
    ]
    assert public == []


def test_run_that_takes_too_long_is_canceled_with_the_message_that_is_looked_for() -> None:
    (monitor,) = (
        node
        for node in ast.walk(ast.parse(inspect.getsource(run_monitoring)))
        if isinstance(node, ast.FunctionDef) and node.name == "check_run_timeout"
    )
    messages = [
        ast.unparse(keyword.value)
        for call in ast.walk(monitor)
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("report_run_canceling")
        for keyword in call.keywords
        if keyword.arg == "message"
    ]
    assert messages
    assert all(dagster_internals.TOO_LONG_MESSAGE in message for message in messages)


def test_code_server_that_is_down_fails_with_the_message_that_is_looked_for() -> None:
    client = dagster_internals.DagsterGrpcClient(port=free_port(), host="127.0.0.1")
    with pytest.raises(dagster_internals.DagsterUserCodeUnreachableError) as failed:
        client.ping("")
    assert dagster_internals.UNREACHABLE_MESSAGE in str(failed.value)


RELIED_ON = {
    "AssetCheckExecutionRecord": {"from_db_row"},
    "BulkActionsFilter": {"statuses"},
    "CheckRunHealthResult": {"status", "msg"},
    "DagsterGrpcClient": {"can_cancel_execution"},
    "InProcessExecutor": {"execute"},
    "InstigatorTick": {"status", "error", "timestamp", "instigator_name"},
    "SqlEventLogStorage": {"index_connection", "store_event_batch"},
    "StepFailureData": {"error", "error_display_string", "user_failure_data"},
}


@pytest.mark.parametrize("name", RELIED_ON)
def test_part_has_the_members_that_are_used(name: str) -> None:
    part = getattr(dagster_internals, name)
    members = set(dir(part)) | set(inspect.signature(part).parameters)
    missing = RELIED_ON[name] - members
    assert not missing, f"{name} of Dagster {dg.__version__} has no {', '.join(sorted(missing))}"


def test_tags_are_the_ones_that_stored_runs_carry() -> None:
    tags = (
        dagster_internals.AUTO_RETRY_RUN_ID_TAG,
        dagster_internals.REPOSITORY_LABEL_TAG,
        dagster_internals.ROOT_RUN_ID_TAG,
        dagster_internals.RUN_FAILURE_REASON_TAG,
        dagster_internals.WILL_RETRY_TAG,
        dagster_internals.DATA_VERSION_TAG,
    )
    assert tags == (
        "dagster/auto_retry_run_id",
        ".dagster/repository",
        "dagster/root_run_id",
        "dagster/failure_reason",
        "dagster/will_retry",
        "dagster/data_version",
    )
