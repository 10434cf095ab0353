"""The check that the receiver answers: an archive that was sent without any answer is a failure."""

from datetime import timedelta

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.check_evaluation import NO_MAIL_BEFORE, with_page
from ar_sync_pipeline.operations.check_specs import check_spec
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sync.dump.starting_point import StartingPoint

_PAGE = "not_acknowledged"
_NAME = "acknowledged"
_PAUSE_WINDOWS = 3


def acknowledgement_check_spec(names: PairNames) -> dg.AssetCheckSpec:
    """Return the specification, on the partial archive: its checks run every few minutes."""
    return check_spec(
        _NAME,
        archive_key(ArchiveKind.PARTIAL, names),
        meaning="The receiver has acknowledged every archive within"
        " AR_SYNC_ACKNOWLEDGE_WITHIN minutes",
        remedy="look whether its Dagster daemon runs and whether its loads fail; what the"
        " archives carried is sent again until it answers. It fails too where a"
        " receipt or the receiver's checkpoint is not believed",
        page=_PAGE,
    )


def acknowledgement_check_result(start: StartingPoint, site: SenderSite) -> dg.AssetCheckResult:
    """Return what was received from the receiver before this run."""
    late, problems = start.unacknowledged, start.problems
    found = (
        [f"Nothing was heard of {len(late)} archives, the oldest of them {late[0].name}."]
        if late
        else []
    )
    found += [f"{problem[:1].upper()}{problem[1:]}." for problem in problems]
    return with_page(
        dg.AssetCheckResult(
            asset_key=archive_key(ArchiveKind.PARTIAL, site.names),
            check_name=_NAME,
            passed=not found,
            severity=dg.AssetCheckSeverity.WARN,
            description=" ".join(found) or "The receiver has answered in time.",
            metadata={
                "not_acknowledged": len(late),
                "not_believed": len(problems),
                **({} if problems else _mailed_after_a_pause(start, site)),
            },
        ),
        _PAGE,
    )


def _mailed_after_a_pause(start: StartingPoint, site: SenderSite) -> dict[str, dg.MetadataValue]:
    """Return metadata that delays the mail after a pause, for example a power failure.

    The receiver gets the same time again to answer. A pause is assumed if even the newest late
    archive is older than the limit by some windows: while archives are sent without a pause, it has
    hardly passed the limit.
    """
    within = timedelta(minutes=site.settings.acknowledge_within)
    pause = _PAUSE_WINDOWS * timedelta(minutes=site.settings.partial_interval)
    newest = max((archive.sent_at for archive in start.unacknowledged), default=None)
    if newest is None or site.clock() - newest <= within + pause:
        return {}
    return {NO_MAIL_BEFORE: dg.MetadataValue.timestamp(site.clock() + within)}
