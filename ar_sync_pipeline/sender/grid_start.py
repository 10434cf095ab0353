"""Start of the grid of windows: the installation, not days before it."""

from datetime import UTC, datetime, timedelta

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sync.dump.sender_journal import read_sent
from ar_sync_pipeline.sync.watch.alerting import incidents_file

_FILE = "first_window"
_HOUR = 60


def grid_start(settings: SenderSettings, now: datetime) -> datetime | None:
    """Return the start of the first window; None if it is unknown or the installation is older.

    It is the newest closed window at the first start of the code location, and is stored in a file:
    all processes of an installation must use the same windows. If the file cannot be written or
    read, the grid has the length of ``AR_SYNC_PARTITIONS_START`` and shows too many windows.
    A start in the future is of a clock that was ahead, and is replaced.
    """
    path = incidents_file(settings).parent / _FILE
    try:
        found = datetime.fromisoformat(path.read_text("ascii").strip()).astimezone(UTC)
    except FileNotFoundError:
        if _may_have_sent(settings):
            return None
    except (OSError, ValueError):
        return None
    else:
        if found <= now:
            return found
    interval = min(settings.partial_interval, _HOUR)
    newest = now.replace(minute=now.minute - now.minute % interval, second=0, microsecond=0)
    first = newest - timedelta(minutes=interval)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, first.isoformat().encode())
    except OSError:
        return None
    return first


def _may_have_sent(settings: SenderSettings) -> bool:
    try:
        return bool(read_sent(settings.tmp_bkp_fldr))
    except ArSyncError:  # every dump tells it
        return True
