"""Check of a complete: chunks that row versions show to be unchanged have the rows of the base."""

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sync.dump.sender_journal_file import DigestsOf
from ar_sync_pipeline.visible_text import names_in_words


def unchanged_chunks_check(site: SenderSite) -> dg.AssetCheckSpec:
    """Return the specification of the check."""
    return check_spec(
        "unchanged_chunks_verified",
        archive_key(ArchiveKind.COMPLETE, site.names),
        meaning="Chunks that a complete did not read because their row versions had not"
        " changed were really unchanged: every AR_SYNC_COMPLETE_VERIFY_DAYS days a"
        " complete reads all of them",
        remedy="that complete carried what differed; set AR_SYNC_COMPLETE_VERIFY_DAYS=0,"
        " and look for what changes rows without a transaction",
        page="digests_differ",
    )


def evaluate_unchanged_chunks(site: SenderSite, digests: DigestsOf) -> dg.AssetCheckResult:
    """Return what the newest complete that computed all digests has found.

    Args:
        site: The sender.
        digests: When the digests of the complete, or of those that it builds on, were computed.
    """
    at = f"{digests.computed_at:%Y-%m-%d %H:%M} UTC"
    count = sum(digests.misjudged.values())
    names = names_in_words(sorted(digests.misjudged))
    return result_for(
        unchanged_chunks_check(site),
        passed=count == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{count} chunk{'' if count == 1 else 's'} of {names} had other rows"
        f" than their row versions showed, found by the complete of {at}, which carried them: set"
        " AR_SYNC_COMPLETE_VERIFY_DAYS=0, so that every complete reads all rows."
        if count
        else f"The complete of {at} computed all digests: every chunk without newer row versions"
        " was unchanged.",
        metadata={
            "misjudged_chunks": count,
            "digests_computed_at": dg.MetadataValue.timestamp(digests.computed_at),
        },
    )
