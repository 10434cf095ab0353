"""What several jobs, sensors and checks depend on: one outage of it is one cause."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.media.errors import MediaLostError, MediaNotMountedError
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError, DatabaseUnreachableError
from ar_sync_pipeline.sftp import errors as sftp
from ar_sync_pipeline.spool import errors as spool


@dataclass(frozen=True)
class Area:
    """Something outside this code that can break.

    Attributes:
        cause: Key of its incident.
        title: Name in messages.
        errors: Errors of the engine that say it is broken.
        page: Page of the runbook about its errors without one of their own.
        outages: Those errors that say that it is broken for everyone who uses it.
    """

    cause: str
    title: str
    errors: tuple[type[ArSyncError], ...]
    page: str
    outages: tuple[type[ArSyncError], ...] = ()

    def page_of(self, code: str | None) -> str:
        """Return the page of the runbook about an error of this code."""
        return _PAGES.get(code or "", self.page)

    def is_outage(self, code: str) -> bool:
        """Return whether an error of this code says that it is broken for everyone."""
        return any(error.code == code for error in self.outages)


_SPOOL_PAGE = "spool_cannot_be_used"
_PAGES = {
    sftp.ChangedHostKeyError.code: "host_key_changed",
    sftp.UnknownHostKeyError.code: "host_key_changed",
    sftp.RemoteSpoolMissingError.code: _SPOOL_PAGE,
}
ENDPOINT = Area(
    "endpoint",
    "the connection to the receiver",
    (
        sftp.UnresolvableHostError,
        sftp.UnreachableHostError,
        sftp.ConnectionLostError,
        sftp.RemoteSpoolMissingError,
        sftp.SpoolNotWritableError,
        sftp.RefusedByServerError,
        sftp.EndpointError,
        sftp.PrivateKeyError,
        sftp.KnownHostsError,
        sftp.UnknownHostKeyError,
        sftp.ChangedHostKeyError,
        sftp.IncompatibleServerError,
        sftp.LoginRefusedError,
    ),
    "link_down",
)
# Apart from the connection: smaller archives may fit, and the receiver's answers can be read.
RECEIVER_DISK = Area(
    "receiver disk",
    "the free space at the receiver",
    (sftp.ReceiverDiskFullError,),
    "disk_full",
)
# Archives are sent, and what the receiver says about them is not believed.
RECEIPTS = Area(
    "receipts",
    "the receiver's receipts",
    (spool.ReceiptError, sftp.RemoteFileTooLargeError),
    "not_acknowledged",
)
SPOOL = Area(
    "spool",
    "the spool",
    (spool.SpoolMissingError, spool.SpoolAccessError, spool.SpoolLayoutError),
    _SPOOL_PAGE,
)
# A partial and a complete report the same missing file.
MEDIA_REFERENCES = Area(
    "media references", "media files that cannot be sent", (), "pictures_missing"
)
DATABASE = Area(
    "database",
    "the sender's database",
    (DatabaseUnreachableError, DatabaseRefusedError),
    "database_refuses",
    outages=(DatabaseUnreachableError,),
)
# Only the receiver's: a load fails for it, and the preflight finds it while nothing is loaded.
MEDIA_FOLDER = Area(
    "media folder",
    "the receiver's media folder",
    (MediaLostError, MediaNotMountedError),
    "pictures_missing",
)
SENDER_AREAS = (ENDPOINT, RECEIVER_DISK, RECEIPTS, DATABASE)
RECEIVER_AREAS = (SPOOL, MEDIA_FOLDER, replace(DATABASE, title="the receiver's database"))


def areas_by_error(areas: tuple[Area, ...]) -> Mapping[str, Area]:
    """Return areas by the codes of their errors, because an event contains only the code."""
    return {error.code: area for area in areas for error in area.errors}


def area_of_link(code: str) -> Area:
    """Return what is broken if a step of the test of the connection fails by an error."""
    return areas_by_error((RECEIVER_DISK, RECEIPTS)).get(code, ENDPOINT)
