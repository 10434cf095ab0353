"""Open incidents of a side, as its status shows them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.alerts.errors import AlertStoreError
from ar_sync_pipeline.alerts.store import IncidentStore, NumberedIncident
from ar_sync_pipeline.errors import NO_ACTION
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.sync.load.delete_guard import ALLOW, remedy_of_guard
from ar_sync_pipeline.sync.watch.alerting import incidents_file
from ar_sync_pipeline.sync.watch.disk_space import existing_folder, leads_nowhere


@dataclass(frozen=True)
class OpenIncidents:
    """Open incidents of a side.

    Attributes:
        found: Incidents, oldest first.
        note: Why there is no file of incidents, or why it cannot be read; empty if it was read.
        are_known: Whether the number of incidents is known; true if there is no file.
    """

    found: tuple[NumberedIncident, ...] = ()
    note: str = ""
    are_known: bool = True

    @property
    def faults(self) -> Sequence[str]:
        """What contradicts "all is well", one clause each."""
        if not self.are_known:
            return ["its incidents are not known"]
        if not self.found:
            return []
        return [f"{len(self.found)} incident{'s are' if len(self.found) > 1 else ' is'} open"]


NO_INCIDENTS = OpenIncidents()


def why_none_is_recorded(path: Path) -> str:
    """Return that a file of incidents does not exist yet; empty if it does, or may.

    Whoever only reads asks first: opening the file would make it, perhaps for another account.

    Raises:
        AlertStoreError: A link in its path leads to nothing, such as a disk that is not mounted.
    """
    try:
        path.stat()
    except FileNotFoundError:
        there = existing_folder(path)
        if not leads_nowhere(there):
            return (
                f"none is recorded: {path} does not exist; the alert sensor of this side makes it"
            )
        raise AlertStoreError(
            f"the file of incidents {path} cannot be used ({there} is a link to what does not"
            " exist)",
            remedy="mount the disk to which the link leads; or remove the link, and the alert"
            " sensor makes a new file",
        ) from None
    except OSError:
        return ""
    return ""


def note_allowed(settings: ReceiverSettings, name: str, allowed_by: str, now: datetime) -> None:
    """Say in the incident of an archive that the delete guard kept that it is allowed now.

    The next load ends the incident. A file that cannot be used is left alone: this is only a text.
    """
    path = incidents_file(settings)
    remedy = f"{NO_ACTION}: {name} is allowed by {allowed_by}, and the next load applies it"
    with suppress(AlertStoreError):
        if not why_none_is_recorded(path):
            IncidentStore(path, ()).answered(remedy_of_guard(name), remedy, f"`{ALLOW} ", now)


def read_open_incidents(settings: SenderSettings | ReceiverSettings) -> OpenIncidents:
    """Read the open incidents of the side of these settings; no file is created.

    A file that cannot be used is a note, not an error: the state of the archives is known.
    """
    path = incidents_file(settings)
    try:
        note = why_none_is_recorded(path)
        if note:
            return OpenIncidents(note=note)
        return OpenIncidents(tuple(IncidentStore(path, ()).open_incidents()))
    except AlertStoreError as error:
        return OpenIncidents(note=f"they are not known: {error}", are_known=False)
