"""Specifications and results of the media bundle and the archive, for both kinds of dump."""

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.operations.asset_keys import UNVERSIONED, archive_key, media_bundle_key
from ar_sync_pipeline.operations.check_evaluation import NO_MAIL_BEFORE
from ar_sync_pipeline.operations.check_history import last_evaluation
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.operations.runs.longer_runs import LongerRun
from ar_sync_pipeline.progress import progress_to
from ar_sync_pipeline.sender.endpoint_asset import record_publication
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.snapshot_metadata import archive_metadata, lost_names, media_metadata
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.bundle_media import MediaBundle, bundle_media
from ar_sync_pipeline.sync.dump.publish import publish_archive
from ar_sync_pipeline.visible_text import counted, visible

_LATE_SINCE, _LATE_FILES_SINCE = "late_since", "late_files_since"
_MOST_LATE = 1_000
_LASTS_SECONDS = 3600
_LONGEST_NAME = 200
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
        meaning="Every file that a row names exists at the sender, and has a name that can be sent;"
        " no media file stays unsent as one that cannot be read, or has no space at the receiver",
        remedy="the first names are in the metadata, with the reason; restore or rename the files,"
        " correct the rows, let this account read the files (`setfacl -m u:ar_sync:rX`), or free"
        " space at the receiver. The archive is sent without them",
        page="pictures_missing",
    )


def longer_dump(context: dg.AssetExecutionContext, build: BuildFolder) -> LongerRun:
    """Return what extends the run of a dump while there is progress."""
    # Another run would remove a build folder that is days old. `touch` would make a file of that
    # name if the folder was removed meanwhile.
    touch = partial(os.utime, build.path)
    return LongerRun(context.instance, context.run.run_id, on_progress=touch)


def materialize_media(
    context: dg.AssetExecutionContext, site: SenderSite, kind: ArchiveKind, build: BuildFolder
) -> dg.MaterializeResult:
    """Bundle the media files, and report names without a file, and files that stay unsent."""
    settings, spec = site.settings, references_check(site, kind)
    folder, patterns = settings.sender_media_fldr, settings.media_patterns
    with longer_dump(context, build) as longer, progress_to(longer.progress):
        bundle = bundle_media(build, site.database, folder, patterns)
    lost, late = bundle.missing_count + bundle.refused_count, len(bundle.late)
    since = _late_since(context.instance, site, [path for path, _ in bundle.late]) if late else {}
    if since and not lost:
        due = since[_LATE_SINCE].value + _LASTS_SECONDS
        since[NO_MAIL_BEFORE] = dg.MetadataValue.timestamp(due)
    result = result_for(
        spec,
        passed=not lost and not late,
        severity=dg.AssetCheckSeverity.WARN,
        description=lost_in_words(
            bundle.missing_count, bundle.refused_count, late, _first_names(bundle)
        ),
        metadata={"names_without_file": lost, "late_files": late, **lost_names(bundle), **since},
    )
    return dg.MaterializeResult(
        asset_key=media_bundle_key(kind, site.names),
        metadata=media_metadata(bundle),
        check_results=[result],
    )


def _late_since(
    instance: dg.DagsterInstance, site: SenderSite, late: Sequence[str]
) -> dict[str, Any]:
    """Return metadata that says since when each file is late: a copy may take several windows.

    The evaluation before may be that of a complete or of a partial. A complete's own one may be a
    day old, and the files that were late then have been sent since.
    """
    checks = [references_check(site, kind).key for kind in ArchiveKind]
    before = last_evaluation(instance, *checks)
    known = before.metadata.get(_LATE_FILES_SINCE) if before is not None else None
    times = known.data if isinstance(known, dg.JsonMetadataValue) else {}
    earlier = times if isinstance(times, dict) else {}
    now = site.clock().timestamp()
    since = {path: earlier.get(path, now) for path in late[:_MOST_LATE]}
    return {
        _LATE_SINCE: dg.MetadataValue.timestamp(min(since.values())),
        _LATE_FILES_SINCE: dg.MetadataValue.json(since),
    }


def lost_in_words(
    missing: int, refused: int, late: int = 0, first: Sequence[str] = ("", "", "")
) -> str:
    """Return how many names have no file that can be sent, and how many files are late.

    Args:
        missing: Names in rows without a file.
        refused: Names in rows, or of files in the folder, that no archive can hold.
        late: Files that neither this archive nor an earlier one could send.
        first: The first name of each of these, with the reason; empty without one.
    """
    lost = counted(missing, "name in rows has no file", "names in rows have no file")
    names = counted(refused, "name of a file, or in rows,", "names of files, or in rows,")
    files = counted(late, "file")
    found = (
        (missing, lost),
        (refused, f"{names} cannot be sent"),
        (late, f"{files} could not be sent by earlier archives, and cannot now"),
    )
    said = [
        what + (f", such as {name}" if name else "")
        for (number, what), name in zip(found, first, strict=True)
        if number
    ]
    return f"{', and '.join(said) or 'Every file that a row names was found'}."


def _first_names(bundle: MediaBundle) -> list[str]:
    """Return the first name of each kind that is not sent, as of `lost_in_words`."""
    missing = bundle.missing[0] if bundle.missing else ""
    with_reasons = (": ".join(found[0]) if found else "" for found in (bundle.refused, bundle.late))
    return [visible(name, _LONGEST_NAME) for name in (missing, *with_reasons)]


def materialize_archive(
    context: dg.AssetExecutionContext, site: SenderSite, kind: ArchiveKind, build: BuildFolder
) -> dg.MaterializeResult:
    """Publish the archive, and log every failed attempt.

    The maximum runtime of the run does not end an upload that makes progress.
    """

    def report(error: ArSyncError) -> None:
        context.log.warning("An attempt to upload the archive failed: %s", error)

    with (
        record_publication(context, site),
        longer_dump(context, build) as longer,
        progress_to(longer.progress),
    ):
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
