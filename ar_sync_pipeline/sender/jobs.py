"""The sender's jobs, named as in the old system."""

import dagster as dg

from ar_sync_pipeline.operations.asset_keys import endpoint_key
from ar_sync_pipeline.operations.dagster_internals import AssetJob
from ar_sync_pipeline.operations.owners import OWNERS
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.sender.complete_assets import GROUP as COMPLETE_GROUP
from ar_sync_pipeline.sender.endpoint_asset import CHECK
from ar_sync_pipeline.sender.partial_assets import GROUP as PARTIAL_GROUP

PARTIAL_DUMP = "partial_dump"
_LONGEST_COMPLETE_SECONDS = 6 * 3600
_LONGEST_PARTIAL_SECONDS = 3600
_LONGEST_CHECK_SECONDS = 600


def complete_dump(names: PairNames) -> AssetJob:
    """Return the job that dumps everything once a day."""
    return dg.define_asset_job(
        names.name("complete_dump"),
        selection=dg.AssetSelection.groups(names.name(COMPLETE_GROUP)),
        description="Dump every table and all media under one snapshot and send the archive.",
        tags=names.job_tags("sender", _LONGEST_COMPLETE_SECONDS),
        owners=OWNERS,
    )


def partial_dump(names: PairNames) -> AssetJob:
    """Return the job that dumps changes every few minutes."""
    return dg.define_asset_job(
        names.name(PARTIAL_DUMP),
        selection=dg.AssetSelection.groups(names.name(PARTIAL_GROUP)),
        description="Dump what changed in a window, or in a range of missed ones, and send it.",
        tags=names.job_tags("sender", _LONGEST_PARTIAL_SECONDS),
        owners=OWNERS,
    )


def ssh_sftp_checker(names: PairNames) -> AssetJob:
    """Return the job that checks whether archives can reach the receiver."""
    return dg.define_asset_job(
        names.name("ssh_sftp_checker"),
        selection=dg.AssetSelection.checks(dg.AssetCheckKey(endpoint_key(names), CHECK)),
        description="Tests every step of the connection to the receiver with a small file.",
        tags=names.job_tags("sender", _LONGEST_CHECK_SECONDS),
        owners=OWNERS,
    )
