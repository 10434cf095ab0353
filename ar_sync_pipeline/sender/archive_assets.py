"""Specifications and results of the media bundle and the archive, for both kinds of dump."""

from collections.abc import Sequence

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.operations.asset_keys import UNVERSIONED, archive_key, media_bundle_key
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.operations.runs.longer_runs import LongerRun
from ar_sync_pipeline.sender.endpoint_asset import record_publication
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.snapshot_metadata import archive_metadata, lost_names, media_metadata
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.bundle_media import bundle_media
from ar_sync_pipeline.sync.dump.publish import publish_archive

_MEDIA = {
    ArchiveKind.COMPLETE: "Every media file of the sender that matches a pattern or that a row"
    " names; the archive carries those that the receiver is not known to have.",
    ArchiveKind.PARTIAL: "Media files that the window's rows name or that changed in the window,"
    " without those that the receiver has.",
}
_ARCHIVE = {
    ArchiveKind.COMPLETE: "The newest complete archive, in the receiver's spool under its final"
    " name. It repairs whatever partials could not carry, deletions included.",
    ArchiveKind.PARTIAL: "What changed in a window, in the receiver's spool under its final name.",
}


def media_spec(site: SenderSite, kind: ArchiveKind, tables: Sequence[dg.AssetKey]) -> dg.AssetSpec:
    """Return the specification of the media bundle of a kind."""
    return dg.AssetSpec(
        media_bundle_key(kind, site.names),
        deps=tables,
        group_name=site.names.name(f"{kind}_dump"),
        description=_MEDIA[kind],
        kinds={"files"},
    )


def archive_spec(
    site: SenderSite, kind: ArchiveKind, tables: Sequence[dg.AssetKey]
) -> dg.AssetSpec:
    """Return the specification of the archive of a kind."""
    to = site.settings
    folder = to.remote_bkp_fldr / str(kind)
    return dg.AssetSpec(
        archive_key(kind, site.names),
        deps=[*tables, media_bundle_key(kind, site.names)],
        group_name=site.names.name(f"{kind}_dump"),
        description=_ARCHIVE[kind],
        kinds={"sftp", "tar"},
        metadata={"dagster/uri": f"sftp://{to.remote_host}:{to.remote_port}{folder}"},
    )


def references_check(site: SenderSite, kind: ArchiveKind) -> dg.AssetCheckSpec:
    """Return the check that every media file that a row names exists."""
    return check_spec(
        "references_resolved",
        media_bundle_key(kind, site.names),
        meaning="Every file that a row names exists at the sender, and has a name that can be sent",
        remedy="the first names are in the metadata; restore or rename the files, or"
        " correct the rows. The archive is sent without them",
        page="pictures_missing",
    )


def materialize_media(
    site: SenderSite, kind: ArchiveKind, build: BuildFolder
) -> dg.MaterializeResult:
    """Bundle the media files, and report names without a file."""
    settings = site.settings
    bundle = bundle_media(build, site.database, settings.sender_media_fldr, settings.media_patterns)
    lost = bundle.missing_count + bundle.refused_count
    result = result_for(
        references_check(site, kind),
        passed=lost == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=lost_in_words(bundle.missing_count, bundle.refused_count),
        metadata={"names_without_file": lost, **lost_names(bundle)},
    )
    return dg.MaterializeResult(
        asset_key=media_bundle_key(kind, site.names),
        metadata=media_metadata(bundle),
        check_results=[result],
    )


def lost_in_words(missing: int, refused: int) -> str:
    """Return how many names have no file that can be sent.

    Args:
        missing: Names in rows without a file.
        refused: Names in rows, or of files in the folder, that no archive can hold.
    """
    found = [
        *([f"{missing} names in rows have no file"] if missing else []),
        *([f"{refused} names of files, or in rows, cannot be sent"] if refused else []),
    ]
    return f"{', and '.join(found) or 'Every file that a row names was found'}."


def materialize_archive(
    context: dg.AssetExecutionContext, site: SenderSite, kind: ArchiveKind, build: BuildFolder
) -> dg.MaterializeResult:
    """Publish the archive, and log every failed attempt.

    The maximum runtime of the run does not end an upload that makes progress.
    """
    # Another run would remove a build folder that is days old.
    longer = LongerRun(context.instance, context.run.run_id, on_progress=build.path.touch)

    def report(error: ArSyncError) -> None:
        context.log.warning("An attempt to upload the archive failed: %s", error)

    with record_publication(context, site), longer:
        published = publish_archive(
            site.settings,
            build,
            site.clock,
            on_retry=report,
            progress=lambda _done, _total: longer.progress(),
        )
    if published.unrecorded is not None:
        context.log.warning("Later archives may carry more files: %s", published.unrecorded)
    return dg.MaterializeResult(
        asset_key=archive_key(kind, site.names),
        metadata=archive_metadata(published, site.catalog),
        # Checks report whether the receiver has loaded it, not the status of its assets.
        data_version=UNVERSIONED,
    )
