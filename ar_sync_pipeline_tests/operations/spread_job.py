"""A job that an operator adds to the sender's code location, with an executor of its own."""

from __future__ import annotations

import os

import dagster as dg

from ar_sync_pipeline.sender.complete_assets import GROUP
from ar_sync_pipeline.sender.definitions import sender_definitions
from ar_sync_pipeline.settings.model import load_sender_settings


def spread_job() -> dg.JobDefinition:
    added = dg.define_asset_job(
        "spread", dg.AssetSelection.groups(GROUP), executor_def=dg.multiprocess_executor
    )
    sender = sender_definitions(load_sender_settings(os.environ))
    return dg.Definitions.merge(sender, dg.Definitions(jobs=[added])).resolve_job_def("spread")
