"""Dagster instance of a demo."""

from __future__ import annotations

import json
from pathlib import Path


def write_instance(home: Path) -> None:
    """Write the instance of the demo: the product's ``dagster.yaml`` without its long limits."""
    settings = {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        "run_queue": {
            "dequeue_interval_seconds": 1,
            "max_user_code_failure_retries": 40,
            "user_code_failure_retry_delay": 30,
        },
        "concurrency": {"pools": {"granularity": "run", "default_limit": 1}},
        "run_monitoring": {"enabled": True, "poll_interval_seconds": 30},
        "run_retries": {
            "enabled": True,
            "max_retries": 1,
            "retry_on_asset_or_op_failure": False,
        },
        # A slow tick delays no other sensor.
        "sensors": {"use_threads": True, "num_workers": 4},
        "schedules": {"use_threads": True, "num_workers": 4},
        "retention": {
            kind: {"purge_after_days": {"skipped": 1, "failure": 1, "success": 1}}
            for kind in ("schedule", "sensor")
        },
        "run_launcher": {
            "module": "ar_sync_pipeline.operations.runs.watched_launcher",
            "class": "WatchedRunLauncher",
        },
        "event_log_storage": {
            "module": "ar_sync_pipeline.operations.runs.batched_events",
            "class": "BatchedSqliteEventLogStorage",
            "config": {"base_dir": str(home / "history" / "runs")},
        },
    }
    (home / "dagster.yaml").write_text(json.dumps(settings), encoding="utf-8")
