"""The check that the receiver answers: an archive that was sent without any answer is a failure."""

from datetime import timedelta
from typing import Any

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.check_evaluation import ERROR, NO_MAIL_BEFORE, REMEDY
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.operations.standing_check import LOAD_MAY_TAKE
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.sync.dump.starting_point import StartingPoint
from ar_sync_pipeline.visible_text import counted

_PAUSE_WINDOWS = 3
_BELIEVE = (
    "do what the cause says; the receiver's next load writes its reports again, and the next"
    " partial_dump reads them"
)
_STOP_ONE = "stop the sender that should not publish here, if there is one; start a complete_dump"


def acknowledgement_check_spec(names: PairNames) -> dg.AssetCheckSpec:
    """Return the specification, on the partial archive: its checks run every few minutes."""
    return check_spec(
        "acknowledged",
        archive_key(ArchiveKind.PARTIAL, names),
        meaning="The receiver has acknowledged every archive within"
        " AR_SYNC_ACKNOWLEDGE_WITHIN minutes, and has no archive of another sender",
        remedy="look whether its Dagster daemon runs and whether its loads fail; what the"
        " archives carried is sent again until it answers. It fails too where a"
        " receipt or the receiver's checkpoint is not believed, and where another sender"
        " publishes into the spool",
        page="not_acknowledged",
    )


def acknowledgement_check_result(start: StartingPoint, site: SenderSite) -> dg.AssetCheckResult:
    """Return what was received from the receiver before this run."""
    late, problems = start.unacknowledged, start.problems
    of = counted(len(late), "archive")
    found = [f"Nothing was heard of {of}, the oldest of them {late[0].name}."] if late else []
    if late and start.is_loading:
        found.append("The receiver says that a load is at work.")
    others = [start.never_sent] if start.never_sent else []
    found += map(_as_sentence, (*problems, *others))
    return result_for(
        acknowledgement_check_spec(site.names),
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=" ".join(found) or "The receiver has answered in time.",
        metadata={
            "not_acknowledged": len(late),
            "not_believed": len(problems),
            "never_sent": len(others),
            **({REMEDY: _STOP_ONE} if others and not late else {}),
            **({REMEDY: _BELIEVE} if problems else {}),
            # What is not believed is not heard either: one cause, which other checks find, too.
            **({ERROR: ReceiptError.code} if problems else _mailed_later(start, site)),
        },
    )


def _as_sentence(problem: str) -> str:
    """Return a problem as a sentence; a name of a file at its beginning stays as it is."""
    is_word = problem.partition(" ")[0].isalpha()
    return f"{problem[:1].upper() if is_word else problem[:1]}{problem[1:]}."


def _mailed_later(start: StartingPoint, site: SenderSite) -> dict[str, Any]:
    """Return metadata that delays the mail during a load, and after a pause like a power failure.

    A load answers when it ends. After a pause the receiver gets the same time again to answer. A
    pause is assumed if even the newest late archive is older than the limit by some windows: while
    archives are sent without a pause, it has hardly passed the limit.
    """
    sent = [archive.sent_at for archive in start.unacknowledged]
    if not sent or start.never_sent:
        return {}
    now, within = site.clock(), timedelta(minutes=site.settings.acknowledge_within)
    pause = _PAUSE_WINDOWS * timedelta(minutes=site.settings.partial_interval)
    due = [min(sent) + within + LOAD_MAY_TAKE] if start.is_loading else []
    due += [now + within] if now - max(sent) > within + pause else []
    return {NO_MAIL_BEFORE: dg.MetadataValue.timestamp(max(due))} if due else {}
