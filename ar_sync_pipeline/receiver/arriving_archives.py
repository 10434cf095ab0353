"""The sender's archives in the receiver's own Dagster instance: its lineage begins here.

With one control plane the sender's code location defines the same keys, and its assets are shown
instead. The lineage then continues to the sender's tables.
"""

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.receiver.site import ReceiverSite

_GROUP = "from_the_sender"


def arriving_archives(site: ReceiverSite) -> list[dg.AssetSpec]:
    """Return one external asset for each kind; the receiver does not make them."""
    return [
        dg.AssetSpec(
            archive_key(kind, site.names),
            group_name=site.names.name(_GROUP),
            description=f"The sender's {kind} archives, as they arrive in the spool. The sender"
            f" makes them (job `{site.names.name(str(kind))}_dump`); a sensor here sees"
            " them. If none arrives: look at the sender.",
            kinds={"sftp", "tar"},
            metadata={"dagster/uri": (site.settings.remote_bkp_fldr / str(kind)).as_uri()},
        )
        for kind in ArchiveKind
    ]
