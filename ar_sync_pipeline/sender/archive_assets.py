"""The two assets behind the tables of either kind: the media bundle and the archive."""

from collections.abc import Sequence

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key, media_bundle_key
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.sender.site import OWNERS, POOL, SenderSite
from ar_sync_pipeline.sender.snapshot_metadata import archive_metadata, media_metadata
from ar_sync_pipeline.sync.bundle_media import bundle_media
from ar_sync_pipeline.sync.publish import publish_archive

_MEDIA = {
    ArchiveKind.COMPLETE: "Every media file of the sender that matches a pattern or that a row"
    " names.",
    ArchiveKind.PARTIAL: "Media files that the window's rows name, and those that changed in it.",
}
_ARCHIVE = {
    ArchiveKind.COMPLETE: "The newest complete archive, in the receiver's spool under its final"
    " name. It repairs whatever partials could not carry, deletions included.",
    ArchiveKind.PARTIAL: "What changed in a window, in the receiver's spool under its final name.",
}


def media_asset(
    site: SenderSite,
    kind: ArchiveKind,
    group: str,
    deps: Sequence[dg.AssetKey],
    windows: dg.PartitionsDefinition[str] | None = None,
) -> dg.AssetsDefinition:
    """The media bundle of a kind."""
    key = media_bundle_key(kind)
    check = dg.AssetCheckSpec(
        "references_resolved",
        asset=key,
        description="Every file that a row names exists at the sender. If not: the names are in"
        " the metadata; restore the files, or correct the rows.",
    )

    @dg.asset(
        key=key,
        deps=deps,
        group_name=group,
        description=_MEDIA[kind],
        kinds={"files"},
        owners=OWNERS,
        pool=POOL,
        check_specs=[check],
        partitions_def=windows,
        backfill_policy=dg.BackfillPolicy.single_run() if windows else None,
    )
    def media_bundle(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        settings = site.settings
        with operator_errors():
            bundle = bundle_media(
                site.build(context),
                site.catalog,
                site.url,
                settings.sender_media_fldr,
                settings.media_patterns,
            )
        lost = len(bundle.missing) + len(bundle.refused)
        result = dg.AssetCheckResult(
            passed=lost == 0,
            check_name=check.name,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"names_without_file": lost},
        )
        return dg.MaterializeResult(metadata=media_metadata(bundle), check_results=[result])

    return media_bundle


def archive_asset(
    site: SenderSite,
    kind: ArchiveKind,
    group: str,
    deps: Sequence[dg.AssetKey],
    windows: dg.PartitionsDefinition[str] | None = None,
) -> dg.AssetsDefinition:
    """The archive of a kind."""

    @dg.asset(
        key=archive_key(kind),
        deps=deps,
        group_name=group,
        description=_ARCHIVE[kind],
        kinds={"sftp", "tar"},
        owners=OWNERS,
        pool=POOL,
        partitions_def=windows,
        backfill_policy=dg.BackfillPolicy.single_run() if windows else None,
    )
    def archive(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with operator_errors():
            published = publish_archive(site.settings, site.build(context))
        return dg.MaterializeResult(metadata=archive_metadata(published))

    return archive
