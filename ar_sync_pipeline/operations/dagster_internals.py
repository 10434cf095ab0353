"""Every private part of Dagster that the product uses, each with its reason.

A new version of Dagster may move or change them without notice. The version range in
`pyproject.toml` is therefore one minor version wide, and a contract test compares each part with
what the product expects.
"""

from __future__ import annotations

# Runs: their states, retries and backfills have no public query.
from dagster._core.errors import (
    DagsterAssetCheckFailedError,
    DagsterCodeLocationLoadError,
    DagsterLaunchFailedError,
    DagsterUserCodeProcessError,
    DagsterUserCodeUnreachableError,
)
from dagster._core.events import ASSET_EVENTS, RunFailureReason
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill

# The executor and the launchers that monitor a run are subclasses of Dagster's own.
from dagster._config.config_schema import UserConfigSchema  # isort: skip
from dagster._core.execution.context.compute import current_execution_context
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode, auto_reexecution_should_retry_run
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import ConfigurableClassData

# Names of tags that Dagster writes and reads itself.
from dagster._core.definitions.data_version import DATA_VERSION_TAG  # isort: skip
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    REPOSITORY_LABEL_TAG,
    ROOT_RUN_ID_TAG,
    RUN_FAILURE_REASON_TAG,
    WILL_RETRY_TAG,
)

# Evaluations of checks are replaced, so that not every minute adds a row.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (  # isort: skip
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)

# Name of the job that the UI makes for a selection, and of a code location's only repository.
from dagster._core.definitions.assets.job.asset_job import (  # isort: skip
    IMPLICIT_ASSET_JOB_NAME,
)

# Ticks and failed steps that mails report.
from dagster._core.execution.plan.objects import ErrorSource, StepFailureData  # isort: skip
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    InstigatorType,
    TickStatus,
)

# A session of Dagster Pipes that a command may leave unused.
from dagster._core.pipes.context import build_external_execution_context_data  # isort: skip

# The type that `define_asset_job` returns.
from dagster._core.definitions.unresolved_asset_job_definition import (  # isort: skip
    UnresolvedAssetJobDefinition as AssetJob,
)

__all__ = [
    "ASSET_EVENTS",
    "AUTO_RETRY_RUN_ID_TAG",
    "COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES",
    "DATA_VERSION_TAG",
    "IMPLICIT_ASSET_JOB_NAME",
    "REPOSITORY_LABEL_TAG",
    "ROOT_RUN_ID_TAG",
    "RUNLESS_RUN_ID",
    "RUN_FAILURE_REASON_TAG",
    "SHUTTING_DOWN_MESSAGE",
    "TOO_LONG_MESSAGE",
    "UNREACHABLE_MESSAGE",
    "WILL_RETRY_TAG",
    "AssetCheckEvaluationTargetMaterializationData",
    "AssetCheckExecutionRecord",
    "AssetCheckExecutionRecordStatus",
    "AssetCheckExecutionsTable",
    "AssetEventTagsTable",
    "AssetJob",
    "BulkActionStatus",
    "BulkActionsFilter",
    "CanCancelExecutionRequest",
    "CanCancelExecutionResult",
    "CheckRunHealthResult",
    "ConfigurableClassData",
    "DagsterAssetCheckFailedError",
    "DagsterCodeLocationLoadError",
    "DagsterGrpcClient",
    "DagsterLaunchFailedError",
    "DagsterUserCodeProcessError",
    "DagsterUserCodeUnreachableError",
    "ErrorSource",
    "ExecutionPlan",
    "InProcessExecutor",
    "InstigatorState",
    "InstigatorStatus",
    "InstigatorTick",
    "InstigatorType",
    "LaunchRunContext",
    "PartitionBackfill",
    "PlanOrchestrationContext",
    "RetryMode",
    "RunFailureReason",
    "SqlEventLogStorage",
    "SqlEventLogStorageTable",
    "SqliteEventLogStorage",
    "StepFailureData",
    "TickStatus",
    "UserConfigSchema",
    "WorkerStatus",
    "auto_reexecution_should_retry_run",
    "build_external_execution_context_data",
    "current_execution_context",
]

SHUTTING_DOWN_MESSAGE = "after telling it to shut down"
"""Part of the message with which a code server that waits for its runs to end starts no other."""

TOO_LONG_MESSAGE = "maximum runtime"
"""Part of the message with which the run monitor cancels a run that takes too long."""

UNREACHABLE_MESSAGE = "gRPC Error code: UNAVAILABLE"
"""Part of the message of a `DagsterUserCodeUnreachableError` if no code server answers."""
